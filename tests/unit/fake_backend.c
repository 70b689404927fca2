#include "fake_backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/core/container_of.h"
#include "common/core/launch.h"
#include "common/core/ring.h"
#include "common/core/wire.h"

struct fake_channel {
    int memory_fd, client_fd;
    void *memory;
    size_t len;
    struct ring ring;
};

struct backend {
    struct alarms *alarms;
    struct backend_instance *all;
    struct fake_image images[8];
    unsigned images_nr;
    bool refuses, fails, lacks_mappings;
    enum fake_control wrong;
    uint32_t ground_ms, hang_ms;
    uint64_t room; /* bytes for instances; 0: any number */
    unsigned starts;
    uint64_t serial;
};

struct backend *fake_backend_new(void)
{
    struct backend *b = calloc(1, sizeof *b);

    CHECK(b);
    b->ground_ms = 1;
    return b;
}

static void destroy(struct backend_instance *i)
{
    alarm_clear(i->backend->alarms, &i->alarm);
    for (unsigned c = 0; c <= i->channels; c++) {
        munmap(i->channel[c].memory, i->channel[c].len);
        close(i->channel[c].memory_fd);
        close(i->channel[c].client_fd);
    }
    close(i->doorbell);
    free(i->channel);
    free(i);
}

static void forget(struct backend_instance *i)
{
    struct backend_instance **at = &i->backend->all;

    while (*at != i)
        at = &(*at)->next;
    *at = i->next;
    destroy(i);
}

void fake_backend_free(struct backend *b)
{
    while (b->all)
        forget(b->all);
    free(b);
}

void fake_backend_time(struct backend *b, struct alarms *alarms)
{
    b->alarms = alarms;
}

void fake_backend_forget_time(struct backend *b)
{
    for (struct backend_instance *i = b->all; i; i = i->next)
        alarm_clear(b->alarms, &i->alarm);
}

static struct fake_image *behaviour(struct backend *b, const char *ref)
{
    for (unsigned n = 0; n < b->images_nr; n++)
        if (strcmp(b->images[n].ref, ref) == 0)
            return &b->images[n];
    return NULL;
}

void fake_behave(struct backend *b, const char *ref, enum fake_start start, uint32_t boot_ms)
{
    struct fake_image *image = behaviour(b, ref);

    if (!image) {
        CHECK(b->images_nr < 8);
        image = &b->images[b->images_nr++];
        snprintf(image->ref, sizeof image->ref, "%s", ref);
    }
    image->start = start;
    image->boot_ms = boot_ms;
}

void fake_refuse(struct backend *b, bool refuses)
{
    b->refuses = refuses;
}

void fake_ground_takes(struct backend *b, uint32_t ms)
{
    b->ground_ms = ms;
}

void fake_ground_hangs_once(struct backend *b, uint32_t ms)
{
    b->hang_ms = ms;
}

void fake_ground_fails(struct backend *b, bool fails)
{
    b->fails = fails;
}

void fake_control(struct backend *b, enum fake_control wrong)
{
    b->wrong = wrong;
}

void fake_lacks_mappings(struct backend *b, bool lacks)
{
    b->lacks_mappings = lacks;
}

static bool lacks_mappings(struct backend_instance *i, int index)
{
    (void)index;
    return i->backend->lacks_mappings;
}

void fake_room(struct backend *b, uint64_t bytes)
{
    b->room = bytes;
}

/*----- one life -----*/

static void die(struct backend_instance *i, bool clean, const char *text)
{
    i->alive = false;
    i->exit =
        (struct backend_exit){.started = i->started, .clean = clean, .lacking = i->exit.lacking};
    snprintf(i->exit.text, sizeof i->exit.text, "%s", text);
    alarm_set(i->backend->alarms, &i->alarm, i->exit_ms);
}

static void say_ready(struct backend_instance *i)
{
    struct mux_ready ready = {.boot_us = 1000};
    char *colon;
    uint8_t buf[256];
    size_t len;

    snprintf(ready.name, sizeof ready.name, "%.63s", i->ref);
    colon = strchr(ready.name, ':');
    CHECK(colon);
    *colon = '\0';
    snprintf(ready.version, sizeof ready.version, "%.40s", strchr(i->ref, ':') + 1);
    if (behaviour(i->backend, i->ref)->start == FAKE_LIES)
        strcat(ready.version, "-not");
    CHECK(mux_ready_encode(&ready, buf, sizeof buf, &len) == RC_OK);
    i->up = true;
    fake_say(i, MUX_READY, buf, (uint32_t)len);
}

