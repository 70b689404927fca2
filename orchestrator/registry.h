/* The registry: what Roomkey knows of images, tenants, host names, certificates,
 * instances and events, on disk.  The only module with SQL; schema/db/ is its shape.
 *
 * Used from the loop thread.  Each call is one transaction and a few index
 * look-ups, whatever the number of tenants.  A call that returns RC_OK has
 * happened; any other return has changed nothing.
 *   - What an admin asked for is on the disk when the call returns
 *     (synchronous=FULL).
 *   - Calls marked [lazy] survive a crash of roomkeyd but the last ones may be lost
 *     with a power cut (synchronous=NORMAL), which the instances that they tell of do
 *     not survive either.
 *
 * Happy path: registry_open, calls, registry_close.  Failure modes: RC_DB (also RC_FULL
 * disk full, RC_BUSY locked by another program), with registry_error() in words;
 * refusals of an admin's wish, in words in `struct refusal`.
 *
 * Times are milliseconds UTC since 1970 and are given by the caller.  Ids are never
 * 0 and never reused.  Strings in structs are terminated. */
#ifndef ORCHESTRATOR_REGISTRY_H
#define ORCHESTRATOR_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/rc.h"
#include "orchestrator/hostname.h"
#include "orchestrator/refusal.h"

struct registry;

#define REGISTRY_NAME_SIZE      64    /* tenant, image name, image version */
#define REGISTRY_REF_SIZE       128   /* "name:version" */
#define REGISTRY_HASH_SIZE      65    /* SHA-256 in hex */
#define REGISTRY_TEXT_SIZE      512   /* why, event text */
#define REGISTRY_NAMES_SIZE     4096  /* a certificate's names, comma-separated */
#define REGISTRY_HANDLE_SIZE    128   /* BACKEND_HANDLE_MAX */
#define REGISTRY_HOSTS_MAX      64    /* of a tenant */
#define REGISTRY_CERTS_MAX      2     /* of a tenant: one EC, one RSA */
#define REGISTRY_EVENTS_KEPT    10000 /* older ones are pruned, but not at each event */
#define REGISTRY_EVENTS_EACH    1000  /* likewise of one tenant: a loud one loses its own */
#define REGISTRY_INSTANCES_KEPT 5     /* ended ones of a tenant */

/* Bounds and defaults of a tenant's settings. */
#define REGISTRY_MEMORY_MIN          (1u << 20)
#define REGISTRY_MEMORY_MAX          (1ull << 30)
#define REGISTRY_IDLE_MS             60000u
#define REGISTRY_IDLE_MS_MAX         (7ull * 24 * 3600 * 1000)
#define REGISTRY_WAKE_TIMEOUT_MS     10000u
#define REGISTRY_WAKE_TIMEOUT_MS_MAX 300000u
#define REGISTRY_MAX_CONNECTIONS_MAX 1000000u

struct registry_image {
    uint64_t id;
    char name[REGISTRY_NAME_SIZE], version[REGISTRY_NAME_SIZE];
    char alpn[64];
    char sha256[REGISTRY_HASH_SIZE];
    uint16_t abi;
    uint32_t memory_kib; /* least memory */
    uint64_t size;       /* bytes of the file */
    int64_t added_at;
};

struct registry_certificate {
    uint64_t id;
    uint64_t tenant;
    char tenant_name[REGISTRY_NAME_SIZE];
    char fingerprint[REGISTRY_HASH_SIZE]; /* of the leaf; names the chain file */
    char key_id[REGISTRY_HASH_SIZE];      /* of the public key; names the key file */
    char key_type[16];                    /* "EC P-256", "EC P-384", "RSA 2048", … */
    char subject[256];
    char names[REGISTRY_NAMES_SIZE];
    bool self_signed;
    int64_t not_before, not_after, added_at;
};

/* Where a tenant's move to another image stands. */
enum registry_upgrade {
    REGISTRY_UPGRADE_NONE,
    REGISTRY_UPGRADE_WAITING,  /* for the running instance to be idle, or asleep */
    REGISTRY_UPGRADE_DRAINING, /* past its deadline: new connections to the new one */
};

