#include "orchestrator/backend/xen/helper/probe_checks.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xenhypfs.h>

#include "common/host/first_line.h"

#define VERSION_MAJOR 4
#define VERSION_MINOR 14 /* PVH as libxl makes it here; older ones are out of support */
#define MIB_PAGES     256
#define MEMORY_LOW    256ull /* MiB free; less is no fault: tenants that run may have the rest */
#define MAPTRACK_EACH 256u   /* mappings that one frame tracks */
/* Of a tenant with 4 workers, at most; a PV dom0's kernel maps each page a second time. */
#define TENANT_MAPPINGS 800u
#define MAPTRACK_LOW    1024u

bool probe_is_dom0(struct probe *p)
{
    char type[32], capabilities[256];

    if (!first_line("/sys/hypervisor/type", type, sizeof type) || strcmp(type, "xen") != 0) {
        probe_say(p, "xen", XEN_LEVEL_FAULT,
                  "this machine runs without Xen; install xen-system-amd64 and boot it, or use "
                  "--ground sandbox");
        return false;
    }
    if (!first_line("/proc/xen/capabilities", capabilities, sizeof capabilities)) {
        probe_say(p, "xen", XEN_LEVEL_FAULT,
                  "/proc/xen is empty, so nothing says that this is dom0; mount it: mount -t xenfs "
                  "xenfs /proc/xen");
        return false;
    }
    if (!strstr(capabilities, "control_d")) {
        probe_say(p, "xen", XEN_LEVEL_FAULT,
                  "this is a Xen guest, and only dom0 may make domains; run roomkeyd there, or use "
                  "--ground sandbox");
        return false;
    }
    if (geteuid() != 0) {
        probe_say(p, "xen", XEN_LEVEL_FAULT, "only root may make domains; run roomkeyd as root");
        return false;
    }
    return true;
}

void probe_devices(struct probe *p)
{
    static const struct {
        const char *path, *module, *what;
    } devices[] = {
        {"/dev/xen/privcmd", "xen-privcmd", "to ask the hypervisor"},
        {"/dev/xen/gntdev", "xen-gntdev", "to map a tenant's rings"},
        {"/dev/xen/evtchn", "xen-evtchn", "to ring a tenant"},
    };
    bool all = true;

    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
        if (access(devices[i].path, R_OK | W_OK) == 0)
            continue;
        all = false;
        probe_say(p, "devices", XEN_LEVEL_FAULT,
                  "%s (%s): %s; do: modprobe %s, and start roomkeyd "
                  "where /dev/xen is to be seen",
                  devices[i].path, devices[i].what, strerror(errno), devices[i].module);
    }
    if (all)
        probe_say(p, "devices", XEN_LEVEL_OK, "privcmd, gntdev and evtchn can be opened");
}

/*----- xenstore and libxl -----*/

/* Where it is not a daemon's socket, it may be a domain's. */
static bool has_xenstore_domain(struct host *h)
{
    static xc_domaininfo_t list[HOST_CHUNK];
    int n = host_domains(h, 1, list);

    for (int i = 0; i < n; i++)
        if (list[i].flags & XEN_DOMINF_xs_domain)
            return true;
    return false;
}

bool probe_open(struct probe *p)
{
    struct host *h = p->host;
    enum rc rc;

    xl_log_forget(&h->log);
    if (!h->xc)
        h->xc = xc_interface_open(&h->log.logger, &h->log.logger, 0);
    if (!h->xc) {
        probe_say(p, "hypervisor", XEN_LEVEL_FAULT,
                  "it does not answer: %s; look at dmesg, and install the tools of the running Xen",
                  xl_log_cause(&h->log));
        return false;
    }
    /* Opening it would wait for ever where nobody serves it. */
    if (access(xs_daemon_socket(), R_OK | W_OK) != 0 && !has_xenstore_domain(h)) {
        probe_say(p, "xenstore", XEN_LEVEL_FAULT,
                  "xenstored does not run (no %s); do: systemctl start xen, or where that is no "
                  "unit: xenstored xen-init-dom0",
                  xs_daemon_socket());
        return false;
    }
    rc = host_open_xl(h);
    if (rc) {
        probe_say(p, "xenstore", XEN_LEVEL_FAULT,
                  "xenstored or libxl cannot be used: %s; see whether xl list works",
                  h->log.cause[0] ? h->log.cause : rc_text(rc));
        return false;
    }
    probe_say(p, "xenstore", XEN_LEVEL_OK, "xenstored answers");
    return true;
}

void probe_version(struct probe *p)
{
    const libxl_version_info *v = libxl_get_version_info(p->host->xl);

    if (!v)
        probe_say(p, "version", XEN_LEVEL_FAULT,
                  "the hypervisor does not tell its version; see whether xl info works");
    else if (v->xen_version_major < VERSION_MAJOR ||
             (v->xen_version_major == VERSION_MAJOR && v->xen_version_minor < VERSION_MINOR))
        probe_say(p, "version", XEN_LEVEL_FAULT, "Xen %d.%d is too old; install %d.%d or later",
                  v->xen_version_major, v->xen_version_minor, VERSION_MAJOR, VERSION_MINOR);
    else
        probe_say(p, "version", XEN_LEVEL_OK, "Xen %d.%d%s", v->xen_version_major,
                  v->xen_version_minor, v->xen_version_extra);
}

/*----- what the machine can do and has -----*/

static bool physinfo(struct probe *p, const char *name, libxl_physinfo *out)
{
    libxl_physinfo_init(out);
    if (libxl_get_physinfo(p->host->xl, out) == 0)
        return true;
    libxl_physinfo_dispose(out);
    probe_say(p, name, XEN_LEVEL_FAULT, "the hypervisor does not tell; see whether xl info works");
    return false;
}

