#include "common/core/rc.h"

static const char *const texts[RC_NR] = {[RC_OK] = "ok",
#define X(id, s) [id] = (s),
                                         RC_MAP(X)
#undef X
};

const char *rc_text(enum rc rc)
{
    return (unsigned)rc < RC_NR ? texts[rc] : "unknown result code";
}
