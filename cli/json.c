#include "cli/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *json_text(const json_t *object, const char *member)
{
    const char *s = json_string_value(json_object_get(object, member));

    return s ? s : "";
}

int64_t json_number(const json_t *object, const char *member)
{
    return json_integer_value(json_object_get(object, member));
}

char *json_joined(const json_t *array, const char *between)
{
    size_t i, len = 1, used = 0;
    json_t *item;
    char *out;

    json_array_foreach(array, i, item) len += json_string_length(item) + strlen(between);
    out = calloc(1, len);
    if (!out)
        abort();
    json_array_foreach(array, i, item) used +=
        (size_t)snprintf(out + used, len - used, "%s%s", i ? between : "",
                         json_is_string(item) ? json_string_value(item) : "");
    return out;
}
