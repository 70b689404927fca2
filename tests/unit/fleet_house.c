#include "fleet_house.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/core/ring.h"

/* Stands in for the image store: the "file" of an image is its name. */
static struct {
    char sha256[REGISTRY_HASH_SIZE], ref[REGISTRY_REF_SIZE];
    enum rc rc;    /* what a look at it says */
    uint64_t room; /* and this */
} files[16];
static unsigned files_nr;
static void (*looked)(void *arg);
static void *looked_arg;

enum rc image_store_fd(struct image_store *s, const char *sha256, uint64_t size, int *fd)
{
    (void)s, (void)size;
    for (unsigned n = 0; n < files_nr; n++) {
        if (strcmp(files[n].sha256, sha256) != 0)
            continue;
        if (files[n].rc)
            return files[n].rc;
        *fd = memfd_create("image", MFD_CLOEXEC);
        CHECK(*fd >= 0);
        CHECK(write(*fd, files[n].ref, strlen(files[n].ref)) > 0);
        return RC_OK;
    }
    return RC_NOT_FOUND;
}

uint64_t image_store_room(struct image_store *s, const char *sha256)
{
    (void)s;
    for (unsigned n = 0; n < files_nr; n++)
        if (strcmp(files[n].sha256, sha256) == 0)
            return files[n].room;
    return 0;
}

void image_store_watch(struct image_store *s, void (*cb)(void *arg), void *arg)
{
    (void)s;
    looked = cb;
    looked_arg = arg;
}

enum rc cert_store_chain(struct cert_store *s, const char *fingerprint, int *fd)
{
    (void)s;
    (void)fingerprint;
    *fd = memfd_create("chain", MFD_CLOEXEC);
    return RC_OK;
}

static void must(struct house *h, enum rc rc)
{
    if (rc)
        fail_msg("%s: %s", rc_text(rc), registry_error(h->registry));
}

/*----- the workers' end -----*/

static void told(void *arg, unsigned worker, const struct control_msg *m, const int *fds,
                 size_t nfds)
{
    struct house *h = arg;
    uint8_t buf[CONTROL_SIZE_MAX];
    size_t len;

    assert_int_equal(control_encode(m, buf, sizeof buf, &len), RC_OK);
    assert_int_equal(nfds, control_fds(m));
    if (h->hear) {
        h->hear(h->hear_arg, worker, m, fds);
        return;
    }
    if (m->type == CONTROL_RELEASE && m->release.id.generation == 0) {
        assert_true(h->fences_nr < sizeof h->fences / sizeof *h->fences);
        h->fences[h->fences_nr++] = (struct house_fence){worker, m->release.id};
        return;
    }
    assert_true(h->told_nr < HOUSE_MESSAGES);
    h->told[h->told_nr++] = (struct house_message){.worker = worker, .m = *m};
    if (m->type == CONTROL_READY) {
        /* Opens it, as the worker will. */
        struct stat st;
        struct ring ring;
        void *memory;

        assert_int_equal(fstat(fds[0], &st), 0);
        memory = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
        assert_ptr_not_equal(memory, MAP_FAILED);
        assert_int_equal(ring_attach(&ring, memory, (size_t)st.st_size, RING_CLIENT), RC_OK);
        munmap(memory, (size_t)st.st_size);
    }
}

const struct control_msg *house_told(struct house *h, unsigned worker, enum control_type type)
{
    house_settle(h);
    for (unsigned n = 0; n < h->told_nr; n++) {
        struct house_message *t = &h->told[n];

        if (t->seen || t->worker != worker || t->m.type != type)
            continue;
        t->seen = true;
        return &t->m;
    }
    return NULL;
}

void house_say(struct house *h, unsigned worker, const struct control_msg *m)
{
    must(h, fleet_worker_message(h->fleet, worker, m));
    house_settle(h);
}

