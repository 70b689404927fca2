/* The console of an instance, as lines: a pipe (sandbox) or a terminal (xen).
 *
 * The bytes are the tenant's: lines are cut at CONSOLE_LINE_MAX, and past
 * CONSOLE_RATE bytes a second nothing is read until the next second.  The
 * instance never waits for us: what does not fit is dropped at its end. */
#ifndef ORCHESTRATOR_CONSOLE_H
#define ORCHESTRATOR_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "common/core/rc.h"

#define CONSOLE_LINE_MAX 1024
#define CONSOLE_RATE     (256u << 10)

struct console {
    uv_poll_t poll;
    uv_timer_t timer; /* running: this second's bytes are spent */
    int fd;           /* owned; -1: closed */
    void (*on_line)(void *arg, const char *line, size_t len);
    void *arg;
    uint64_t second; /* loop time at which the budget was filled, ms */
    size_t budget;   /* bytes left of it */
    size_t len;      /* of the unfinished line */
    bool cut;        /* the rest of this line is dropped */
    bool stopped;    /* no more lines, whatever comes */
    char line[CONSOLE_LINE_MAX];
};

/* `fd` is consumed, also on failure; it is made non-blocking. */
RC_MUST_CHECK enum rc console_init(struct console *c, uv_loop_t *loop, int fd,
                                   void (*on_line)(void *, const char *, size_t), void *arg);
/* Lines come from now on. */
void console_listen(struct console *c);
/* Reads what is left, at most one full pipe, and ends the last line. */
void console_drain(struct console *c);
/* No line comes after this. `closed` is called once for each of the two handles. */
void console_close(struct console *c, uv_close_cb closed);

#endif
