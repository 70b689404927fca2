/* An app whose clients have three seconds for what docs/CONFIG.md gives them minutes. */
#include <roomkey/app.h>
#include <string.h>

#define SHORT 3000 /* ms */

static void serve(struct rk_request *req)
{
    static char buf[16384];
    ptrdiff_t n;

    if (strcmp(rk_path(req), "/endless") == 0) {
        if (rk_begin(req, 200, "text/plain", -1) == 0)
            while (rk_write(req, buf, sizeof buf) == 0)
                ;
        return;
    }
    while ((n = rk_read(req, buf, sizeof buf)) > 0)
        ;
    if (n == 0)
        rk_reply(req, 200, "text/plain", "all\n", 4);
}

ROOMKEY_APP(ROOMKEY_IMAGE_NAME, ROOMKEY_IMAGE_VERSION, .on_request = serve, .idle_ms = SHORT,
            .head_ms = SHORT, .read_ms = SHORT, .write_ms = SHORT);
