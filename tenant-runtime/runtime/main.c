/* The program of every image.
 *
 * Happy path: launched by a backend, channels opened, on_start, READY; serves
 * until STOP; on_stop; exit 0.  Failure modes are LAUNCH_EXIT_* in
 * common/core/launch.h. */
#include <stdio.h>

#include "common/core/launch.h"
#include "tenant-runtime/ground/ground.h"
#include "tenant-runtime/include/roomkey/app.h"
#include "tenant-runtime/runtime/runtime.h"

/* A ground that has no channels yet: shows that the image boots and starts. */
static int start_only(void)
{
    int r = rk_app.on_start ? rk_app.on_start() : 0;

    printf("%s %s on %s: on_start returned %d, no channel: nothing to serve\n", rk_app_name,
           rk_app_version, ground->name, r);
    fflush(stdout);
    return r == 0 ? LAUNCH_EXIT_OK : LAUNCH_EXIT_START;
}

static int run(int argc, char **argv)
{
    enum rc rc;

    if (runtime_launch(argc, argv))
        return LAUNCH_EXIT_USAGE;
    rc = runtime_open();
    if (rc == RC_UNSUPPORTED)
        return start_only();
    if (rc) {
        fprintf(stderr, "%s %s: the channels cannot be opened (%s): start it with roomkeyd\n",
                rk_app_name, rk_app_version, rc_text(rc));
        return LAUNCH_EXIT_USAGE;
    }
    if (runtime_start())
        return LAUNCH_EXIT_START;
    while ((rc = runtime_verdict()) == RC_AGAIN)
        if (!runtime_step())
            runtime_wait();
    runtime_stop();
    return rc ? LAUNCH_EXIT_PEER : LAUNCH_EXIT_OK;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0); /* what an app prints is in the log before it may be killed */
    ground->exit(run(argc, argv));
}
