/* Short texts and structs that roomkeyd and its helpers take from others: a guest's console and
 * log lines, its nodes in xenstore, events of roomkey-xen, names and numbers of admins.
 *
 * What is taken means the same when it is written out and taken again; a console's lines are the
 * same however its bytes are cut, and what goes into a log is printable UTF-8.
 *
 * Input: a byte for which reader, then what it reads.
 *
 * Seen to find: feed() that ends a line one byte too late, xen_event_take() that does not look at
 * `channels`, xen_uuid_parse() without its second look. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/check.h"
#include "common/host/units.h"
#include "orchestrator/admin/route.h"
#include "orchestrator/backend/xen/helper/node_text.h"
#include "orchestrator/backend/xen/xen_event.h"
#include "orchestrator/files.h"
#include "orchestrator/hostname.h"
#include "orchestrator/text.h"

/* With the part that cuts bytes into lines. */
#include "orchestrator/backend/console.c"

#define SIZE_MOST 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*----- the console and the log -----*/

/* Every sequence of it whole, none of it a control character. */
static void check_clean(const char *s)
{
    char again[SIZE_MOST + 1];

    for (const char *p = s; *p; p++) {
        CHECK((unsigned char)*p >= ' ' && *p != 0x7f);
        CHECK(p[0] != '\xc2' || (unsigned char)p[1] >= 0xa0);
    }
    text_clean(again, sizeof again, s, strlen(s));
    CHECK(strcmp(again, s) == 0);
}

static void clean(const char *s, size_t size)
{
    char out[SIZE_MOST + 1], less[17];

    text_clean(out, sizeof out, s, size);
    check_clean(out);
    text_clean(less, sizeof less, s, size);
    check_clean(less);
    CHECK(strncmp(less, out, strlen(less)) == 0);
}

struct lines {
    char all[2 * SIZE_MOST + 2];
    size_t len;
};

static void on_line(void *arg, const char *line, size_t len)
{
    struct lines *l = arg;

    CHECK(len <= CONSOLE_LINE_MAX && !memchr(line, '\n', len));
    CHECK(len < sizeof l->all - l->len);
    memcpy(l->all + l->len, line, len);
    l->len += len;
    l->all[l->len++] = '\n';
    clean(line, len);
}

static void console(const char *s, size_t size)
{
    static struct lines whole, pieces;
    static struct console a, b;

    whole.len = pieces.len = 0;
    a = (struct console){.on_line = on_line, .arg = &whole};
    b = (struct console){.on_line = on_line, .arg = &pieces};
    feed(&a, s, size);
    for (size_t i = 0; i < size; i++)
        feed(&b, s + i, 1);
    CHECK(a.len == b.len && a.cut == b.cut && memcmp(a.line, b.line, a.len) == 0);
    CHECK(whole.len == pieces.len && memcmp(whole.all, pieces.all, whole.len) == 0);
}

/*----- xen -----*/

static void node(const char *s, size_t size)
{
    char again[16];
    uint32_t n;

    if (node_text_number(s, size, UINT32_MAX, &n)) {
        CHECK((size_t)snprintf(again, sizeof again, "%u", n) == size);
        CHECK(memcmp(again, s, size) == 0);
        CHECK(node_text_number(s, size, n, &n) &&
              (n == 0 || !node_text_number(s, size, n - 1, &n)));
    }
    if (node_text_is_pts(s, size))
        CHECK(memcmp(s, "/dev/pts/", 9) == 0 && !memchr(s + 9, '/', size - 9));
    if (node_text_is_name(s, size))
        CHECK(memchr(s, 0, size) && *s != '.' && !strpbrk(s, "/ \n\""));
    if (node_text_is_words(s, size))
        CHECK(memchr(s, 0, size) && strspn(s, "\n\r\t\x1b") == 0);
}

static void event(const char *s, size_t size)
{
    static struct xen_event e;

    if (!xen_event_take(s, size, &e)) {
        /* Sparse: a short one is one with zeroes behind it. */
        if (size >= sizeof e)
            return;
        char *whole = calloc(1, sizeof e);

        memcpy(whole, s, size);
        event(whole, sizeof e);
        free(whole);
        return;
    }
    CHECK(memcmp(s, &e, sizeof e) == 0);
    CHECK(e.rc < RC_NR && *rc_text((enum rc)e.rc));
    CHECK(1 + e.channels <= sizeof e.vchan / sizeof *e.vchan);
    CHECK(strlen(e.name) < sizeof e.name && strlen(e.text) < sizeof e.text);
}

static void uuid(const char *s)
{
    uint8_t id[XEN_UUID_SIZE];
    char again[XEN_UUID_TEXT];

    if (!xen_uuid_parse(s, id))
        return;
    xen_uuid_text(id, again);
    CHECK(strcmp(s, again) == 0);
}

/*----- admins -----*/

static void host(const char *s)
{
    char out[HOSTNAME_SIZE], again[HOSTNAME_SIZE], wild[HOSTNAME_SIZE];
    struct refusal no = {0};

    if (hostname_normalize(s, out, &no)) {
        CHECK(*no.what && *no.why && *no.todo);
        return;
    }
    CHECK(hostname_normalize(out, again, &no) == RC_OK && strcmp(out, again) == 0);
    CHECK(hostname_covered(out, out));
    if (hostname_wildcard(out, wild) && strchr(wild + 2, '.'))
        CHECK(hostname_covered(wild, out));
}

static void number(const char *s)
{
    static const struct unit *const tables[] = {units_duration, units_size, units_count};
    int64_t n;

    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        if (units_parse(s, tables[i], 1000000, &n))
            CHECK(n >= 0 && n <= 1000000 && *s >= '0' && *s <= '9');
    if (files_is_hash(s))
        CHECK(strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64);
}

static void path(const char *s)
{
    static const char *const methods[] = {"GET", "PUT", "POST", "DELETE", "PATCH", "get"};
    char name[ADMIN_PATH_NAME_SIZE];
    unsigned miss;

    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        const struct admin_route *r = admin_route_find(methods[i], s, name, &miss);

        CHECK(r || miss == 404 || miss == 405);
        CHECK(!r || strcmp(r->method, methods[i]) == 0);
        if (r && strstr(r->path, "{}"))
            CHECK(*name && strlen(name) < sizeof name && !strchr(name, '/') && strstr(s, name));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text;

    if (size == 0 || size > SIZE_MOST)
        return 0;
    text = malloc(size); /* as long as it is: ASan sees all */
    CHECK(text);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    switch (data[0] % 8) {
    case 0:
        console(text, size - 1);
        break;
    case 1:
        clean(text, size - 1);
        break;
    case 2:
        node(text, size - 1);
        node(text, size);
        break;
    case 3:
        event(text, size - 1);
        break;
    case 4:
        uuid(text);
        break;
    case 5:
        host(text);
        break;
    case 6:
        number(text);
        break;
    default:
        path(text);
    }
    free(text);
    return 0;
}
