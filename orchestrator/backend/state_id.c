#include "orchestrator/backend/state_id.h"

#include <sys/stat.h>

enum rc state_id(const char *state_dir, uint64_t *id)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    struct stat st;

    if (stat(state_dir, &st))
        return RC_NOT_FOUND;
    for (int n = 0; n < 8; n++) {
        h = (h ^ ((uint64_t)st.st_dev >> (8 * n) & 0xff)) * 1099511628211u;
        h = (h ^ ((uint64_t)st.st_ino >> (8 * n) & 0xff)) * 1099511628211u;
    }
    *id = h;
    return RC_OK;
}
