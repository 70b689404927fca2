/* Tables that line up: cells first, then one print. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stddef.h>

#define TABLE_COLUMNS 10

struct table {
    size_t columns, cells, room;
    char **cell;        /* owned; row after row, the headings first */
    const char *indent; /* before each line */
    size_t width[TABLE_COLUMNS];
};

/* `headings`: separated by '|'. */
void table_init(struct table *t, const char *indent, const char *headings);
__attribute__((format(printf, 2, 3))) void table_add(struct table *t, const char *fmt, ...);
void table_print(struct table *t); /* and frees it */
void table_free(struct table *t);

#endif
