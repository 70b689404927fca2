/* The ClientHello: in one piece and byte by byte it must read the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tls-front/hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hello_scan whole = {0}, pieces = {0};
    struct hello a;
    enum rc rc, rc_pieces = RC_AGAIN;

    rc = hello_scan(&whole, data, size);
    for (size_t n = 0; n <= size && rc_pieces == RC_AGAIN; n++)
        rc_pieces = hello_scan(&pieces, data, n);
    /* In pieces it may be refused, or be over, before what follows is seen. */
    if (rc == RC_OK && (rc_pieces != RC_OK || pieces.at != whole.at))
        abort();
    if (rc != RC_OK || hello_read(&whole, data, &a) != RC_OK)
        return 0;
    if (strlen(a.name) > HELLO_NAME_MAX)
        abort();
    return 0;
}
