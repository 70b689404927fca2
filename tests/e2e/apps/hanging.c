/* An app that never comes up: on_start does not return. */
#include <roomkey/app.h>

static int start(void)
{
    for (;;)
        (void)rk_now_ns();
    return 0;
}

static void serve(struct rk_request *req)
{
    rk_reply(req, 200, "text/plain", "", 0);
}

ROOMKEY_APP(ROOMKEY_IMAGE_NAME, ROOMKEY_IMAGE_VERSION, .on_start = start, .on_request = serve);
