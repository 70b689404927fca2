/* Lists as arrays of JSON, read from the registry page by page as the client takes them: a
 * hundred thousand tenants neither hold the loop nor fill the memory. */
#ifndef ORCHESTRATOR_ADMIN_LIST_H
#define ORCHESTRATOR_ADMIN_LIST_H

#include "orchestrator/admin/object.h"
#include "orchestrator/admin/request.h"

#define LIST_PAGE 64u

struct list {
    struct admin_house *house;
    /* Puts up to LIST_PAGE objects after the cursor with list_add() and moves the cursor. */
    enum rc (*page)(struct list *l);
    char after[REGISTRY_REF_SIZE]; /* cursor: a name, "" at first; or */
    uint64_t after_id;
    struct admin_text *out;
    unsigned count; /* of this page */
    bool begun;
};

/* Answers `q` with the list. */
void list_answer(struct admin_request *q, enum rc (*page)(struct list *l));
void list_add(struct list *l, json_t *object); /* consumes */

#endif
