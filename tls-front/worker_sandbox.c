#include "tls-front/worker_sandbox.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "common/host/doorbell.h"
#include "tls-front/sandbox.h"

static const int calls[] = {
    /* the loop */
    SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_ctl), SCMP_SYS(gettimeofday),
    /* sockets, the ring's doorbells */
    SCMP_SYS(accept4), SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(getpeername),
    SCMP_SYS(getsockname)};

static int add_calls(scmp_filter_ctx ctx, const struct sandbox *s)
{
    static const struct {
        int level, name;
    } options[] = {{IPPROTO_TCP, TCP_NODELAY}, {SOL_SOCKET, SO_LINGER}};
    static const unsigned long commands[] = {F_GETFL, F_SETFL, F_GET_SEALS, F_DUPFD_CLOEXEC};
    int r = sandbox_add_calls(ctx, calls, sizeof calls / sizeof calls[0]);

    for (size_t i = 0; i < sizeof commands / sizeof commands[0] && !r; i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
                             SCMP_A1(SCMP_CMP_EQ, commands[i], 0));
    /* The listening sockets are the parent's, too: what another option does to them (a program
     * that gives one worker all connections), or their end, would outlive this worker. */
    for (size_t i = 0; i < sizeof options / sizeof options[0] && !r; i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(setsockopt), 2,
                             SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)options[i].level, 0),
                             SCMP_A2(SCMP_CMP_EQ, (scmp_datum_t)options[i].name, 0));
    if (!r)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(shutdown), 1,
                             SCMP_A1(SCMP_CMP_EQ, SHUT_WR, 0));
    if (!r)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                             SCMP_A1(SCMP_CMP_EQ, FIONBIO, 0));
    /* On Xen: rings a tenant.  The other ioctls of these devices would bind and map what
     * roomkeyd did not give. */
    if (!r)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                             SCMP_A1(SCMP_CMP_EQ, doorbell_xen_ioctl, 0));
    if (!r && s->files >= 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(openat2), 0);
    return r;
}

enum rc worker_sandbox_enter(const char *user, int files)
{
    const struct sandbox s = {.who = "worker",
                              .user = user,
                              .standard_user = WORKER_USER,
                              .standard_uid = WORKER_UID,
                              .files = files,
                              .add_calls = add_calls};

    return sandbox_enter(&s);
}
