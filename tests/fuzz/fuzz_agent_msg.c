/* What a worker may have broken into the key agent with: what is accepted encodes to the
 * same bytes again, and what is to be signed is of the shapes that TLS signs. */
#include <stdlib.h>
#include <string.h>

#include "tls-front/agent/agent_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t again[AGENT_MSG_MAX];
    struct agent_msg m;
    size_t len;

    if (agent_msg_decode(data, size, &m))
        return 0;
    check(agent_msg_encode(&m, again, sizeof again, &len) == RC_OK && len == size &&
          memcmp(again, data, size) == 0);
    if (m.type != AGENT_SIGN)
        return 0;
    check(strlen(m.sign.key) == CONTROL_KEY_SIZE - 1);
    if (m.sign.kind == AGENT_TLS13)
        check(m.sign.len == 32 || m.sign.len == 48);
    else
        check(m.sign.kind == AGENT_TLS12 && m.sign.params[0] == 3 &&
              m.sign.len == 4 + m.sign.params[3] && m.sign.len <= AGENT_PARAMS_MAX);
    return 0;
}