void probe_pvh(struct probe *p)
{
    libxl_physinfo info;

    if (!physinfo(p, "pvh", &info))
        return;
    if (!info.cap_hvm)
        probe_say(p, "pvh", XEN_LEVEL_FAULT,
                  "Xen can run no PVH domains on this processor; switch VT-x or AMD-V on in the "
                  "firmware");
    else if (!info.cap_hap)
        probe_say(p, "pvh", XEN_LEVEL_FAULT,
                  "PVH needs nested paging (EPT or NPT), which this processor has not, or which "
                  "hap=0 on Xen's command line switches off");
    else
        probe_say(p, "pvh", XEN_LEVEL_OK, "PVH domains with nested paging can be had");
    libxl_physinfo_dispose(&info);
}

static void dom0_memory(struct probe *p, uint64_t total_kib)
{
    libxl_dominfo dom0;

    libxl_dominfo_init(&dom0);
    if (libxl_domain_info(p->host->xl, &dom0, 0) != 0)
        probe_say(p, "dom0 memory", XEN_LEVEL_WARN, "the hypervisor does not tell; see xl list");
    else if (dom0.max_memkb >= total_kib)
        probe_say(p, "dom0 memory", XEN_LEVEL_WARN,
                  "dom0 has %" PRIu64
                  " MiB and may take all; give it a fixed size on Xen's command "
                  "line: dom0_mem=2G,max:2G, and set autoballoon=\"off\" in /etc/xen/xl.conf",
                  dom0.current_memkb / 1024);
    else
        probe_say(p, "dom0 memory", XEN_LEVEL_OK, "dom0 has %" PRIu64 " MiB and at most %" PRIu64,
                  dom0.current_memkb / 1024, dom0.max_memkb / 1024);
    libxl_dominfo_dispose(&dom0);
}

void probe_memory(struct probe *p)
{
    libxl_physinfo info;
    uint64_t free_mib;

    if (!physinfo(p, "free memory", &info))
        return;
    dom0_memory(p, info.total_pages * 4);
    free_mib = (info.free_pages + info.scrub_pages) / MIB_PAGES;
    if (free_mib < MEMORY_LOW)
        probe_say(p, "free memory", XEN_LEVEL_WARN,
                  "%" PRIu64 " of %" PRIu64 " MiB are left for tenants; give dom0 less (dom0_mem= "
                  "on Xen's command line, or xl mem-set 0), or stop other domains",
                  free_mib, info.total_pages / MIB_PAGES);
    else
        probe_say(p, "free memory", XEN_LEVEL_OK,
                  "%" PRIu64 " of %" PRIu64 " MiB are left for tenants", free_mib,
                  info.total_pages / MIB_PAGES);
    libxl_physinfo_dispose(&info);
}

/* A number from Xen's command line or its default; 0: it does not tell. */
static unsigned long parameter(xenhypfs_handle *fs, const char *path)
{
    char *text = fs ? xenhypfs_read(fs, path) : NULL;
    unsigned long n = text ? strtoul(text, NULL, 0) : 0;

    free(text);
    return n;
}

void probe_grants(struct probe *p)
{
    xentoollog_logger *silent = NULL; /* a Xen built without hypfs is no error */
    xenhypfs_handle *fs = xenhypfs_open(silent, 0);
    unsigned long frames = parameter(fs, "/params/gnttab_max_frames");
    unsigned long maptrack = parameter(fs, "/params/gnttab_max_maptrack_frames");
    unsigned long tenants = maptrack * MAPTRACK_EACH / TENANT_MAPPINGS;

    if (fs)
        xenhypfs_close(fs);
    if (frames == 0 || maptrack == 0)
        probe_say(p, "grants", XEN_LEVEL_WARN,
                  "Xen does not tell its limits; with many tenants set gnttab_max_maptrack_frames= "
                  "on its command line (1024 are enough for about 300)");
    else if (maptrack < MAPTRACK_LOW)
        probe_say(p, "grants", XEN_LEVEL_WARN,
                  "dom0 can map the rings of about %lu tenants with 4 workers; for more set "
                  "gnttab_max_maptrack_frames=%u or above on Xen's command line",
                  tenants, MAPTRACK_LOW);
    else
        probe_say(p, "grants", XEN_LEVEL_OK,
                  "%lu frames a domain; dom0 can map the rings of about %lu tenants with 4 workers",
                  frames, tenants);
}

/*----- xenconsoled -----*/

static bool runs(const char *name)
{
    DIR *proc = opendir("/proc");
    struct dirent *e;
    bool found = false;

    while (proc && !found && (e = readdir(proc))) {
        char path[300], comm[32];

        if (e->d_name[0] < '1' || e->d_name[0] > '9')
            continue;
        snprintf(path, sizeof path, "/proc/%s/comm", e->d_name);
        found = first_line(path, comm, sizeof comm) && strcmp(comm, name) == 0;
    }
    if (proc)
        closedir(proc);
    return found;
}

void probe_console(struct probe *p)
{
    unsigned len;
    char *elsewhere = xs_read(p->host->xs, XBT_NULL, "/tool/xenconsoled/domid", &len);

    if (elsewhere)
        probe_say(p, "console", XEN_LEVEL_OK, "consoles are served by domain %.8s", elsewhere);
    else if (runs("xenconsoled"))
        probe_say(p, "console", XEN_LEVEL_OK, "xenconsoled runs");
    else
        probe_say(p, "console", XEN_LEVEL_FAULT,
                  "xenconsoled does not run, and no domain is ready without it; do: systemctl "
                  "start xen, or where that is no unit: xenconsoled");
    free(elsewhere);
}