/* Each ring of the alarm is the next thing that happens to it by itself. */
static void live(struct alarm *a)
{
    struct backend_instance *i = CONTAINER_OF(a, struct backend_instance, alarm);
    const struct fake_image *image = behaviour(i->backend, i->ref);

    if (!i->alive) {
        CHECK(!i->told);
        i->told = true;
        if (i->owned)
            i->events->on_exit(i->arg, &i->exit); /* it may be freed: last */
        return;
    }
    if (!i->started && i->exit.lacking) {
        die(i, false, "the host has not enough memory");
        return;
    }
    if (!i->running && i->backend->fails) {
        die(i, false, "the helper died in the middle of it");
        return;
    }
    if (!i->running) {
        i->running = true;
        i->events->on_running(i->arg, &(struct backend_steps){0});
        if (image->start == FAKE_SILENT)
            return;
        i->started = true;
        alarm_set(i->backend->alarms, a, image->boot_ms);
        i->events->on_started(i->arg);
        return;
    }
    switch (image->start) {
    case FAKE_READY:
    case FAKE_LIES:
        say_ready(i);
        return;
    case FAKE_FAILS:
        /* Its end may be noticed before its last words are read. */
        fake_say(i, MUX_FAILED, "on_start returned 1", 19);
        i->alive = false;
        i->told = true;
        i->exit = (struct backend_exit){.started = true, .text = "exit status 65"};
        if (i->owned)
            i->events->on_exit(i->arg, &i->exit);
        return;
    case FAKE_CRASHES:
        die(i, false, "killed by SIGSEGV");
        return;
    case FAKE_HANGS:
    case FAKE_SILENT:
    case FAKE_REFUSED:
        return;
    }
}

void fake_crash(struct backend_instance *i)
{
    die(i, false, "killed by SIGSEGV");
}

bool fake_connected(struct backend_instance *i, unsigned worker)
{
    return ring_peer(&i->channel[1 + worker].ring) == RING_CONNECTED;
}

void fake_worker_leaves(struct backend_instance *i, unsigned worker)
{
    struct ring client = {.page = i->channel[1 + worker].memory, .side = RING_CLIENT};

    ring_leave(&client);
}

void fake_vanish(struct backend_instance *i)
{
    CHECK(!i->owned);
    i->alive = false;
}

void fake_say(struct backend_instance *i, uint8_t type, const void *payload, uint32_t len)
{
    CHECK(mux_put(&i->channel[0].ring, type, 0, payload, len) == RC_OK);
    eventfd_write(i->channel[0].client_fd, 1);
}

static void say_health(struct backend_instance *i, uint8_t type, uint64_t token)
{
    struct mux_health health = i->health;
    uint8_t buf[64];
    size_t len;

    health.token = token;
    health.healthy = !i->ill;
    CHECK(mux_health_encode(&health, buf, sizeof buf, &len) == RC_OK);
    fake_say(i, type, buf, (uint32_t)len);
}

void fake_say_busy(struct backend_instance *i)
{
    say_health(i, MUX_BUSY, 0);
}

void fake_say_health(struct backend_instance *i, uint64_t token)
{
    say_health(i, MUX_HEALTH, token);
}

void fake_say_log(struct backend_instance *i, int level, const char *text)
{
    uint8_t buf[MUX_TEXT_MAX + 1];
    size_t len = strlen(text);

    buf[0] = (uint8_t)level;
    memcpy(buf + 1, text, len);
    fake_say(i, MUX_LOG, buf, (uint32_t)len + 1);
}

void fake_break(struct backend_instance *i)
{
    struct ring_page *page = i->channel[0].memory;

    atomic_store(&page->right.prod, 0x7fffffff);
    eventfd_write(i->channel[0].client_fd, 1);
}

