#include "tls-front/agent/agent_sandbox.h"

#include "tls-front/sandbox.h"

static int add_calls(scmp_filter_ctx ctx, const struct sandbox *s)
{
    static const int calls[] = {SCMP_SYS(poll)};

    (void)s;
    return sandbox_add_calls(ctx, calls, sizeof calls / sizeof calls[0]);
}

enum rc agent_sandbox_enter(void)
{
    static const struct sandbox s = {.who = "key agent",
                                     .standard_user = AGENT_USER,
                                     .standard_uid = AGENT_UID,
                                     .files = -1,
                                     .add_calls = add_calls};

    return sandbox_enter(&s);
}
