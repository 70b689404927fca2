/* Reading answers: a member that is not there, or not of that type, is empty. */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include <jansson.h>
#include <stdint.h>

const char *json_text(const json_t *object, const char *member); /* never NULL */
int64_t json_number(const json_t *object, const char *member);

/* The strings of an array with `between` between them.  Owned by the caller. */
char *json_joined(const json_t *array, const char *between);

#endif
