#include "orchestrator/backend/xen/xen_probe.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/host/first_line.h"
#include "orchestrator/backend/xen/xen.h"
#include "orchestrator/backend/xen/xen_call.h"

#define TYPE         "/sys/hypervisor/type"
#define FEATURES     "/sys/hypervisor/properties/features"
#define CAPABILITIES "/proc/xen/capabilities"
#define FEATURE_DOM0 11 /* XENFEAT_dom0 */

#define INSTALL "install xen-system-amd64 and boot its entry of GRUB's menu"

static bool is_dom0(void)
{
    char text[64];

    if (first_line(CAPABILITIES, text, sizeof text))
        return strstr(text, "control_d") != NULL;
    /* Without xenfs. */
    return first_line(FEATURES, text, sizeof text) &&
           strtoul(text, NULL, 16) & (1ul << FEATURE_DOM0);
}

/* What can be told without asking Xen. */
static enum rc look(char *why, size_t size)
{
    static const struct {
        const char *path, *module;
    } devices[] = {{"/dev/xen/gntdev", "xen-gntdev"}, {"/dev/xen/evtchn", "xen-evtchn"}};
    char type[32] = "";

    if (!first_line(TYPE, type, sizeof type) || strcmp(type, "xen") != 0) {
        snprintf(why, size, "xen: this host does not run on Xen; " INSTALL);
        return RC_NOT_FOUND;
    }
    if (!is_dom0()) {
        snprintf(why, size,
                 "xen: this is a guest of a Xen host and not its dom0; run roomkeyd in "
                 "dom0, or here with --ground sandbox");
        return RC_NOT_FOUND;
    }
    if (geteuid() != 0) {
        snprintf(why, size, "xen: needs root, to create domains; run roomkeyd as root");
        return RC_DENIED;
    }
    for (size_t n = 0; n < sizeof devices / sizeof *devices; n++)
        if (access(devices[n].path, R_OK | W_OK) != 0) {
            snprintf(why, size, "xen: %s: %s; modprobe %s", devices[n].path, strerror(errno),
                     devices[n].module);
            return RC_UNSUPPORTED;
        }
    return RC_OK;
}

static void ignore(void *arg, const struct xen_event *event, int *fd)
{
    (void)arg, (void)event, (void)fd;
}

enum rc xen_probe(char *why, size_t size)
{
    struct xen_job job = {.type = XEN_JOB_PROBE};
    char text[XEN_TEXT_MAX] = "";
    enum rc rc = look(why, size);

    if (rc)
        return rc;
    rc = xen_call(&job, ignore, NULL, text, sizeof text);
    snprintf(why, size, "%s%s", text[0] ? "xen: " : "", text);
    return rc;
}

/*----- for doctor -----*/

struct listener {
    backend_check_cb *tell;
    void *arg;
    bool any;
};

static void on_check(void *arg, const struct xen_event *event, int *fd)
{
    struct listener *l = arg;
    char name[96];

    (void)fd;
    if (event->type != XEN_CHECK)
        return;
    l->any = true;
    snprintf(name, sizeof name, "xen %.64s", event->name);
    l->tell(l->arg, name,
            event->level == XEN_LEVEL_OK     ? BACKEND_FINE
            : event->level == XEN_LEVEL_WARN ? BACKEND_WARNING
                                             : BACKEND_FAULT,
            event->text);
}

/* On another host the ground's own line says why it is not to be had. */
void xen_checks(backend_check_cb *tell, void *arg)
{
    struct xen_job job = {.type = XEN_JOB_PROBE};
    struct listener l = {.tell = tell, .arg = arg};
    char text[XEN_TEXT_MAX] = "";

    if (look(text, sizeof text))
        return;
    if (xen_call(&job, on_check, &l, text, sizeof text) && !l.any)
        tell(arg, "xen helper", BACKEND_FAULT, text);
}
