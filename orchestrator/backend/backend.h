/* What a ground owes the orchestrator: start an instance, stop it, find it again.
 *
 * Nothing here blocks the loop.  Callbacks run on the loop, never from inside the
 * call that they answer.  An instance object is owned by the caller from
 * `start`'s or `adopt`'s RC_OK until `dispose`.
 *
 * The happy path: start -> on_running -> on_started -> (the tenant says READY on its
 * control channel) -> … -> stop asked on the control channel -> on_exit -> dispose.
 * Failure: on_exit may come at any time after start, and comes exactly once; without
 * on_running before it when this host could not let it run, which is not its doing. */
#ifndef ORCHESTRATOR_BACKEND_H
#define ORCHESTRATOR_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "common/core/rc.h"
#include "common/host/doorbell.h"
#include "common/host/fd.h"

struct backend;
struct backend_instance;

#define BACKEND_TEXT_MAX   256
#define BACKEND_HANDLE_MAX 128

/* What is to be started. */
struct backend_spec {
    uint64_t instance;   /* id, never reused */
    uint64_t generation; /* of the tenant */
    const char *tenant;  /* name; borrowed during the call */
    int image_fd;        /* borrowed during the call; opened read-only, already checked; a
                            file that others may execute (mode 0511) */
    uint64_t memory;     /* bytes */
    unsigned channels;   /* front workers that can be served */
};

/* Why an instance is gone. */
struct backend_exit {
    bool started;                /* on_started was called */
    bool clean;                  /* it left by itself with status 0 */
    uint64_t lacking;            /* bytes of memory that this host lacks to start it; 0: not that */
    char text[BACKEND_TEXT_MAX]; /* for people: "exit status 65", "killed by SIGSEGV", … */
};

/* What a start went through; microseconds after it was asked for. */
struct backend_steps {
    uint32_t created_us;  /* the machine stood, paused; 0: came out of a pool, or no such step */
    uint32_t unpaused_us; /* it was let run; 0: no such step */
};

struct backend_events {
    /* It runs: what it does from here on, and how long that takes, is its own doing.  To be
     * noted only: nothing may be asked of the ground from inside. */
    void (*on_running)(void *arg, const struct backend_steps *steps);
    /* Its channels can be had. */
    void (*on_started)(void *arg);
    void (*on_exit)(void *arg, const struct backend_exit *why);
    /* One line of the console, without newline, not terminated; untrusted. */
    void (*on_console)(void *arg, const char *line, size_t len);
};

/* One channel of an instance, for whoever is its client. */
struct backend_channel {
    int memory_fd;        /* owned; mapped once, from 0, `len` bytes: laid out by ring_format() */
    size_t len;           /* bytes of memory */
    struct doorbell bell; /* owned; DOORBELL_NONE: whoever is the client already has it */
};

static inline void backend_channel_close(struct backend_channel *c)
{
    fd_close(&c->memory_fd);
    doorbell_close(&c->bell);
}

/* What a restarted orchestrator needs to find an instance again, as text in the
 * registry ("pid=123 start=456"). */
struct backend_handle {
    char text[BACKEND_HANDLE_MAX];
};

struct backend_usage {
    uint64_t cpu_us;
    uint64_t memory; /* bytes resident */
};

/* One fact about this host, for `roomkey doctor`: what was looked at, and what was
 * seen and is to be done about it. */
enum backend_level { BACKEND_FINE, BACKEND_WARNING, BACKEND_FAULT };
typedef void backend_check_cb(void *arg, const char *check, enum backend_level level,
                              const char *text);

struct backend_ops {
    const char *name; /* "sandbox", "xen", "kvm" */
    bool machines;    /* an instance's memory is there from 0 on: its image must fit in it */

    /* Whether this host can do it; if not, `why` says what is missing and what to
     * do about it, in one line; RC_NOT_FOUND when it is no such host at all.  With
     * RC_OK `why` is empty or a warning. */
    enum rc (*probe)(char *why, size_t size);
    /* What the ground needs of this host, each; blocks, from any thread.  NULL: nothing. */
    void (*checks)(backend_check_cb *tell, void *arg);

    enum rc (*open)(uv_loop_t *loop, const char *state_dir, struct backend **out, char *why,
                    size_t size);
    void (*close)(struct backend *b);
    /* Who is told of what is wrong with this host and is no instance's matter any more, for
     * people; NULL: nobody.  The op is NULL when the ground has no such things. */
    void (*listen)(struct backend *b, void (*on_trouble)(void *arg, const char *text), void *arg);

    enum rc (*start)(struct backend *b, const struct backend_spec *spec,
                     const struct backend_events *events, void *arg, struct backend_instance **out);
    /* Takes over a living instance; RC_NOT_FOUND when it is no longer the same. */
    enum rc (*adopt)(struct backend *b, const struct backend_handle *handle, unsigned channels,
                     const struct backend_events *events, void *arg, struct backend_instance **out);
    /* Ends what an earlier orchestrator of this state folder started and nobody has
     * adopted.  After all adoptions. */
    void (*sweep)(struct backend *b);
    /* Ends it at once; on_exit follows. */
    void (*kill)(struct backend_instance *i);
    /* Lets go; kills nothing.  After on_exit, or at the daemon's own end (the
     * instance lives on, for adopt).  Before `close`. */
    void (*dispose)(struct backend_instance *i);

    enum rc (*pause)(struct backend_instance *i, bool paused);
    void (*handle)(const struct backend_instance *i, struct backend_handle *out);
    enum rc (*usage)(const struct backend_instance *i, struct backend_usage *out);
    /* The orchestrator's own channel, and worker `index`'s: to be closed by the caller
     * with backend_channel_close().  After on_started. */
    enum rc (*control)(struct backend_instance *i, struct backend_channel *out);
    enum rc (*channel)(struct backend_instance *i, unsigned index, struct backend_channel *out);
    /* Memory of a channel could not be mapped: -1 is the control channel, else the worker's.  True:
     * that is the host's doing, who has no mappings left, and not the instance's.  NULL: never. */
    bool (*lacks_mappings)(struct backend_instance *i, int index);
};

extern const struct backend_ops backend_sandbox, backend_xen;

#endif
