/* What a ClientHello offers, held against what RFC 8446 and RFC 5246 allow one to.
 *
 * Happy path: hello_offer_check() of the vectors of a message says TLS_ALERT_NONE and
 * has filled what *h has from extensions.  Whether anything of what is offered will do
 * (a suite, a group, a signature) is for Mbed TLS to find; here is what it lets pass.
 *
 * Failure modes: the alert that is owed for the first fault. */
#ifndef TLS_FRONT_HELLO_OFFER_H
#define TLS_FRONT_HELLO_OFFER_H

#include "common/core/wire.h"
#include "tls-front/alert.h"
#include "tls-front/hello.h"

/* The message's vectors, none of them bad; extensions may be none at all. */
struct hello_offer {
    struct wire_in suites, compressions, extensions;
};

RC_MUST_CHECK enum tls_alert hello_offer_check(const struct hello_offer *o, struct hello *h);

/* Extensions that the second ClientHello may have otherwise (RFC 8446, 4.1.2). */
bool hello_offer_may_change(uint16_t type);

#endif
