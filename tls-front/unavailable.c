#include "tls-front/unavailable.h"

#include "tls-front/handshake.h"
#include "tls-front/opening.h"
#include "tls-front/worker.h"

#define BODY                                                                                \
    "<!doctype html><meta charset=utf-8><title>503</title><h1>Not available right now</h1>" \
    "<p>This site could not be started in time. Please try again in a moment.\n"

static const char page[] = "HTTP/1.1 503 Service Unavailable\r\n"
                           "Content-Type: text/html; charset=utf-8\r\n"
                           "Content-Length: 158\r\n"
                           "Retry-After: 5\r\n"
                           "Cache-Control: no-store\r\n"
                           "Connection: close\r\n"
                           "\r\n" BODY;

_Static_assert(sizeof BODY - 1 == 158, "Content-Length");

void unavailable_answer(struct conn *c)
{
    struct handshake *hs = c->opening->handshake;
    struct tls_bytes *out = handshake_out(hs);
    uv_buf_t buf;

    OPENED(c, wake_failed);
    if (handshake_answer(hs, page, sizeof page - 1)) {
        conn_close(c, CONN_RST);
        return;
    }
    buf = uv_buf_init((char *)out->p, (unsigned)out->len);
    if (conn_write(c, &buf, 1)) {
        conn_close(c, CONN_RST);
        return;
    }
    conn_answer(c); /* wipes the keys */
}
