#include "orchestrator/admin/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG    64
#define GROUPS_MAX 1024

static bool answered(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r = fd < 0 ? -1 : connect(fd, (const struct sockaddr *)address, sizeof *address);
    /* EAGAIN: its backlog is full, so there is somebody. */
    bool yes = r == 0 || errno == EAGAIN;

    if (fd >= 0)
        close(fd);
    return yes;
}

static enum rc io_refusal(struct refusal *no, const char *path, int err)
{
    refusal_what(no, RC_IO, "cannot make the admin socket %s", path);
    refusal_why(no, "%s", strerror(err));
    return refusal_todo(no, "choose a folder with --run that this user may write");
}

/* Only a socket is ever removed: `path` may be a mistake. */
static enum rc clear_place(const char *path, const struct sockaddr_un *address, struct refusal *no)
{
    struct stat st;

    if (lstat(path, &st) != 0)
        return errno == ENOENT ? RC_OK : io_refusal(no, path, errno);
    if (!S_ISSOCK(st.st_mode))
        return io_refusal(no, path, ENOTSOCK);
    if (answered(address)) {
        refusal_what(no, RC_EXISTS, "another roomkeyd answers at %s", path);
        refusal_why(no, "two of them would fight over the same tenants");
        return refusal_todo(no, "stop it, or give this one its own --run and --state");
    }
    return unlink(path) == 0 || errno == ENOENT ? RC_OK : io_refusal(no, path, errno);
}

enum rc admin_listen(const char *path, int *out, struct refusal *no)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct group *group;
    enum rc rc;
    int fd;

    if (strlen(path) >= sizeof address.sun_path)
        return io_refusal(no, path, ENAMETOOLONG);
    strcpy(address.sun_path, path);
    rc = clear_place(path, &address, no);
    if (rc)
        return rc;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return io_refusal(no, path, errno);
    /* Nobody may connect before the mode is right: listen comes last. */
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || chmod(path, 0660) != 0)
        goto failed;
    group = getgrnam(ADMIN_GROUP);
    if (group && chown(path, (uid_t)-1, group->gr_gid) != 0)
        goto failed;
    if (listen(fd, BACKLOG) != 0)
        goto failed;
    *out = fd;
    return RC_OK;

failed:
    rc = io_refusal(no, path, errno);
    close(fd);
    return rc;
}

static bool in_group(int fd, gid_t gid, gid_t wanted)
{
    gid_t groups[GROUPS_MAX];
    socklen_t len = sizeof groups;

    if (gid == wanted)
        return true;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) != 0)
        return false;
    for (size_t i = 0; i < len / sizeof *groups; i++)
        if (groups[i] == wanted)
            return true;
    return false;
}

void admin_peer_read(int fd, struct admin_peer *out)
{
    struct ucred cred;
    socklen_t len = sizeof cred;
    const struct group *group;

    *out = (struct admin_peer){.uid = (uid_t)-1, .gid = (gid_t)-1};
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0)
        return;
    out->uid = cred.uid;
    out->gid = cred.gid;
    out->allowed = cred.uid == 0 || cred.uid == geteuid();
    if (!out->allowed) {
        group = getgrnam(ADMIN_GROUP);
        out->allowed = group && in_group(fd, cred.gid, group->gr_gid);
    }
}
