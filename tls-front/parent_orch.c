#include "tls-front/parent_orch.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/core/control.h"
#include "common/core/handover.h"
#include "common/core/mux.h"
#include "common/host/clock.h"
#include "common/host/log.h"
#include "common/host/packet.h"

#define MS           1000ull
#define SECOND       (1000 * MS)
#define RETRY_MIN_MS 20
#define RETRY_MAX_MS 500

void parent_orch_want(struct parent_orch *o)
{
    uint64_t now = clock_us();

    o->retry_ms = 0;
    /* At once, unless roomkeyd takes connections only to refuse them. */
    o->at = now - o->given > SECOND ? now : now + RETRY_MAX_MS * MS;
}

/* -1: errno says why. */
static int connect_to(const char *run, const char *name)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int n = snprintf(to.sun_path, sizeof to.sun_path, "%s/%s", run, name);
    int fd;

    if (n < 0 || (size_t)n >= sizeof to.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        int why = errno;

        close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

/* Says whose the socket is, for the child: one that was taken over is not asked who it is, and so
 * cannot be given the channels of another. */
static bool greet(int fd, int worker, pid_t pid)
{
    struct control_msg m = {.type = CONTROL_HELLO};
    uint8_t buf[CONTROL_SIZE_MAX];
    size_t len;

    m.hello.control_version = CONTROL_VERSION;
    m.hello.mux_version = MUX_VERSION;
    m.hello.handover_version = HANDOVER_VERSION;
    m.hello.worker = worker == PARENT_ORCH_AGENT ? 0 : (uint16_t)worker;
    m.hello.pid = (uint32_t)pid;
    CHECK(control_encode(&m, buf, sizeof buf, &len) == RC_OK);
    return packet_write(fd, buf, len, NULL, 0) == RC_OK;
}

static void again_later(struct parent_orch *o)
{
    o->retry_ms = o->retry_ms ? o->retry_ms * 2 : RETRY_MIN_MS;
    if (o->retry_ms > RETRY_MAX_MS)
        o->retry_ms = RETRY_MAX_MS;
    o->at = clock_us() + o->retry_ms * MS;
}

int parent_orch_connect(struct parent_orch *o, const char *run, int worker, pid_t pid)
{
    static bool missed; /* of all children alike */
    const char *name = worker == PARENT_ORCH_AGENT ? "agent.sock" : "front.sock";
    int fd = connect_to(run, name);

    if (fd >= 0 && !greet(fd, worker, pid)) {
        close(fd);
        fd = -1;
    }
    if (fd < 0) {
        if (!missed)
            log_warning("roomkeyd is not there (%s/%s: %s); tenants that sleep cannot be woken "
                        "until it is",
                        run, name, strerror(errno));
        missed = true;
        again_later(o);
        return -1;
    }
    o->at = 0;
    o->given = clock_us();
    if (missed)
        log_info("roomkeyd is there");
    missed = false;
    return fd;
}