void house_worker(struct house *h, unsigned worker)
{
    struct control_msg m = {.type = CONTROL_SYNCED};

    fleet_worker_hello(h->fleet, worker);
    house_say(h, worker, &m);
}

uint64_t house_wake(struct house *h, unsigned worker, const char *host)
{
    struct control_msg m = {.type = CONTROL_WAKE};

    m.wake.request = ++h->requests;
    snprintf(m.wake.hostname, sizeof m.wake.hostname, "%s", host);
    house_say(h, worker, &m);
    return h->requests;
}

void house_activity(struct house *h, unsigned worker, const struct control_instance *id,
                    uint32_t connections, uint64_t bytes)
{
    struct control_msg m = {.type = CONTROL_ACTIVITY};

    m.activity.id = *id;
    m.activity.connections = connections;
    m.activity.bytes = bytes;
    house_say(h, worker, &m);
}

void house_instance(struct house *h, unsigned worker, enum control_type type,
                    const struct control_instance *id)
{
    struct control_msg m = {.type = type};

    if (type == CONTROL_HOLDING) {
        m.holding.id = *id;
        m.holding.channel = (uint16_t)worker;
        m.holding.connections = 1;
    } else {
        m.instance = *id;
    }
    house_say(h, worker, &m);
}

struct control_instance house_ready(struct house *h, unsigned worker, uint64_t request)
{
    const struct control_msg *m = house_told(h, worker, CONTROL_READY);

    if (!m) {
        m = house_told(h, worker, CONTROL_REFUSED);
        fail_msg("no READY; %s", m ? m->refused.text : "no word at all");
    }
    assert_int_equal(m->ready.request, request);
    assert_int_equal(m->ready.channel, worker);
    return m->ready.id;
}

struct control_instance house_awake(struct house *h, unsigned worker, const char *host)
{
    uint64_t request = house_wake(h, worker, host);

    for (unsigned ms = 0; ms < 9000; ms++) {
        house_settle(h);
        for (unsigned n = 0; n < h->told_nr; n++)
            if (!h->told[n].seen && h->told[n].worker == worker &&
                h->told[n].m.type == CONTROL_READY)
                return house_ready(h, worker, request);
        house_pass(h, 1);
    }
    return house_ready(h, worker, request);
}

void house_release_all(struct house *h)
{
    const struct control_msg *m;

    for (unsigned w = 0; w < HOUSE_WORKERS; w++)
        while ((m = house_told(h, w, CONTROL_RELEASE))) {
            struct control_instance id = m->release.id;

            house_instance(h, w, CONTROL_RELEASED, &id);
        }
}

/*----- time -----*/

static bool answer_fences(struct house *h)
{
    struct control_msg m = {.type = CONTROL_RELEASED};

    if (h->fences_nr == 0 || h->hold_fences)
        return false;
    h->fences_nr--;
    m.instance = h->fences[h->fences_nr].id;
    must(h, fleet_worker_message(h->fleet, h->fences[h->fences_nr].worker, &m));
    return true;
}

void house_settle(struct house *h)
{
    struct alarms *alarms = fleet_alarms(h->fleet);
    bool moved;

    do {
        moved = answer_fences(h);
        for (int n = 0; n < 3; n++) {
            uint64_t now = alarms_us(alarms);

            uv_run(&h->loop, UV_RUN_NOWAIT);
            moved = fake_backend_turn(h->backend) || moved;
            if (alarms_next_us(alarms) <= now) {
                alarms_advance_to(alarms, now);
                moved = true;
            }
        }
    } while (moved);
}

void house_pass(struct house *h, uint64_t ms)
{
    struct alarms *alarms = fleet_alarms(h->fleet);
    uint64_t end = alarms_us(alarms) + ms * 1000;

    house_settle(h);
    while (alarms_next_us(alarms) <= end) {
        alarms_advance_to(alarms, alarms_next_us(alarms));
        house_settle(h);
    }
    alarms_advance_to(alarms, end);
    house_settle(h);
}

