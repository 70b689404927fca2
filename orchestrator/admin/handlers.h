/* The calls, one function each; api.c has the table. */
#ifndef ORCHESTRATOR_ADMIN_HANDLERS_H
#define ORCHESTRATOR_ADMIN_HANDLERS_H

#include "orchestrator/admin/admin.h"
#include "orchestrator/admin/request.h"

void images_list(struct admin_request *q);
void images_show(struct admin_request *q);
void images_remove(struct admin_request *q);
void images_upload(struct admin_request *q, const void *data, size_t len);
void images_add(struct admin_request *q);
void images_abort(struct admin_request *q);

/* The tenant that the path names; false: refused. */
bool tenants_find(struct admin_request *q, struct registry_tenant *out);
void tenants_list(struct admin_request *q);
void tenants_add(struct admin_request *q);
void tenants_show(struct admin_request *q);
void tenants_set(struct admin_request *q);
void tenants_remove(struct admin_request *q);
void tenants_suspend(struct admin_request *q);
void tenants_resume(struct admin_request *q);
void tenants_upgrade(struct admin_request *q);

void certs_list(struct admin_request *q);
void certs_set(struct admin_request *q);

void instances_list(struct admin_request *q);
void instances_stop(struct admin_request *q);

void events_get(struct admin_request *q);
void logs_get(struct admin_request *q);

void status_get(struct admin_request *q);
void doctor_get(struct admin_request *q);
void metrics_get(struct admin_request *q);

#endif
