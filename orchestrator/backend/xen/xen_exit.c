#include "orchestrator/backend/xen/xen_exit.h"

#include <stdio.h>

#include "common/core/launch.h"
#include "orchestrator/backend/exit_status.h"

/* xen/sched.h, SHUTDOWN_*; the header is Xen's, not the kernel's. */
enum { POWEROFF = 0, REBOOT = 1, SUSPEND = 2, CRASH = 3, WATCHDOG = 4 };

void xen_exit_shutdown(const struct xen_event *event, struct backend_exit *out)
{
    int status = event->status;

    if (event->reason == POWEROFF && status < 0)
        status = LAUNCH_EXIT_OK; /* it need not say so */
    out->clean = event->reason == POWEROFF && status == LAUNCH_EXIT_OK;
    if ((event->reason == POWEROFF || event->reason == CRASH) && status >= 0) {
        snprintf(out->text, sizeof out->text, "exit status %d%s", status,
                 exit_status_meaning(status));
        return;
    }
    switch (event->reason) {
    case CRASH:
        snprintf(out->text, sizeof out->text, "it crashed (registers are in its log)");
        break;
    case REBOOT:
        /* What Xen makes of a triple fault. */
        snprintf(out->text, sizeof out->text, "it crashed and could not even say so");
        break;
    case WATCHDOG:
        snprintf(out->text, sizeof out->text, "Xen's watchdog ended it");
        break;
    default:
        snprintf(out->text, sizeof out->text, "it shut down for reason %u, which no image does",
                 event->reason);
    }
}
