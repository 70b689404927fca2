/* Log lines of the host programs: one line, one write, to stderr.
 *
 * "roomkeyd: instance 7 is ready" on a terminal or in a file; with a "<3>" in
 * front (sd-daemon(3)) when systemd reads stderr ($JOURNAL_STREAM is set).
 * Control characters of the text are replaced, so that what a peer sent cannot
 * forge a line.  A line is cut at LOG_LINE_MAX bytes.  Never log a secret. */
#ifndef COMMON_HOST_LOG_H
#define COMMON_HOST_LOG_H

#include <stdbool.h>
#include <stdint.h>

#define LOG_LINE_MAX 1024

enum log_level { LOG_ERROR = 3, LOG_WARNING = 4, LOG_INFO = 6, LOG_DEBUG = 7 };

/* `program` is borrowed for good.  Lines above `most` are not written. */
void log_open(const char *program, enum log_level most);

void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_line(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_DEBUG, __VA_ARGS__)

/* For what somebody else can bring about as often as he likes, a client say: one line a second
 * from one place in the code, for all tenants together: one that is loud hides there what is said
 * of others.  The next one tells how many were left out. */
#define log_seldom(level, ...)            \
    do {                                  \
        static struct log_place place_;   \
        if (log_due(&place_))             \
            log_line(level, __VA_ARGS__); \
    } while (0)

struct log_place {
    uint64_t due_us; /* clock_us() */
    unsigned left_out;
};

bool log_due(struct log_place *place);

#endif
