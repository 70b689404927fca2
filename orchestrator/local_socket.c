#include "orchestrator/local_socket.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int local_socket_listen(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t before;
    int r;

    if (fd < 0)
        return -1;
    strncpy(addr.sun_path, path, sizeof addr.sun_path - 1);
    unlink(path);
    before = umask(0177);
    r = bind(fd, (struct sockaddr *)&addr, sizeof addr);
    umask(before);
    if (r == 0 && listen(fd, 64) == 0)
        return fd;
    close(fd);
    return -1;
}

bool local_socket_trusted(int fd)
{
    struct ucred cred;
    socklen_t len = sizeof cred;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
           (cred.uid == 0 || cred.uid == geteuid());
}
