/* hello: the page that a newcomer sees first. It says whose it is, and draws how
 * this very connection came about: what the front did, and how the boot hid
 * behind the handshake.
 *
 * Happy path: GET / makes the page in a buffer of the request's own. All that came
 * from a client or a handover is escaped. Version 3 is broken on purpose: it fails
 * in on_start, and shows that such a version is rolled back. */
#include <roomkey/app.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_MAX 16384

#define IS_VERSION(major) (ROOMKEY_IMAGE_VERSION[0] == (major))

struct page {
    char text[PAGE_MAX];
    size_t len;
};

__attribute__((format(printf, 2, 3))) static void put(struct page *p, const char *fmt, ...)
{
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(p->text + p->len, PAGE_MAX - p->len, fmt, args);
    va_end(args);
    if (n > 0)
        p->len += (size_t)n < PAGE_MAX - p->len ? (size_t)n : PAGE_MAX - p->len - 1;
}

static void put_escaped(struct page *p, const char *s)
{
    for (; *s; s++) {
        switch (*s) {
        case '&':
            put(p, "&amp;");
            break;
        case '<':
            put(p, "&lt;");
            break;
        case '>':
            put(p, "&gt;");
            break;
        case '"':
            put(p, "&quot;");
            break;
        case '\'':
            put(p, "&#39;");
            break;
        default:
            put(p, "%c", *s);
        }
    }
}

static double ms(uint32_t us)
{
    return (double)us / 1000;
}

/*----- the picture: a line a phase, along one axis of time -----*/

#define WIDTH  760
#define TIME_X 235 /* its end: beside the name, so that a narrow screen has both */
#define AXIS_X 260
#define AXIS_W 470
#define ROW_H  36
#define BAR_H  14 /* what is shorter than that is a dot */
#define TOP    34
#define TICKS  4

struct picture {
    struct page *page;
    double scale; /* pixels a microsecond */
    int y;
};

/* The shortest round time a tick with which all of it fits. */
static uint32_t tick_us(uint32_t end_us)
{
    static const uint32_t steps[] = {10, 15, 20, 25, 30, 40, 50, 60, 80};

    for (uint32_t base = 1; base < 10000000; base *= 10)
        for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
            if (base * steps[i] * TICKS >= end_us)
                return base * steps[i];
    return end_us / TICKS + 1;
}

static void begin_picture(struct picture *pic, int rows, uint32_t end_us, const char *title)
{
    uint32_t tick = tick_us(end_us);
    int height = TOP + rows * ROW_H + 4;

    pic->scale = (double)AXIS_W / (tick * TICKS);
    pic->y = TOP;
    put(pic->page,
        "<div class=\"scroll\"><svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">", WIDTH,
        height, title);
    for (int i = 0; i <= TICKS; i++) {
        int x = AXIS_X + i * AXIS_W / TICKS;

        put(pic->page,
            "<line class=\"grid\" x1=\"%d\" y1=\"22\" x2=\"%d\" y2=\"%d\"/>"
            "<text class=\"tick\" x=\"%d\" y=\"14\">%g%s</text>",
            x, x, height, x, ms(tick * (uint32_t)i), i == TICKS ? " ms" : "");
    }
}

/* A phase from one moment to another; a moment alone is a dot. */
static void put_phase(struct picture *pic, const char *kind, const char *name, uint32_t from,
                      uint32_t to)
{
    double x = AXIS_X + from * pic->scale, w = to > from ? (to - from) * pic->scale : 0;
    int y = pic->y;

    put(pic->page, "<text class=\"name\" x=\"0\" y=\"%d\">%s</text>", y + 22, name);
    if (w < BAR_H)
        put(pic->page, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%d\" r=\"%d\"/>", kind, x + w, y + 17,
            BAR_H / 2);
    else
        put(pic->page,
            "<rect class=\"%s\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"%d\"/>", kind,
            x, y + 10, w, BAR_H, BAR_H / 2);
    put(pic->page, "<text class=\"time\" x=\"%d\" y=\"%d\">%.2f ms</text>", TIME_X, y + 22, ms(to));
    pic->y += ROW_H;
}

static void put_picture(struct page *p, const struct rk_connection *c)
{
    const struct rk_times *t = &c->times;
    uint32_t both = t->handshake_us > t->boot_done_us ? t->handshake_us : t->boot_done_us;
    struct picture pic = {.page = p};
    int rows = 4 + (t->route_us != 0) + (c->woken ? 2 : 0);

    begin_picture(&pic, rows, t->first_byte_us,
                  c->woken ? "Timeline of this wake" : "Timeline of this connection");
    put_phase(&pic, "front", "hello received", 0, 0);
    if (t->route_us)
        put_phase(&pic, "front", "route", 0, t->route_us);
    if (c->woken) {
        put_phase(&pic, "boot", "boot asked", t->boot_asked_us, t->boot_asked_us);
        put_phase(&pic, "boot", "boot done", t->boot_asked_us, t->boot_done_us);
    }
    put_phase(&pic, "front", "handshake done", 0, t->handshake_us);
    put_phase(&pic, "front", "handover", c->woken ? both : t->handshake_us, t->handover_us);
    put_phase(&pic, "app", "first byte", t->handover_us, t->first_byte_us);
    put(p, "</svg></div>");
}

/*----- the page around it -----*/

