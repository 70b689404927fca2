#include "orchestrator/config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <toml.h>

#include "common/host/units.h"

#define MANUAL "see docs/CONFIG.md"

void config_init(struct config *c)
{
    *c = (struct config){.log_level = LOG_INFO};
    strcpy(c->state, "/var/lib/roomkey");
    strcpy(c->run, "/run/roomkey");
    strcpy(c->ground, "auto");
    fleet_limits_init(&c->limits);
    xen_settings_init(&c->xen);
}

static enum rc wrong(struct refusal *no, const char *table, const char *key, const char *want)
{
    refusal_what(no, RC_INVAL, "the configuration's [%s] %s cannot be used", table, key);
    refusal_why(no, "it must be %s", want);
    return refusal_todo(no, MANUAL);
}

/* One bounded number or duration of a table of settings. */
struct setting {
    const char *name;
    uint32_t *value;
    uint32_t least, most;
};

#define BOUND(name, standard, least, most)    {#name, &limits->name, (least), (most)},
#define DEADLINE(name, standard, least, most) {#name, &limits->name##_ms, (least), (most)},

static const struct setting *find(const struct setting *all, size_t nr, const char *key)
{
    for (size_t n = 0; n < nr; n++)
        if (strcmp(all[n].name, key) == 0)
            return &all[n];
    return NULL;
}

static enum rc unknown(struct refusal *no, const char *table, const char *key)
{
    return wrong(no, table, key, "left out: there is no such setting");
}

static enum rc take_number(const toml_table_t *t, const char *table, const struct setting *s,
                           struct refusal *no)
{
    toml_datum_t v = toml_int_in(t, s->name);
    char want[96];

    if (v.ok && v.u.i >= (int64_t)s->least && v.u.i <= (int64_t)s->most) {
        *s->value = (uint32_t)v.u.i;
        return RC_OK;
    }
    snprintf(want, sizeof want, "a number from %" PRIu32 " to %" PRIu32, s->least, s->most);
    return wrong(no, table, s->name, want);
}

static enum rc take_duration(const toml_table_t *t, const char *table, const struct setting *s,
                             struct refusal *no)
{
    toml_datum_t v = toml_string_in(t, s->name);
    int64_t ms = 0;
    bool ok = v.ok && units_parse(v.u.s, units_duration, UINT32_MAX, &ms);
    char want[96];

    if (v.ok)
        free(v.u.s);
    if (ok && ms >= (int64_t)s->least && ms <= (int64_t)s->most) {
        *s->value = (uint32_t)ms;
        return RC_OK;
    }
    snprintf(want, sizeof want,
             "a duration from \"%" PRIu32 "ms\" to \"%" PRIu32 "s\", such as "
             "\"10s\"",
             s->least, s->most / 1000u);
    return wrong(no, table, s->name, want);
}

static enum rc set_bound(const toml_table_t *t, const char *key, struct config *c,
                         struct refusal *no)
{
    struct fleet_limits *limits = &c->limits;
    const struct setting all[] = {FLEET_BOUNDS(BOUND)}, *s;

    s = find(all, sizeof all / sizeof *all, key);
    return s ? take_number(t, "limits", s, no) : unknown(no, "limits", key);
}

static enum rc set_deadline(const toml_table_t *t, const char *key, struct config *c,
                            struct refusal *no)
{
    struct fleet_limits *limits = &c->limits;
    const struct setting all[] = {FLEET_DEADLINES(DEADLINE)}, *s;

    s = find(all, sizeof all / sizeof *all, key);
    return s ? take_duration(t, "deadlines", s, no) : unknown(no, "deadlines", key);
}

static enum rc set_xen(const toml_table_t *t, const char *key, struct config *c, struct refusal *no)
{
    struct xen_settings *limits = &c->xen;
    const struct setting numbers[] = {XEN_BOUNDS(BOUND)};
    const struct setting durations[] = {XEN_DEADLINES(DEADLINE)}, *s;

    s = find(numbers, sizeof numbers / sizeof *numbers, key);
    if (s)
        return take_number(t, "xen", s, no);
    s = find(durations, sizeof durations / sizeof *durations, key);
    return s ? take_duration(t, "xen", s, no) : unknown(no, "xen", key);
}

static enum rc take_text(const toml_table_t *t, const char *key, char *out, size_t size,
                         struct refusal *no)
{
    toml_datum_t v = toml_string_in(t, key);
    enum rc rc = RC_OK;

    if (!v.ok || v.u.s[0] == '\0' || strlen(v.u.s) >= size)
        rc = wrong(no, "daemon", key, "a text, and not too long a one");
    else
        strcpy(out, v.u.s);
    if (v.ok)
        free(v.u.s);
    return rc;
}