struct registry_tenant {
    uint64_t id;
    char name[REGISTRY_NAME_SIZE];
    bool suspended;
    uint64_t image;     /* what the next start runs */
    uint64_t last_good; /* the last one that was ready; 0: none yet */
    char image_ref[REGISTRY_REF_SIZE];
    char last_good_ref[REGISTRY_REF_SIZE]; /* "" for none, likewise below */
    char failed_ref[REGISTRY_REF_SIZE];    /* rolled back from this, until a new upgrade */
    char failed_why[REGISTRY_TEXT_SIZE];
    int64_t failed_at;
    uint64_t memory; /* bytes; 0: what the image asks for */
    uint32_t idle_ms;
    uint32_t max_connections; /* 0: no limit */
    uint32_t wake_timeout_ms;
    enum registry_upgrade upgrade;
    int64_t upgrade_deadline; /* then DRAINING; 0: waits for ever */
    uint64_t generation;      /* the last one given */
    uint64_t revision;        /* of the route; unique among all tenants, only grows */
    int64_t created_at;
};

/* Everything for one wake. */
struct registry_route {
    struct registry_tenant tenant;
    struct registry_image image; /* tenant.image */
    size_t certs;
    struct {
        char fingerprint[REGISTRY_HASH_SIZE], key_id[REGISTRY_HASH_SIZE];
    } cert[REGISTRY_CERTS_MAX];
};

enum registry_instance_state {
    REGISTRY_INSTANCE_STARTING,
    REGISTRY_INSTANCE_READY,
    REGISTRY_INSTANCE_DRAINING,
    REGISTRY_INSTANCE_STOPPING,
    REGISTRY_INSTANCE_ENDED,
};

struct registry_instance {
    uint64_t id;
    uint64_t tenant, image, generation;
    char tenant_name[REGISTRY_NAME_SIZE];
    char image_ref[REGISTRY_REF_SIZE];
    char ground[16];
    enum registry_instance_state state;
    char handle[REGISTRY_HANDLE_SIZE];      /* "" until known */
    int64_t started_at, ready_at, ended_at; /* 0: not yet */
    char why[REGISTRY_TEXT_SIZE];           /* it ended */
};

struct registry_event {
    uint64_t id;
    int64_t at;
    char tenant[REGISTRY_NAME_SIZE]; /* "" for none */
    char kind[32];                   /* "tenant added", "rolled back", … */
    char text[REGISTRY_TEXT_SIZE];
};

/* What a list call gives, one at a time; borrowed during the call.  It may ask the
 * registry for anything but the list that it is called from.  False ends the list. */
typedef bool registry_image_cb(void *arg, const struct registry_image *image);
typedef bool registry_tenant_cb(void *arg, const struct registry_tenant *tenant);
typedef bool registry_host_cb(void *arg, const char *host);
typedef bool registry_certificate_cb(void *arg, const struct registry_certificate *cert);
typedef bool registry_instance_cb(void *arg, const struct registry_instance *instance);
typedef bool registry_event_cb(void *arg, const struct registry_event *event);

/*----- open and close -----*/

/* Opens STATE/roomkey.db, made and migrated as needed, for this process alone.  The
 * folder must exist. */
RC_MUST_CHECK enum rc registry_open(const char *state_dir, struct registry **out,
                                    struct refusal *no);
void registry_close(struct registry *r); /* NULL is fine */

/* RC_BUSY: another program holds it for writing.  No call waits long for that, since the loop would
 * stand still: who can wait asks again. */
RC_MUST_CHECK enum rc registry_writable(struct registry *r);

/* The last failure of the database in words, for the log; borrowed until the next call. */
const char *registry_error(const struct registry *r);

struct registry_counts {
    uint64_t tenants, suspended, hosts, images;
};
RC_MUST_CHECK enum rc registry_counts(struct registry *r, struct registry_counts *out);

/*----- for the fleet -----*/

/* Host name (kept form, see hostname.h) to everything: the exact name first, then its
 * wildcard.  RC_NOT_FOUND. */
RC_MUST_CHECK enum rc registry_route(struct registry *r, const char *host,
                                     struct registry_route *out);
/* The same from the tenant's id. */
RC_MUST_CHECK enum rc registry_route_of(struct registry *r, uint64_t tenant,
                                        struct registry_route *out);

