#include "registry_house.h"

#include <sys/stat.h>

void house_must(struct house *h, enum rc rc)
{
    char line[2048];

    if (rc)
        fail_msg("%s: %s (%s)", rc_text(rc), refusal_line(&h->no, line, sizeof line),
                 h->r ? registry_error(h->r) : "");
}

void house_must_say(const struct house *h, const char *words)
{
    char line[2048];

    refusal_line(&h->no, line, sizeof line);
    if (!strstr(line, words))
        fail_msg("\"%s\" is not in: %s", words, line);
    assert_string_not_equal(h->no.what, "");
    assert_string_not_equal(h->no.why, "");
    assert_string_not_equal(h->no.todo, "");
}

int house_set_up(void **state)
{
    struct house *h = calloc(1, sizeof *h);

    scratch_make(&h->scratch);
    house_must(h, registry_open(h->scratch.dir, &h->r, &h->no));
    *state = h;
    return 0;
}

int house_tear_down(void **state)
{
    struct house *h = *state;

    registry_close(h->r);
    scratch_remove(&h->scratch);
    free(h);
    return 0;
}

void house_reopen(struct house *h)
{
    registry_close(h->r);
    h->r = NULL;
    house_must(h, registry_open(h->scratch.dir, &h->r, &h->no));
}

void house_hash(char out[REGISTRY_HASH_SIZE], const char *text)
{
    unsigned long long v = 1469598103934665603u;

    for (; *text; text++)
        v = (v ^ (unsigned char)*text) * 1099511628211u;
    snprintf(out, REGISTRY_HASH_SIZE, "%016llx%016llx%016llx%016llx", v, ~v, v * 3, v * 5);
}

uint64_t house_add_image(struct house *h, const char *name, const char *version)
{
    struct registry_image image = {.abi = 1, .memory_kib = 2048, .size = 1000};
    uint64_t id;

    snprintf(image.name, sizeof image.name, "%s", name);
    snprintf(image.version, sizeof image.version, "%s", version);
    strcpy(image.alpn, "http/1.1");
    char text[REGISTRY_REF_SIZE];
    snprintf(text, sizeof text, "%s:%s", name, version);
    house_hash(image.sha256, text);
    house_must(h, registry_image_add(h->r, &image, NOW, &id, &h->no));
    return id;
}

struct registry_certificate house_cert(const char *names, const char *key_type, const char *seed)
{
    struct registry_certificate c = {.not_before = NOW, .not_after = NOW + 1};

    snprintf(c.names, sizeof c.names, "%s", names);
    snprintf(c.key_type, sizeof c.key_type, "%s", key_type);
    strcpy(c.subject, "CN=test");
    house_hash(c.fingerprint, seed);
    house_hash(c.key_id, key_type);
    return c;
}

enum rc house_try_tenant(struct house *h, const char *name, const char *image, const char *host,
                         struct registry_tenant *out)
{
    struct registry_certificate c = house_cert(host, "EC P-256", name);
    struct registry_wish wish = {.image = image, .hosts = &host, .hosts_nr = 1, .cert = &c};

    return registry_tenant_add(h->r, name, &wish, NOW, out, &h->no);
}

struct registry_tenant house_add_tenant(struct house *h, const char *name, const char *image,
                                        const char *host)
{
    struct registry_tenant t;

    house_must(h, house_try_tenant(h, name, image, host, &t));
    return t;
}

struct registry_tenant house_tenant(struct house *h, uint64_t id)
{
    struct registry_tenant t;

    house_must(h, registry_tenant(h->r, id, &t));
    return t;
}

static bool last_event_cb(void *arg, const struct registry_event *e)
{
    *(struct registry_event *)arg = *e;
    return true;
}

struct registry_event house_last_event(struct house *h, const char *of)
{
    struct registry_event e = {.id = 0};

    house_must(h, registry_events(h->r, of, 0, 100000, last_event_cb, &e));
    return e;
}
