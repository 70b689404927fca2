/* /v1/tenants/NAME/logs: the end of a tenant's log as it is in the file, then, with
 * follow=1, each new line.  A client that does not read loses lines, and is told how many. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/core/check.h"
#include "orchestrator/admin/handlers.h"
#include "orchestrator/fleet.h"
#include "orchestrator/registry.h"

#define LINES_STANDARD 1000u
#define TAIL_BYTES     (256u << 10) /* of each of the two files, looked at */
#define BEHIND_BYTES   (256u << 10) /* what a follower may be behind */

struct logs {
    struct fleet_watch watch;
    struct admin_request *request;
    struct fleet *fleet;
    uint64_t tenant;
    struct admin_text text; /* to be sent */
    unsigned lost;          /* lines, since there was room */
    bool follow;
};

/* Appends the last bytes of a file, whole lines only; no file is no lines. */
static void read_tail(const char *path, struct admin_text *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char *buffer = fd < 0 ? NULL : malloc(TAIL_BYTES);
    struct stat st;

    if (buffer && fstat(fd, &st) == 0) {
        off_t from = st.st_size > TAIL_BYTES ? st.st_size - TAIL_BYTES : 0;
        ssize_t n = pread(fd, buffer, TAIL_BYTES, from);
        const char *start = from && n > 0 ? memchr(buffer, '\n', (size_t)n) : buffer;

        if (n > 0 && start)
            admin_text_bytes(out, from ? start + 1 : start,
                             (size_t)(buffer + n - (from ? start + 1 : start)));
    }
    free(buffer);
    if (fd >= 0)
        close(fd);
}

/* Keeps the last `lines` lines. */
static void keep_last(struct admin_text *t, uint64_t lines)
{
    size_t at = t->len;

    if (at && t->p[at - 1] == '\n')
        at--;
    for (; at > 0; at--)
        if (t->p[at - 1] == '\n' && --lines == 0)
            break;
    if (at) {
        memmove(t->p, t->p + at, t->len - at);
        t->len -= at;
    }
}

static void on_log(struct fleet_watch *watch, uint64_t tenant, const char *line)
{
    struct logs *s = watch->data;

    if (tenant != s->tenant)
        return;
    if (s->text.len > BEHIND_BYTES)
        s->lost++;
    else
        admin_text_add(&s->text, "%s\n", line);
    admin_wake(s->request);
}

static enum admin_next next(struct admin_request *q, void *state, struct admin_text *out)
{
    struct logs *s = state;

    (void)q;
    if (s->lost)
        admin_text_add(&s->text, "(%u lines are left out here: the reader was too slow)\n",
                       s->lost);
    s->lost = 0;
    if (s->text.len)
        admin_text_bytes(out, s->text.p, s->text.len);
    s->text.len = 0;
    return s->follow ? ADMIN_WAIT : ADMIN_END;
}

static void finish(void *state)
{
    struct logs *s = state;

    if (s->follow)
        fleet_unwatch(s->fleet, &s->watch);
    admin_text_dispose(&s->text);
    free(s);
}

static bool read_lines(struct admin_request *q, uint64_t *lines)
{
    const char *text = admin_argument(q, "lines");
    struct refusal no;

    *lines = LINES_STANDARD;
    if (!text || (admin_number(text, lines) && *lines > 0))
        return true;
    refusal_what(&no, RC_INVAL, "lines=%s is refused", text);
    refusal_why(&no, "it is not a number of lines");
    admin_refuse(q, &no);
    return false;
}

void logs_get(struct admin_request *q)
{
    static const struct admin_stream stream = {"text/plain; charset=utf-8", next, finish};
    struct admin_house *house = admin_of(q);
    struct registry_tenant tenant;
    struct logs *s;
    char path[640];
    uint64_t lines;

    if (!read_lines(q, &lines) || !tenants_find(q, &tenant) || !admin_may_follow(q))
        return;
    s = calloc(1, sizeof *s);
    CHECK(s);
    *s = (struct logs){.request = q, .fleet = house->fleet, .tenant = tenant.id};
    for (int old = 1; old >= 0; old--)
        if (fleet_log_path(house->fleet, tenant.name, old, path, sizeof path) == RC_OK)
            read_tail(path, &s->text);
    keep_last(&s->text, lines);
    s->follow = admin_follows(q);
    if (s->follow) {
        s->watch.on_log = on_log;
        s->watch.data = s;
        fleet_watch(s->fleet, &s->watch);
    }
    admin_stream(q, &stream, s);
}