/*----- the house -----*/

static void on_event(struct fleet_watch *w)
{
    struct house *h = w->data;

    h->events_changed = true;
}

static struct fleet_watch watch = {.on_event = on_event};

static void open_fleet(struct house *h)
{
    struct fleet_config config = {
        .loop = &h->loop,
        .virtual_time = true,
        .registry = h->registry,
        .certs = (struct cert_store *)(uintptr_t)1, /* see cert_store_chain() above */
        .ops = &fake_backend,
        .backend = h->backend,
        .front = {.send = told, .arg = h},
        .limits = h->limits,
        .state_dir = h->scratch.dir,
    };

    must(h, fleet_open(&config, &h->fleet));
    if (h->now_us > alarms_us(fleet_alarms(h->fleet)))
        alarms_advance_to(fleet_alarms(h->fleet), h->now_us);
    fake_backend_time(h->backend, fleet_alarms(h->fleet));
    watch.data = h;
    fleet_watch(h->fleet, &watch);
    fleet_adopt(h->fleet);
    house_settle(h);
}

int house_set_up(void **state)
{
    struct house *h = calloc(1, sizeof *h);
    struct refusal no;
    char logs[128];

    scratch_make(&h->scratch);
    snprintf(logs, sizeof logs, "%s/logs", h->scratch.dir);
    assert_int_equal(mkdir(logs, 0700), 0);
    assert_int_equal(uv_loop_init(&h->loop), 0);
    assert_int_equal(registry_open(h->scratch.dir, &h->registry, &no), RC_OK);
    h->backend = fake_backend_new();
    fleet_limits_init(&h->limits);
    h->limits.channels = HOUSE_WORKERS;
    files_nr = 0;
    open_fleet(h);
    for (unsigned w = 0; w < HOUSE_WORKERS; w++)
        house_worker(h, w);
    *state = h;
    return 0;
}

void house_crash(struct house *h)
{
    h->now_us = alarms_us(fleet_alarms(h->fleet));
    fake_backend_forget_time(h->backend);
    fleet_close(h->fleet);
    h->fleet = NULL;
    uv_run(&h->loop, UV_RUN_DEFAULT);
    h->told_nr = h->fences_nr = 0;
}

void house_restart(struct house *h)
{
    open_fleet(h);
}

int house_set_up_acme(void **state)
{
    house_set_up(state);
    house_image(*state, "web:1", FAKE_READY, 20);
    house_tenant(*state, "acme", "web:1");
    return 0;
}

int house_tear_down(void **state)
{
    struct house *h = *state;

    if (h->fleet)
        house_crash(h);
    fake_backend_free(h->backend);
    registry_close(h->registry);
    /* Every handle was closed. */
    assert_int_equal(uv_loop_close(&h->loop), 0);
    scratch_remove(&h->scratch);
    free(h);
    return 0;
}

/*----- the registry -----*/

static void hash(char out[REGISTRY_HASH_SIZE], const char *text)
{
    unsigned long long v = 1469598103934665603u;

    for (; *text; text++)
        v = (v ^ (unsigned char)*text) * 1099511628211u;
    snprintf(out, REGISTRY_HASH_SIZE, "%016llx%016llx%016llx%016llx", v, ~v, v * 3, v * 5);
}

void house_image(struct house *h, const char *ref, enum fake_start start, uint32_t boot_ms)
{
    struct registry_image image = {.abi = 1, .memory_kib = 2048, .size = 1000};
    struct refusal no;
    uint64_t id;

    fake_behave(h->backend, ref, start, boot_ms);
    snprintf(image.name, sizeof image.name, "%s", ref);
    *strchr(image.name, ':') = '\0';
    snprintf(image.version, sizeof image.version, "%s", strchr(ref, ':') + 1);
    strcpy(image.alpn, "http/1.1");
    hash(image.sha256, ref);
    must(h, registry_image_add(h->registry, &image, 1, &id, &no));
    assert_true(files_nr < 16);
    strcpy(files[files_nr].sha256, image.sha256);
    files[files_nr].rc = RC_OK;
    files[files_nr].room = 0;
    snprintf(files[files_nr++].ref, sizeof files[0].ref, "%s", ref);
}