static bool read_control(struct backend_instance *i)
{
    struct mux_head head;
    struct ring_span span;
    uint8_t buf[64];
    enum rc rc = mux_next(&i->channel[0].ring, &head, &span);

    if (rc == RC_AGAIN)
        return false;
    CHECK(rc == RC_OK && head.len <= sizeof buf);
    CHECK(ring_span_copy(&span, 0, buf, head.len));
    mux_consume(&i->channel[0].ring, &head);
    if (head.type == MUX_HEALTH && !i->mute) {
        struct wire_in in = wire_in(buf, head.len);

        say_health(i, MUX_HEALTH, wire_u64(&in));
        CHECK(wire_end(&in) == RC_OK);
    }
    if (head.type == MUX_STOP) {
        i->stops++;
        if (!i->stuck)
            die(i, true, "exit status 0");
    }
    return true;
}

static bool clear_channels(struct backend_instance *i)
{
    bool moved = false;

    for (unsigned c = 0; c < i->channels && !i->clogged; c++) {
        struct ring *ring = &i->channel[1 + c].ring;
        uint8_t buf[4];
        struct wire_out out = wire_out(buf, sizeof buf);

        if (ring_peer(ring) != RING_GONE)
            continue;
        ring_reopen(ring);
        wire_put_u32(&out, c);
        fake_say(i, MUX_SLOT, buf, sizeof buf);
        moved = true;
    }
    return moved;
}

bool fake_turn(struct backend_instance *i)
{
    bool moved = false;

    while (i->alive && i->up && read_control(i))
        moved = true;
    if (i->alive && i->up)
        moved = clear_channels(i) || moved;
    return moved;
}

bool fake_backend_turn(struct backend *b)
{
    bool moved = false;

    for (struct backend_instance *i = b->all; i; i = i->next)
        moved = fake_turn(i) || moved;
    return moved;
}

struct backend_instance *fake_all(struct backend *b)
{
    return b->all;
}

struct backend_instance *fake_living(struct backend *b, const char *tenant)
{
    for (struct backend_instance *i = b->all; i; i = i->next)
        if (i->alive && strcmp(i->tenant, tenant) == 0)
            return i;
    return NULL;
}

unsigned fake_count(struct backend *b)
{
    unsigned n = 0;

    for (struct backend_instance *i = b->all; i; i = i->next)
        n += i->alive;
    return n;
}

unsigned fake_starts(struct backend *b)
{
    return b->starts;
}

/*----- backend.h -----*/

static void open_channel(struct fake_channel *ch, unsigned left, unsigned right)
{
    ch->len = ring_bytes(left, right);
    ch->memory_fd = memfd_create("fake", MFD_CLOEXEC);
    CHECK(ch->memory_fd >= 0 && ftruncate(ch->memory_fd, (off_t)ch->len) == 0);
    ch->memory = mmap(NULL, ch->len, PROT_READ | PROT_WRITE, MAP_SHARED, ch->memory_fd, 0);
    CHECK(ch->memory != MAP_FAILED);
    ring_format(ch->memory, left, right);
    CHECK(ring_attach(&ch->ring, ch->memory, ch->len, RING_SERVER) == RC_OK);
    ch->client_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(ch->client_fd >= 0);
}

/* Bytes that one more of that size would lack. */
static uint64_t lacking(const struct backend *b, uint64_t memory)
{
    for (const struct backend_instance *i = b->all; i; i = i->next)
        memory += i->told || i->exit.lacking ? 0 : i->memory;
    return b->room && memory > b->room ? memory - b->room : 0;
}

static enum rc start(struct backend *b, const struct backend_spec *spec,
                     const struct backend_events *events, void *arg, struct backend_instance **out)
{
    struct backend_instance *i;
    char ref[128] = "";
    ssize_t n = pread(spec->image_fd, ref, sizeof ref - 1, 0);

    CHECK(n > 0 && behaviour(b, ref));
    b->starts++;
    if (b->refuses || behaviour(b, ref)->start == FAKE_REFUSED)
        return RC_NOMEM;
    i = calloc(1, sizeof *i);
    CHECK(i);
    *i = (struct backend_instance){
        .next = b->all,
        .backend = b,
        .id = spec->instance,
        .generation = spec->generation,
        .alive = true,
        .owned = true,
        .events = events,
        .arg = arg,
        .channels = spec->channels,
    };
    i->memory = spec->memory;
    i->exit.lacking = lacking(b, spec->memory);
    snprintf(i->tenant, sizeof i->tenant, "%s", spec->tenant);
    memcpy(i->ref, ref, sizeof i->ref);
    i->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    i->channel = calloc(i->channels + 1, sizeof *i->channel);
    CHECK(i->doorbell >= 0 && i->channel);
    for (unsigned c = 0; c <= i->channels; c++)
        open_channel(&i->channel[c], LAUNCH_CONTROL_ORDER, LAUNCH_CONTROL_ORDER);
    b->all = i;
    alarm_init(&i->alarm, live);
    alarm_set(b->alarms, &i->alarm, b->ground_ms + b->hang_ms);
    i->slow = b->hang_ms > 0 || behaviour(b, ref)->boot_ms > 1000;
    b->hang_ms = 0;
    *out = i;
    return RC_OK;
}

