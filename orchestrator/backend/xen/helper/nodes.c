#include "orchestrator/backend/xen/helper/nodes.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#include "orchestrator/backend/xen/helper/host.h"
#include "orchestrator/backend/xen/helper/node_text.h"

/* Linux gives Unix 98 terminals these. */
#define PTS_MAJOR_FIRST 136
#define PTS_MAJOR_LAST  143

__attribute__((format(printf, 3, 4))) static void node(char out[NODES_PATH_MAX], uint32_t domid,
                                                       const char *fmt, ...)
{
    int n = snprintf(out, NODES_PATH_MAX, "/local/domain/%" PRIu32 "/", domid);
    va_list args;

    va_start(args, fmt);
    vsnprintf(out + n, NODES_PATH_MAX - (size_t)n, fmt, args);
    va_end(args);
}

static void vm_node(char out[NODES_PATH_MAX], const uint8_t u[XEN_UUID_SIZE], const char *leaf)
{
    snprintf(out, NODES_PATH_MAX,
             "/vm/%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x%s", u[0],
             u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13],
             u[14], u[15], leaf);
}

/*----- what the guest writes -----*/

static bool read_number(struct xs_handle *xs, const char *path, uint32_t max, uint32_t *out)
{
    unsigned len = 0;
    char *text = xs_read(xs, XBT_NULL, path, &len);
    bool ok = text && node_text_number(text, len, max, out);

    free(text);
    return ok;
}

void nodes_control_path(char out[NODES_PATH_MAX], uint32_t domid)
{
    node(out, domid, "data/roomkey/control/event-channel");
}

static bool read_vchan(struct xs_handle *xs, uint32_t domid, const char *which,
                       struct xen_vchan *out)
{
    char path[NODES_PATH_MAX];
    struct xen_vchan v = {0};
    bool ok;

    node(path, domid, "data/roomkey/%s/event-channel", which);
    ok = read_number(xs, path, UINT32_MAX, &v.port) && v.port != 0;
    node(path, domid, "data/roomkey/%s/ring-ref", which);
    ok = ok && read_number(xs, path, UINT32_MAX, &v.ring_ref) && v.ring_ref != 0;
    if (ok)
        *out = v;
    return ok;
}

bool nodes_vchans(struct xs_handle *xs, uint32_t domid, struct xen_event *e)
{
    char which[16];

    e->channels = 0;
    memset(e->vchan, 0, sizeof e->vchan);
    if (!read_vchan(xs, domid, "control", &e->vchan[0]))
        return false;
    for (uint32_t i = 0; i < LAUNCH_CHANNELS_MAX; i++) {
        snprintf(which, sizeof which, "%" PRIu32, i);
        if (!read_vchan(xs, domid, which, &e->vchan[1 + i]))
            break;
        e->channels = i + 1;
    }
    return true;
}

int32_t nodes_exit_status(struct xs_handle *xs, uint32_t domid)
{
    char path[NODES_PATH_MAX];
    uint32_t status;

    node(path, domid, "data/roomkey/exit");
    return read_number(xs, path, 255, &status) ? (int32_t)status : -1;
}

/*----- what only dom0 writes -----*/

static bool is_dom0s(struct xs_handle *xs, const char *path)
{
    unsigned n = 0;
    struct xs_permissions *perms = xs_get_permissions(xs, XBT_NULL, path, &n);
    bool ok = perms && n > 0 && perms[0].id == 0;

    /* The first says who owns it, and what those may do who are not named after it. */
    ok = ok && !(perms[0].perms & XS_PERM_WRITE);
    for (unsigned i = 1; ok && i < n; i++)
        ok = perms[i].id == 0 || !(perms[i].perms & XS_PERM_WRITE);
    free(perms);
    return ok;
}

/* The text of a node, terminated as xs_read() does it; NULL when it is not to be trusted. */
static char *read_trusted(struct xs_handle *xs, const char *path, unsigned *len)
{
    return is_dom0s(xs, path) ? xs_read(xs, XBT_NULL, path, len) : NULL;
}