void house_lose_file(struct house *h, const char *ref)
{
    (void)h;
    for (unsigned n = 0; n < files_nr; n++)
        if (strcmp(files[n].ref, ref) == 0)
            files[n].sha256[0] = '\0';
}

void house_fills(struct house *h, const char *ref, uint64_t room)
{
    (void)h;
    for (unsigned n = 0; n < files_nr; n++)
        if (strcmp(files[n].ref, ref) == 0)
            files[n].room = room;
}

void house_look(struct house *h, const char *ref, enum rc rc)
{
    for (unsigned n = 0; n < files_nr; n++)
        if (strcmp(files[n].ref, ref) == 0)
            files[n].rc = rc;
    if (rc != RC_AGAIN)
        looked(looked_arg);
    house_settle(h);
}

uint64_t house_tenant(struct house *h, const char *name, const char *ref)
{
    struct registry_certificate cert = {.not_before = 1, .not_after = 2};
    struct registry_wish wish = {.image = ref, .hosts_nr = 1, .cert = &cert};
    struct registry_tenant row;
    struct refusal no;
    char host[80];
    const char *hosts = host;

    snprintf(host, sizeof host, "%s.example", name);
    snprintf(cert.names, sizeof cert.names, "%s", host);
    strcpy(cert.key_type, "EC P-256");
    strcpy(cert.subject, "CN=test");
    hash(cert.fingerprint, name);
    hash(cert.key_id, host);
    wish.hosts = &hosts;
    must(h, registry_tenant_add(h->registry, name, &wish, 1, &row, &no));
    return row.id;
}

struct registry_tenant house_row(struct house *h, const char *name)
{
    struct registry_tenant row;
    struct refusal no;

    must(h, registry_tenant_by_name(h->registry, name, &row, &no));
    return row;
}

static bool count_instance(void *arg, const struct registry_instance *i)
{
    (void)i;
    ++*(unsigned *)arg;
    return true;
}

unsigned house_rows_alive(struct house *h)
{
    unsigned n = 0;

    must(h, registry_instances_alive(h->registry, count_instance, &n));
    return n;
}

struct sought {
    const char *kind, *words;
    bool found;
};

static bool look(void *arg, const struct registry_event *e)
{
    struct sought *s = arg;

    s->found = s->found || (strcmp(e->kind, s->kind) == 0 && strstr(e->text, s->words));
    return true;
}

bool house_event(struct house *h, const char *kind, const char *words)
{
    struct sought s = {kind, words, false};

    must(h, registry_events(h->registry, NULL, 0, 10000, look, &s));
    return s.found;
}

/*----- the admin's end -----*/

static void on_upgraded(void *arg, enum fleet_upgraded how, const char *text)
{
    struct house *h = arg;

    h->upgrades++;
    h->upgraded = how;
    snprintf(h->upgrade_text, sizeof h->upgrade_text, "%s", text);
}

void house_upgrade(struct house *h, const char *tenant, const char *ref, uint64_t max_wait_ms)
{
    struct refusal no;
    unsigned before = h->upgrades;

    must(h, fleet_upgrade(h->fleet, tenant, ref, max_wait_ms, on_upgraded, h, &no));
    /* Never from inside, but that of an upgrade whose place it takes. */
    assert_true(h->upgrades == before || h->upgraded == FLEET_UPGRADE_CANCELED);
    house_settle(h);
}

void house_on_gone(void *arg, enum rc rc)
{
    struct house *h = arg;

    h->gone++;
    h->gone_rc = rc;
}
