/* roomkey-xen: the one program of Roomkey that links Xen's libraries.  Started by
 * roomkeyd as root, which talks to it over XEN_JOB_FD (see xen_job.h); `probe` is
 * for people. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "orchestrator/backend/xen/helper/probe.h"
#include "orchestrator/backend/xen/helper/watch.h"
#include "orchestrator/backend/xen/helper/work.h"

static const char usage[] = "usage: roomkey-xen probe\n"
                            "       roomkey-xen work|watch\n"
                            "probe says whether this host can run tenants as Xen domains; the\n"
                            "others are started by roomkeyd, with a socket as descriptor 3.\n";

static bool has_socket(void)
{
    int type = 0;
    socklen_t len = sizeof type;

    return getsockopt(XEN_JOB_FD, SOL_SOCKET, SO_TYPE, &type, &len) == 0 &&
           type == SOCK_SEQPACKET && fcntl(XEN_JOB_FD, F_SETFD, FD_CLOEXEC) == 0;
}

int main(int argc, char **argv)
{
    const char *mode = argc == 2 ? argv[1] : "";

    /* Launch words hold a seed: no core file, no debugger of the same user. */
    (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    (void)prctl(PR_SET_DUMPABLE, 0);
    if (strcmp(mode, "probe") == 0)
        return probe_main();
    if (strcmp(mode, "work") == 0 && has_socket())
        return work_main();
    if (strcmp(mode, "watch") == 0 && has_socket())
        return watch_main();
    fputs(usage, strcmp(mode, "--help") == 0 ? stdout : stderr);
    return strcmp(mode, "--help") == 0 ? 0 : 2;
}
