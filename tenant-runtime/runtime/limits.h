/* Every bound and deadline of the runtime, in one place.  Bytes, milliseconds. */
#ifndef RUNTIME_LIMITS_H
#define RUNTIME_LIMITS_H

#include <stdint.h>

/* HTTP requests. */
#define LIMIT_HEAD     16384u  /* request line and fields; more is 431 */
#define LIMIT_TARGET   8000u   /* request target; more is 414 */
#define LIMIT_FIELDS   100u    /* fields; more is 431 */
#define LIMIT_OVERHEAD 16384u  /* chunk heads and trailers in a row without a body byte */
#define LIMIT_DRAIN    262144u /* body bytes taken in that the app did not read */
#define LIMIT_ANSWER   8192u   /* status line and fields of an answer */
#define LIMIT_LEASES   64u

/* Deadlines of a client; the app may have its own for the four that limit_ms() is used with. */
#define LIMIT_IDLE_MS   75000u /* between requests: then close_notify */
#define LIMIT_FIRST_MS  2000u  /* for a first request, once draining: then close_notify */
#define LIMIT_HEAD_MS   10000u /* from a request's first byte to its head's last: then 408 */
#define LIMIT_READ_MS   60000u /* rk_read waits for a body: then 408; each byte buys time … */
#define LIMIT_READ_RATE 500u   /* … a second for so many, up to LIMIT_READ_MS */
#define LIMIT_WRITE_MS  60000u /* rk_write without 16 KiB taken by the client: then RESET */
#define LIMIT_LINGER_MS 5000u  /* from our end of stream to the client's: then RESET */

/* LIMIT_x_MS, or what the app says instead. */
static inline uint32_t limit_ms(uint32_t limit, uint32_t of_app)
{
    return of_app ? of_app : limit;
}

/* Memory of an instance: what the image takes itself; of the rest a third is for
 * connections, a quarter for what they have sent and nobody has read, and the
 * remainder for requests in flight (touched stack, head, answer). */
#define LIMIT_BASE_KIB     2048u
#define LIMIT_CONN_KIB     4u
#define LIMIT_REQUEST_KIB  32u
#define LIMIT_REQUESTS_MIN 16u

/* Frames taken from one channel before the others have their turn. */
#define LIMIT_BATCH 64u

#endif