enum rc nodes_name(struct xs_handle *xs, uint32_t domid, char out[XEN_NAME_MAX])
{
    char path[NODES_PATH_MAX], *text;
    unsigned len = 0;
    bool ok;

    node(path, domid, "name");
    text = read_trusted(xs, path, &len);
    ok = text && len < XEN_NAME_MAX && node_text_is_name(text, len + 1u);
    if (ok)
        memcpy(out, text, len + 1u);
    free(text);
    return ok ? RC_OK : RC_NOT_FOUND;
}

/* xenconsoled has made it raw already; whoever looked at it since may have not left it so. */
static void make_raw(int fd)
{
    struct termios t;

    if (tcgetattr(fd, &t) != 0)
        return;
    cfmakeraw(&t);
    (void)tcsetattr(fd, TCSANOW, &t);
}

enum rc nodes_console(struct xs_handle *xs, uint32_t domid, int *fd)
{
    char path[NODES_PATH_MAX], *tty;
    unsigned len = 0;
    struct stat st;

    *fd = -1;
    node(path, domid, "console/tty");
    tty = read_trusted(xs, path, &len);
    if (tty && node_text_is_pts(tty, len))
        *fd = open(tty, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    free(tty);
    if (*fd < 0)
        return RC_NOT_FOUND;
    if (fstat(*fd, &st) != 0 || !S_ISCHR(st.st_mode) || major(st.st_rdev) < PTS_MAJOR_FIRST ||
        major(st.st_rdev) > PTS_MAJOR_LAST) {
        close(*fd);
        *fd = -1;
        return RC_NOT_FOUND;
    }
    make_raw(*fd);
    return RC_OK;
}

/*----- what we write -----*/

enum rc nodes_prepare(struct xs_handle *xs, uint32_t domid)
{
    struct xs_permissions perms[] = {{.id = 0, .perms = XS_PERM_NONE},
                                     {.id = domid, .perms = XS_PERM_READ}};
    char path[NODES_PATH_MAX];

    node(path, domid, "roomkey");
    if (!xs_mkdir(xs, XBT_NULL, path) || !xs_set_permissions(xs, XBT_NULL, path, perms, 2))
        return host_rc(errno);
    return RC_OK;
}

static enum rc put(struct xs_handle *xs, const char *path, const char *text)
{
    return xs_write(xs, XBT_NULL, path, text, (unsigned)strlen(text)) ? RC_OK : host_rc(errno);
}

enum rc nodes_launch(struct xs_handle *xs, uint32_t domid, const char *words)
{
    char path[NODES_PATH_MAX];

    node(path, domid, "roomkey/launch"); /* its permissions are the folder's */
    return put(xs, path, words);
}

void nodes_forget_launch(struct xs_handle *xs, uint32_t domid)
{
    char path[NODES_PATH_MAX];

    node(path, domid, "roomkey/launch");
    (void)xs_rm(xs, XBT_NULL, path);
}

/* Not libxl_domain_rename(): that reads the name of every domain there is. */
enum rc nodes_rename(struct xs_handle *xs, uint32_t domid, const uint8_t uuid[XEN_UUID_SIZE],
                     const char *name)
{
    char path[NODES_PATH_MAX];
    enum rc rc;

    vm_node(path, uuid, "/name");
    rc = put(xs, path, name);
    if (rc)
        return rc;
    node(path, domid, "name");
    return put(xs, path, name);
}

void nodes_remove(struct xs_handle *xs, uint32_t domid, const uint8_t uuid[XEN_UUID_SIZE])
{
    char path[NODES_PATH_MAX];

    vm_node(path, uuid, "");
    (void)xs_rm(xs, XBT_NULL, path);
    snprintf(path, sizeof path, "/local/domain/%" PRIu32, domid);
    (void)xs_rm(xs, XBT_NULL, path);
    snprintf(path, sizeof path, "/libxl/%" PRIu32, domid);
    (void)xs_rm(xs, XBT_NULL, path);
}