static enum rc set_daemon(const toml_table_t *t, const char *key, struct config *c,
                          struct refusal *no)
{
    static const struct {
        const char *word;
        enum log_level level;
    } levels[] = {
        {"error", LOG_ERROR}, {"warning", LOG_WARNING}, {"info", LOG_INFO}, {"debug", LOG_DEBUG}};
    char word[16];
    toml_datum_t v;

    if (strcmp(key, "state") == 0)
        return take_text(t, key, c->state, sizeof c->state, no);
    if (strcmp(key, "run") == 0)
        return take_text(t, key, c->run, sizeof c->run, no);
    if (strcmp(key, "ground") == 0)
        return take_text(t, key, c->ground, sizeof c->ground, no);
    if (strcmp(key, "leave_instances") == 0) {
        v = toml_bool_in(t, key);
        if (!v.ok)
            return wrong(no, "daemon", key, "true or false");
        c->leave_instances = v.u.b != 0;
        return RC_OK;
    }
    if (strcmp(key, "log_level") == 0) {
        enum rc rc = take_text(t, key, word, sizeof word, no);

        for (size_t n = 0; rc == RC_OK && n < sizeof levels / sizeof *levels; n++)
            if (strcmp(word, levels[n].word) == 0) {
                c->log_level = levels[n].level;
                return RC_OK;
            }
        return wrong(no, "daemon", key, "\"error\", \"warning\", \"info\" or \"debug\"");
    }
    return unknown(no, "daemon", key);
}

static enum rc read_tables(const toml_table_t *root, struct config *c, struct refusal *no)
{
    static const struct {
        const char *name;
        enum rc (*set)(const toml_table_t *t, const char *key, struct config *c,
                       struct refusal *no);
    } tables[] = {{"daemon", set_daemon},
                  {"limits", set_bound},
                  {"deadlines", set_deadline},
                  {"xen", set_xen}};
    const char *name;

    for (int n = 0; (name = toml_key_in(root, n)); n++) {
        const toml_table_t *t = toml_table_in(root, name);
        size_t k = 0;
        const char *key;

        while (k < sizeof tables / sizeof *tables && strcmp(name, tables[k].name) != 0)
            k++;
        if (!t || k == sizeof tables / sizeof *tables) {
            refusal_what(no, RC_INVAL, "the configuration's %s cannot be used", name);
            refusal_why(no, "there are the tables [daemon], [limits], [deadlines] and [xen] only");
            return refusal_todo(no, MANUAL);
        }
        for (int m = 0; (key = toml_key_in(t, m)); m++) {
            enum rc rc = tables[k].set(t, key, c, no);

            if (rc)
                return rc;
        }
    }
    return RC_OK;
}

/* What no single setting shows. */
static enum rc check(const struct config *c, struct refusal *no)
{
    if (strcmp(c->ground, "auto") != 0 && strcmp(c->ground, "sandbox") != 0 &&
        strcmp(c->ground, "xen") != 0)
        return wrong(no, "daemon", "ground", "\"auto\", \"sandbox\" or \"xen\"");
    if (c->limits.pause_max_ms < c->limits.pause_ms)
        return wrong(no, "deadlines", "pause_max", "at least as long as pause");
    return RC_OK;
}

enum rc config_parse(struct config *c, char *text, struct refusal *no)
{
    struct config copy = *c;
    char error[200] = "";
    toml_table_t *root = toml_parse(text, error, sizeof error);
    enum rc rc;

    if (!root) {
        refusal_what(no, RC_INVAL, "the configuration is not TOML");
        refusal_why(no, "%s", error);
        return refusal_todo(no, MANUAL);
    }
    rc = read_tables(root, &copy, no);
    toml_free(root);
    if (rc == RC_OK)
        rc = check(&copy, no);
    if (rc == RC_OK)
        *c = copy;
    return rc;
}

enum rc config_load(struct config *c, const char *path, struct refusal *no)
{
    FILE *file = fopen(path, "re");
    char *text = malloc(CONFIG_SIZE_MAX + 1);
    size_t n = 0;
    enum rc rc;

    if (file && text)
        n = fread(text, 1, CONFIG_SIZE_MAX + 1, file);
    if (!file || !text || ferror(file) || n > CONFIG_SIZE_MAX || (n && memchr(text, 0, n))) {
        refusal_what(no, RC_INVAL, "the configuration %s cannot be read", path);
        refusal_why(no, "%s",
                    !file                 ? strerror(errno)
                    : n > CONFIG_SIZE_MAX ? "it is larger than 64 KiB"
                                          : "it is no text file");
        rc = refusal_todo(no, "give the right file with --config, or none");
    } else {
        text[n] = '\0';
        rc = config_parse(c, text, no);
    }
    if (file)
        fclose(file);
    free(text);
    return rc;
}