static enum rc adopt(struct backend *b, const struct backend_handle *handle, unsigned channels,
                     const struct backend_events *events, void *arg, struct backend_instance **out)
{
    for (struct backend_instance *i = b->all; i; i = i->next) {
        struct backend_handle h;

        fake_backend.handle(i, &h);
        if (!i->alive || strcmp(h.text, handle->text) != 0)
            continue;
        CHECK(!i->owned && i->channels == channels);
        i->owned = true;
        i->events = events;
        i->arg = arg;
        if (!i->up) /* it boots on, whoever looks */
            alarm_set(b->alarms, &i->alarm, behaviour(b, i->ref)->boot_ms);
        *out = i;
        return RC_OK;
    }
    return RC_NOT_FOUND;
}

static void sweep(struct backend *b)
{
    struct backend_instance *i = b->all, *next;

    for (; i; i = next) {
        next = i->next;
        if (!i->owned)
            forget(i);
    }
}

static void kill_it(struct backend_instance *i)
{
    if (i->alive)
        die(i, false, "killed by SIGKILL");
}

static void dispose(struct backend_instance *i)
{
    i->owned = false;
    if (!i->alive)
        forget(i);
}

static void handle(const struct backend_instance *i, struct backend_handle *out)
{
    snprintf(out->text, sizeof out->text, "fake=%llu", (unsigned long long)i->id);
}

static enum rc usage(const struct backend_instance *i, struct backend_usage *out)
{
    (void)i;
    *out = (struct backend_usage){.cpu_us = 1, .memory = 1 << 20};
    return RC_OK;
}

static enum rc give(const struct backend_instance *i, unsigned c, struct backend_channel *out)
{
    struct doorbell bell = {.out_fd = i->doorbell, .in_fd = i->channel[c].client_fd};

    out->len = i->channel[c].len;
    out->memory_fd = fcntl(i->channel[c].memory_fd, F_DUPFD_CLOEXEC, 0);
    return doorbell_dup(&bell, &out->bell);
}

/* What can be opened and not be mapped, like grants. */
static void unmap(struct backend_channel *out)
{
    close(out->memory_fd);
    out->memory_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    CHECK(out->memory_fd >= 0);
}

static enum rc control(struct backend_instance *i, struct backend_channel *out)
{
    enum rc rc = give(i, 0, out);

    switch (i->backend->wrong) {
    case FAKE_GOOD:
        break;
    case FAKE_NO_BELL: /* as of a port that is none of its own */
        backend_channel_close(out);
        return RC_IO;
    case FAKE_NO_RING:
        memset(i->channel[0].memory, 0xff, sizeof(struct ring_page));
        break;
    case FAKE_NO_MEMORY:
        unmap(out);
        break;
    }
    return rc;
}

static enum rc channel(struct backend_instance *i, unsigned index, struct backend_channel *out)
{
    enum rc rc;

    CHECK(index < i->channels);
    if (i->closed)
        return RC_IO;
    rc = give(i, 1 + index, out);
    if (i->unmapped)
        unmap(out);
    return rc;
}

const struct backend_ops fake_backend = {
    .name = "fake",
    .machines = true,
    .start = start,
    .adopt = adopt,
    .sweep = sweep,
    .kill = kill_it,
    .dispose = dispose,
    .handle = handle,
    .usage = usage,
    .control = control,
    .channel = channel,
    .lacks_mappings = lacks_mappings,
};
