/* What the text of a xenstore node says.  No Xen needed. */
#ifndef XEN_HELPER_NODE_TEXT_H
#define XEN_HELPER_NODE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decimal digits, no sign, no leading zero, nothing else, at most `max`. */
bool node_text_number(const char *text, size_t len, uint32_t max, uint32_t *out);
/* "/dev/pts/" and a number. */
bool node_text_is_pts(const char *text, size_t len);
/* A domain's name as roomkeyd makes them, within `size` bytes with its NUL: letters, digits, '.',
 * '_' and '-'.  (xenconsoled makes a file's name of it.) */
bool node_text_is_name(const char *text, size_t size);
/* Words of the launch node, within `size` bytes with a NUL: printable ASCII, not empty. */
bool node_text_is_words(const char *text, size_t size);

#endif
