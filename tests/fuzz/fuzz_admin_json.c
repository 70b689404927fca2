/* Bodies of admin requests.  The first byte picks what the call takes. */
#include <stdint.h>
#include <string.h>

#include "common/core/check.h"
#include "orchestrator/admin/body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct admin_body b;
    struct refusal no;
    uint32_t takes = (1u << ADMIN_MEMBER_NR) - 1;

    if (size == 0)
        return 0;
    if (data[0] & 1)
        takes &= ~(uint32_t)(data[0] << 4);
    if (admin_body_parse(data + 1, size - 1, takes, 0, &b, &no)) {
        CHECK(*no.what && *no.why);
        return 0;
    }
    CHECK((b.given & ~takes) == 0);
    CHECK(b.hosts_nr <= REGISTRY_HOSTS_MAX);
    for (size_t i = 0; i < b.hosts_nr; i++)
        CHECK(strlen(b.hosts[i]) < size);
    admin_body_dispose(&b);
    return 0;
}