/* [lazy] A new generation of the tenant and its instance, STARTING, in one. */
RC_MUST_CHECK enum rc registry_instance_begin(struct registry *r, uint64_t tenant, uint64_t image,
                                              const char *ground, int64_t now,
                                              struct registry_instance *out);
/* [lazy] How the backend finds it again. */
RC_MUST_CHECK enum rc registry_instance_handle(struct registry *r, uint64_t id, const char *handle);
/* [lazy] Not ENDED: that is registry_instance_end().  READY notes the time, once. */
RC_MUST_CHECK enum rc registry_instance_state(struct registry *r, uint64_t id,
                                              enum registry_instance_state state, int64_t now);
/* [lazy] It is gone; `why` for people.  RC_NOT_FOUND when it had already ended.  Prunes the
 * tenant's old rows. */
RC_MUST_CHECK enum rc registry_instance_end(struct registry *r, uint64_t id, const char *why,
                                            int64_t now);
RC_MUST_CHECK enum rc registry_instance(struct registry *r, uint64_t id,
                                        struct registry_instance *out);
/* All that have not ended, by id. */
RC_MUST_CHECK enum rc registry_instances_alive(struct registry *r, registry_instance_cb *cb,
                                               void *arg);

/* [lazy] The image was ready: it is the last good one, and an upgrade to it is over.  Writes
 * (and notes an event "upgraded") only when that is news. */
RC_MUST_CHECK enum rc registry_tenant_good(struct registry *r, uint64_t tenant, uint64_t image,
                                           int64_t now);
/* [lazy] The image failed.  If it is what the tenant should run and there is another
 * last good one: back to that, event "rolled back", *back = true.  Else *back = false and nothing
 * changes (nothing to go back to, or somebody was faster). */
RC_MUST_CHECK enum rc registry_tenant_rollback(struct registry *r, uint64_t tenant, uint64_t image,
                                               const char *why, int64_t now, bool *back);
/* [lazy] WAITING becomes DRAINING, or any becomes NONE. */
RC_MUST_CHECK enum rc registry_tenant_upgrade_state(struct registry *r, uint64_t tenant,
                                                    enum registry_upgrade state);

