/* What a small file of the kernel says. */
#ifndef COMMON_FIRST_LINE_H
#define COMMON_FIRST_LINE_H

#include <stdbool.h>
#include <stddef.h>

/* Its first line, without newline, cut to fit; false, and empty, when there is none to be read. */
bool first_line(const char *path, char *out, size_t size);

#endif
