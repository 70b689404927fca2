#include "orchestrator/backend/xen/helper/probe.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "orchestrator/backend/xen/helper/answer.h"
#include "orchestrator/backend/xen/helper/probe_checks.h"

void probe_say(struct probe *p, const char *name, enum xen_level level, const char *fmt, ...)
{
    struct xen_event e = {.type = XEN_CHECK, .token = p->token, .level = (uint8_t)level};
    char text[XEN_TEXT_MAX];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    snprintf(e.name, sizeof e.name, "%s", name);
    answer_text(&e, RC_OK, "%s", text);
    if (level != XEN_LEVEL_OK && (!p->done->text[0] || (level == XEN_LEVEL_FAULT && !p->fault)))
        answer_text(p->done, RC_OK, "%s: %s", name, e.text);
    p->fault = p->fault || level == XEN_LEVEL_FAULT;
    p->tell(p, &e);
}

static enum rc look(struct probe *p)
{
    if (probe_is_dom0(p)) {
        probe_devices(p);
        if (probe_open(p)) {
            probe_version(p);
            probe_pvh(p);
            probe_memory(p);
            probe_grants(p);
            probe_console(p);
        }
    }
    return p->fault ? RC_UNSUPPORTED : RC_OK;
}

/*----- for roomkeyd -----*/

static void send_check(struct probe *p, const struct xen_event *check)
{
    (void)p;
    if (answer_send(check, -1))
        return; /* so will XEN_DONE be, and that is looked at */
}

enum rc probe_run(struct host *h, const struct xen_job *job, struct xen_event *done)
{
    struct probe p = {.host = h, .tell = send_check, .done = done, .token = job->token};

    return look(&p);
}

/*----- for people -----*/

static void print_check(struct probe *p, const struct xen_event *check)
{
    static const char *const words[] = {"ok", "warning", "fault"};

    (void)p;
    printf("%-8s %-12s %s\n", words[check->level], check->name, check->text);
}

int probe_main(void)
{
    static struct host h;
    struct xen_event done = {.type = XEN_DONE};
    struct probe p = {.host = &h, .tell = print_check, .done = &done};

    xl_log_init(&h.log);
    return look(&p) ? 1 : 0;
}
