/* The least that an app is: one answer. */
#include <roomkey/app.h>

#ifndef ROOMKEY_IMAGE_VERSION /* roomkey-cc by hand */
#define ROOMKEY_IMAGE_VERSION "1.0.0"
#endif

static void serve(struct rk_request *req)
{
    rk_replyf(req, 200, "text/plain", "%s greets %s\n", rk_tenant(), rk_header(req, "x-who"));
}

ROOMKEY_APP("greeter", ROOMKEY_IMAGE_VERSION, .on_request = serve);