static const char style[] =
    "<style>"
    ":root{--bg:#f6f7f9;--card:#fff;--ink:#17202b;--soft:#5b6776;--line:#e3e7ec;--front:#8795a8;"
    "color-scheme:light dark}"
    "@media(prefers-color-scheme:dark){:root{--bg:#10151c;--card:#18202a;--ink:#e8edf3;"
    "--soft:#9aa7b6;--line:#2a3542;--front:#728197}}"
    "*{box-sizing:border-box}"
    "body{margin:0;background:var(--bg);color:var(--ink);"
    "font:16px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}"
    "main{max-width:52rem;margin:8vh auto 4rem;padding:0 1.25rem}"
    ".card{background:var(--card);border:1px solid var(--line);border-top:6px solid var(--accent);"
    "border-radius:14px;padding:2.2rem 2.2rem 1.6rem}"
    "@media(max-width:36rem){.card{padding:1.6rem 1.2rem 1.2rem}}"
    "h1{font-size:2.1rem;line-height:1.2;margin:.1rem 0 .4rem;overflow-wrap:anywhere}"
    ".tag{color:var(--accent);font-weight:600;margin:0}"
    "p{margin:.4rem 0}.soft{color:var(--soft)}"
    ".scroll{overflow-x:auto;margin:1.6rem 0 1.2rem}"
    "svg{display:block;width:100%;min-width:34rem;height:auto}"
    ".grid{stroke:var(--line)}"
    ".tick{font-size:13px;fill:var(--soft);text-anchor:middle}"
    ".name{font-size:15px;fill:var(--ink)}"
    ".time{font-size:15px;fill:var(--soft);text-anchor:end;font-variant-numeric:tabular-nums}"
    ".front{fill:var(--front)}.boot{fill:var(--accent)}.app{fill:var(--ink)}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1.2rem;margin:1.2rem 0 0;"
    "padding-top:1.1rem;border-top:1px solid var(--line);font-size:.92rem}"
    "dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}"
    "</style>";

static void put_story(struct page *p, const struct rk_connection *c)
{
    const struct rk_times *t = &c->times;

    put(p, "<p>");
    if (!c->woken) {
        put(p, "It was awake already: your first byte was on its way %.2f ms after your hello.",
            ms(t->first_byte_us));
    } else if (t->boot_done_us <= t->handshake_us) {
        put(p,
            "It was asleep, and your hello woke it. It booted in %.2f ms, while the handshake was "
            "still running: ready %.2f ms before it was needed.",
            ms(t->boot_done_us - t->boot_asked_us), ms(t->handshake_us - t->boot_done_us));
    } else {
        put(p,
            "It was asleep, and your hello woke it. It booted in %.2f ms while the handshake was "
            "running, which ended first: you waited %.2f ms for it.",
            ms(t->boot_done_us - t->boot_asked_us), ms(t->boot_done_us - t->handshake_us));
    }
    put(p, "</p>");
}

static void put_fact(struct page *p, const char *name, const char *value)
{
    put(p, "<dt>%s</dt><dd>", name);
    put_escaped(p, value);
    put(p, "</dd>");
}

static void put_page(struct page *p, const struct rk_connection *c)
{
    char text[128];

    put(p, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
           "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>");
    put_escaped(p, rk_tenant());
    put(p,
        " · Roomkey</title>%s<style>:root{--accent:%s}@media(prefers-color-scheme:dark)"
        "{:root{--accent:%s}}</style></head><body><main>"
        "<div class=\"card\"><p class=\"tag\">%s</p><h1>",
        style, IS_VERSION('2') ? "#7c4ddb" : "#0b8a7a", IS_VERSION('2') ? "#a78bfa" : "#2dbfae",
        IS_VERSION('2') ? "Now in version 2: welcome back to" : "Welcome to");
    put_escaped(p, rk_tenant());
    put(p, "</h1>");
    put_story(p, c);
    put_picture(p, c);
    put(p, "<p class=\"soft\">The front finished the TLS handshake and handed "
           "over only the keys of this one connection. What you read was encrypted by this "
           "tenant's own instance.</p><dl>");
    snprintf(text, sizeof text, "%s %s, generation %llu", rk_name(), rk_version(),
             (unsigned long long)rk_generation());
    put_fact(p, "Image", text);
    put_fact(p, "Host", c->sni);
    snprintf(text, sizeof text, "%s, %s%s", c->tls_version, c->suite,
             c->resumed ? ", resumed" : "");
    put_fact(p, "Connection", text);
    put_fact(p, "You", c->client_addr);
    put(p, "</dl></div></main></body></html>\n");
}

static void serve_page(struct rk_request *req)
{
    struct page *p = malloc(sizeof *p); /* not on the stack: a fiber's is small */
    struct rk_connection c;

    if (!p) {
        rk_replyf(req, 503, "text/plain", "no memory for a page now: try again\n");
        return;
    }
    p->len = 0;
    rk_connection(req, &c);
    put_page(p, &c);
    if (rk_begin(req, 200, "text/html; charset=utf-8", (int64_t)p->len) == 0) {
        rk_set(req, "Cache-Control", "no-store");
        rk_set(req, "Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'");
        rk_set(req, "X-Content-Type-Options", "nosniff");
        rk_write(req, p->text, p->len);
    }
    free(p);
}

static void serve(struct rk_request *req)
{
    const char *method = rk_method(req);

    if (strcmp(rk_path(req), "/") != 0) {
        rk_replyf(req, 404, "text/plain", "not found: there is only the page at /\n");
    } else if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        if (rk_begin(req, 405, "text/plain", 0) == 0)
            rk_set(req, "Allow", "GET, HEAD");
    } else {
        serve_page(req);
    }
}

static int start(void)
{
    if (!IS_VERSION('3'))
        return 0;
    rk_log(RK_ERROR,
           "%s %s is broken on purpose: it shows that a version which does not start is "
           "rolled back",
           rk_name(), rk_version());
    return 1;
}

ROOMKEY_APP(ROOMKEY_IMAGE_NAME, ROOMKEY_IMAGE_VERSION, .on_start = start, .on_request = serve);
