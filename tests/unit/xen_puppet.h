/* What xen_puppet says to the test, before it passes on what roomkeyd says. */
#ifndef TESTS_XEN_PUPPET_H
#define TESTS_XEN_PUPPET_H

#include <sys/types.h>

#include "orchestrator/backend/xen/xen_job.h"

struct xen_puppet_hello {
    pid_t pid;
    char role[16]; /* "work", "watch" */
};

#endif
