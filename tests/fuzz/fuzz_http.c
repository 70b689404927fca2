/* A client that is hostile in HTTP: any bytes, in any cuts, with pauses, through
 * records, parser, fiber and a small app.
 *
 * Input: steps of one byte and what it says: 1 … 250, so many bytes of plaintext in
 * one record; 0 and 251 …, a pause or an end.  The runtime must come back to rest
 * and to nothing (front_end checks), whatever comes. */
#include <stdint.h>

#include "tenant-runtime/include/roomkey/app.h"
#include "tests/unit/fake_front.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void serve(struct rk_request *req)
{
    const char *path = rk_path(req);
    char buf[700] = ""; /* sent as it is */
    ptrdiff_t n;

    switch (path[1]) {
    case 'e': /* echo */
        if (rk_begin(req, 200, rk_header(req, "content-type"), rk_length(req)))
            return;
        rk_set(req, "X-Query", rk_query(req));
        while ((n = rk_read(req, buf, sizeof buf)) > 0)
            if (rk_write(req, buf, (size_t)n))
                return;
        return;
    case 'l': /* late */
        while (rk_read(req, buf, sizeof buf) > 0)
            ;
        break;
    case 's':
        if (rk_sleep(req, 1500))
            return;
        break;
    case 'n':
        return;
    case 'b': /* larger than a window */
        if (rk_begin(req, 200, NULL, path[2] ? -1 : 200000))
            return;
        for (int i = 0; i < 400; i++)
            if (rk_write(req, buf, 500))
                return;
        return;
    }
    rk_replyf(req, 200, "text/plain", "%s %s %s %s", rk_method(req), rk_target(req), rk_host(req),
              rk_path(req));
}

ROOMKEY_APP("fuzz", "1", .on_request = serve, .max_body = 3000);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct front_client *c;
    bool over = false;

    front_start();
    front_attach(0);
    c = front_open(0, size % 2 ? 0x1301 : 0xc02b, NULL);
    for (size_t at = 0; at < size && !over;) {
        uint8_t what = data[at++];
        size_t n = what < size - at ? what : size - at;

        switch (what) {
        case 0:
            front_pump();
            break;
        case 251:
            front_sleep(700);
            break;
        case 252:
            front_sleep(20000);
            break;
        case 253:
            front_close(c, true);
            over = true;
            break;
        case 254:
            front_close(c, false);
            over = true;
            break;
        case 255:
            front_reset(c);
            over = true;
            break;
        default:
            front_send(c, data + at, n);
            at += n;
        }
        over |= c->reset;
    }
    front_pump();
    front_sleep(100000);
    front_end();
    return 0;
}
