/* Values as people write and read them.
 *
 * Parsers are strict: see common/host/units.h. */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TEXT_SIZE 64 /* enough for all that text_*() below format */

/* "500ms" "60s" "10m" "24h" "30d" to milliseconds, up to ten years. */
bool text_parse_duration(const char *s, int64_t *ms);
/* "512K" "16M" "2G" to bytes, units of 1024. */
bool text_parse_size(const char *s, int64_t *bytes);
/* A decimal number from 0 to 2^31 - 1. */
bool text_parse_count(const char *s, int64_t *n);

/* Each returns `out`. */
char *text_duration(int64_t ms, char out[TEXT_SIZE]);                    /* "1m30s" */
char *text_size(int64_t bytes, char out[TEXT_SIZE]);                     /* "16M", "35.2K" */
char *text_relative(int64_t at_ms, int64_t now_ms, char out[TEXT_SIZE]); /* "3m ago", "in 2d" */
char *text_time(int64_t at_ms, char out[TEXT_SIZE]); /* "2026-11-23T18:21:10Z" */

/* Prints what came from elsewhere: control characters, which a terminal would
 * obey, are shown as \xNN. */
void text_print(FILE *to, const char *s);

/* Columns that `s` takes when printed with text_print(). */
size_t text_width(const char *s);

#endif
