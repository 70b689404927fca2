/* cmocka, with the headers that it wants in front of it. */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

/* The order matters. clang-format cannot know. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#endif
