/* Where Xen's libraries log: warnings and worse to stderr, one line each, and the
 * first error since xl_log_forget() is kept, because that is the cause; those
 * after it are what came of it.  Nothing below a warning is formatted at all. */
#ifndef XEN_HELPER_XL_LOG_H
#define XEN_HELPER_XL_LOG_H

#include <xentoollog.h>

#define XL_LOG_LINE 512

struct xl_log {
    xentoollog_logger logger; /* must be first */
    int error;                /* errno of `cause`; 0: none */
    char cause[XL_LOG_LINE];  /* one clean line; empty: no error */
};

void xl_log_init(struct xl_log *log);
void xl_log_forget(struct xl_log *log);
/* Never empty. */
const char *xl_log_cause(const struct xl_log *log);

#endif
