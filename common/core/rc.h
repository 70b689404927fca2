/* Result codes: the one error vocabulary of this project.  Freestanding.
 *
 * Codes of libraries and of the kernel are translated into these at the one
 * place where they enter.  RC_OK is 0, all others are positive. */
#ifndef COMMON_RC_H
#define COMMON_RC_H

#define RC_MAP(X)                                \
    X(RC_NOMEM, "out of memory")                 \
    X(RC_INVAL, "invalid argument")              \
    X(RC_MALFORMED, "peer sent malformed data")  \
    X(RC_VERSION, "peer speaks another version") \
    X(RC_TOO_LARGE, "too large")                 \
    X(RC_FULL, "no room")                        \
    X(RC_AGAIN, "not yet")                       \
    X(RC_CLOSED, "peer is gone")                 \
    X(RC_CANCELED, "operation canceled")         \
    X(RC_TIMEDOUT, "deadline passed")            \
    X(RC_NOT_FOUND, "not found")                 \
    X(RC_EXISTS, "already exists")               \
    X(RC_BUSY, "in use")                         \
    X(RC_DENIED, "not permitted")                \
    X(RC_UNSUPPORTED, "not supported")           \
    X(RC_FAILED, "failed")                       \
    X(RC_CRYPTO, "cryptographic check failed")   \
    X(RC_DB, "database error")                   \
    X(RC_IO, "I/O error")                        \
    X(RC_UNMAPPED, "memory cannot be mapped")

enum rc {
    RC_OK = 0,
#define X(id, text) id,
    RC_MAP(X)
#undef X
        RC_NR
};

#define RC_MUST_CHECK __attribute__((warn_unused_result))

/* Never NULL; a fixed text, not owned by the caller. */
const char *rc_text(enum rc rc);

#endif
