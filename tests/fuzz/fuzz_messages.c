/* Messages between the processes of the host: the control sockets' (worker, key agent and
 * roomkeyd) and the key agent's (what a worker may have broken into it with).  All bytes go to
 * both.  What is accepted encodes to the same bytes again; what is to be signed is of the shapes
 * that TLS signs. */
#include <string.h>

#include "common/core/check.h"
#include "tls-front/agent/agent_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void control(const uint8_t *data, size_t size)
{
    uint8_t again[CONTROL_SIZE_MAX];
    struct control_msg m;
    size_t len;

    if (control_decode(data, size, &m))
        return;
    CHECK(control_encode(&m, again, sizeof again, &len) == RC_OK && len == size &&
          memcmp(again, data, size) == 0);
    CHECK(control_fds(&m) <= CONTROL_FDS_MAX);
}

static void agent(const uint8_t *data, size_t size)
{
    uint8_t again[AGENT_MSG_MAX];
    struct agent_msg m;
    size_t len;

    if (agent_msg_decode(data, size, &m))
        return;
    CHECK(agent_msg_encode(&m, again, sizeof again, &len) == RC_OK && len == size &&
          memcmp(again, data, size) == 0);
    if (m.type != AGENT_SIGN)
        return;
    CHECK(strlen(m.sign.key) == CONTROL_KEY_SIZE - 1);
    if (m.sign.kind == AGENT_TLS13)
        CHECK(m.sign.len == 32 || m.sign.len == 48);
    else
        CHECK(m.sign.kind == AGENT_TLS12 && m.sign.params[0] == 3 &&
              m.sign.len == 4 + m.sign.params[3] && m.sign.len <= AGENT_PARAMS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    control(data, size);
    agent(data, size);
    return 0;
}
