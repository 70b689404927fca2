#include "tls-front/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/host/log.h"

void listen_text(const struct sockaddr_storage *addr, char out[LISTEN_TEXT])
{
    char host[INET6_ADDRSTRLEN] = "?";

    if (addr->ss_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)addr;

        inet_ntop(AF_INET6, &a->sin6_addr, host, sizeof host);
        snprintf(out, LISTEN_TEXT, "[%s]:%u", host, ntohs(a->sin6_port));
    } else {
        const struct sockaddr_in *a = (const struct sockaddr_in *)addr;

        inet_ntop(AF_INET, &a->sin_addr, host, sizeof host);
        snprintf(out, LISTEN_TEXT, "%s:%u", host, ntohs(a->sin_port));
    }
}

static int bind_one(const struct sockaddr_storage *addr)
{
    const int on = 1;
    bool v6 = addr->ss_family == AF_INET6;
    int fd = socket(addr->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -1;
    /* V6ONLY, so that [::] and 0.0.0.0 can be given side by side. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0 &&
        (!v6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0) &&
        bind(fd, (const struct sockaddr *)addr,
             v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in)) == 0)
        return fd;
    close(fd);
    return -1;
}

/* SO_REUSEPORT lets a second front of the same user in without a word, and half
 * of the connections would go astray: a socket without it finds out. */
static enum rc check_free(const struct options_listen *at)
{
    const int on = 1;
    bool v6 = at->addr.ss_family == AF_INET6;
    int fd = socket(at->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r = -1;

    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (v6)
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
        r = bind(fd, (const struct sockaddr *)&at->addr,
                 v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    }
    if (r != 0)
        log_error("cannot listen on %s: %s; free the address or give another with --listen",
                  at->text, strerror(errno));
    if (fd >= 0)
        close(fd);
    return r == 0 ? RC_OK : RC_IO;
}

enum rc listen_bind(struct options_listen *at, size_t n, int *fds, size_t stride)
{
    socklen_t len = sizeof at->addr;

    if (check_free(at))
        return RC_IO;
    for (size_t i = 0; i < n; i++) {
        int fd = bind_one(&at->addr);

        if (fd < 0 || getsockname(fd, (struct sockaddr *)&at->addr, &len) != 0) {
            log_error("cannot listen on %s: %s", at->text, strerror(errno));
            return RC_IO;
        }
        fds[i * stride] = fd;
    }
    return RC_OK;
}
