/* What the program says when something is wrong: one line on standard error. */
#ifndef CLI_SAY_H
#define CLI_SAY_H

#include "cli/command.h"

/* Returns STATUS_FAILED. */
__attribute__((format(printf, 1, 2))) int say_failed(const char *fmt, ...);

/* The call is not one that the help describes.  Returns STATUS_USAGE. */
__attribute__((format(printf, 2, 3))) int say_misused(const struct call *c, const char *fmt, ...);

#endif
