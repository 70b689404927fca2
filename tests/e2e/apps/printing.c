/* An app that prints a line for each request, as any C program would. */
#include <roomkey/app.h>
#include <stdio.h>

static void serve(struct rk_request *req)
{
    printf("served %s\n", rk_path(req));
    rk_reply(req, 200, "text/plain", "", 0);
}

ROOMKEY_APP(ROOMKEY_IMAGE_NAME, ROOMKEY_IMAGE_VERSION, .on_request = serve);