/* [lazy] `tenant` is a name, or NULL for the house's own.  Prunes. */
RC_MUST_CHECK enum rc registry_event(struct registry *r, const char *tenant, const char *kind,
                                     int64_t now, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/*----- images -----*/

/* Known already with the same content: RC_OK and its id.  With other content: refused. */
RC_MUST_CHECK enum rc registry_image_add(struct registry *r, const struct registry_image *image,
                                         int64_t now, uint64_t *id, struct refusal *no);
RC_MUST_CHECK enum rc registry_image(struct registry *r, uint64_t id, struct registry_image *out);
/* `ref` is "name:version"; here and wherever an admin gives one. */
RC_MUST_CHECK enum rc registry_image_by_ref(struct registry *r, const char *ref,
                                            struct registry_image *out, struct refusal *no);
/* By name and version, from after `after` (a ref; NULL: from the start) on, at most `limit`. */
RC_MUST_CHECK enum rc registry_images(struct registry *r, const char *after, unsigned limit,
                                      registry_image_cb *cb, void *arg);
/* Refused while a tenant or a living instance needs it, with the name of one.  *out is what was
 * removed: its file may go. */
RC_MUST_CHECK enum rc registry_image_remove(struct registry *r, const char *ref, int64_t now,
                                            struct registry_image *out, struct refusal *no);
/* Tenants that run it or could go back to it, by name. */
RC_MUST_CHECK enum rc registry_image_users(struct registry *r, uint64_t image, unsigned limit,
                                           registry_tenant_cb *cb, void *arg);
RC_MUST_CHECK enum rc registry_image_users_count(struct registry *r, uint64_t image,
                                                 uint64_t *count);
/* Whether a row has this content. */
RC_MUST_CHECK enum rc registry_image_used(struct registry *r, const char *sha256, bool *used);

/*----- tenants -----*/

/* What an admin wants of a new tenant (all needed) or of one that is there (what is set). */
struct registry_wish {
    const char *image;        /* "name:version"; new tenant only: later ones go by upgrade */
    const char *const *hosts; /* as typed; replaces all; 0 of them: leave */
    size_t hosts_nr;
    const struct registry_certificate *cert; /* from cert_store; takes the place of the tenant's
                                                certificate of the same kind (EC, RSA) and of
                                                those that do not cover the hosts */
    bool has_memory, has_idle_ms, has_max_connections, has_wake_timeout_ms;
    uint64_t memory;
    uint32_t idle_ms, max_connections, wake_timeout_ms;
};

/* Certificates that lost their last tenant by a call: cert_store_drop() each. */
struct registry_dropped {
    size_t nr;
    struct {
        char fingerprint[REGISTRY_HASH_SIZE], key_id[REGISTRY_HASH_SIZE];
    } cert[REGISTRY_CERTS_MAX];
};

/* The tenant's name: [a-z0-9][a-z0-9-]*, at most 63. */
RC_MUST_CHECK enum rc registry_tenant_add(struct registry *r, const char *name,
                                          const struct registry_wish *wish, int64_t now,
                                          struct registry_tenant *out, struct refusal *no);
/* Every host must be covered by every certificate that remains. */
RC_MUST_CHECK enum rc registry_tenant_set(struct registry *r, const char *name,
                                          const struct registry_wish *wish, int64_t now,
                                          struct registry_tenant *out,
                                          struct registry_dropped *dropped, struct refusal *no);
RC_MUST_CHECK enum rc registry_tenant_suspend(struct registry *r, const char *name, bool suspended,
                                              int64_t now, struct registry_tenant *out,
                                              struct refusal *no);
/* The next start runs `ref`; upgrade is WAITING until registry_tenant_good() or a rollback.
 * `deadline`: see upgrade_deadline.  To the image that it already has: RC_OK, NONE. */
RC_MUST_CHECK enum rc registry_tenant_upgrade(struct registry *r, const char *name, const char *ref,
                                              int64_t deadline, int64_t now,
                                              struct registry_tenant *out, struct refusal *no);
/* Refused (RC_BUSY) while an instance lives: stop it first. */
RC_MUST_CHECK enum rc registry_tenant_remove(struct registry *r, const char *name, int64_t now,
                                             struct registry_dropped *dropped, struct refusal *no);
RC_MUST_CHECK enum rc registry_tenant(struct registry *r, uint64_t id, struct registry_tenant *out);
RC_MUST_CHECK enum rc registry_tenant_by_name(struct registry *r, const char *name,
                                              struct registry_tenant *out, struct refusal *no);
/* By name, from after `after` (NULL: from the start) on, at most `limit`. */
RC_MUST_CHECK enum rc registry_tenants(struct registry *r, const char *after, unsigned limit,
                                       registry_tenant_cb *cb, void *arg);
RC_MUST_CHECK enum rc registry_hosts(struct registry *r, uint64_t tenant, registry_host_cb *cb,
                                     void *arg);

/*----- certificates -----*/

/* Of a tenant (0: of all), by id from after `after` on, at most `limit`. */
RC_MUST_CHECK enum rc registry_certificates(struct registry *r, uint64_t tenant, uint64_t after,
                                            unsigned limit, registry_certificate_cb *cb, void *arg);
/* Whether a row has this chain, or this key. */
RC_MUST_CHECK enum rc registry_chain_used(struct registry *r, const char *fingerprint, bool *used);
RC_MUST_CHECK enum rc registry_key_used(struct registry *r, const char *key_id, bool *used);

/*----- events -----*/

/* Of a tenant's name (NULL: all), oldest first from after id `after` on, at most `limit`. */
RC_MUST_CHECK enum rc registry_events(struct registry *r, const char *tenant, uint64_t after,
                                      unsigned limit, registry_event_cb *cb, void *arg);
/* The newest id, 0 for none: where --follow starts. */
RC_MUST_CHECK enum rc registry_events_last(struct registry *r, uint64_t *id);

/* Words for the states, as in the CLI and in JSON; fixed texts. */
const char *registry_instance_state_text(enum registry_instance_state state);
const char *registry_upgrade_text(enum registry_upgrade state);

#endif
