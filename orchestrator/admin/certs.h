/* Taking a certificate in: its files become the store's, then somebody puts its row in. */
#ifndef ORCHESTRATOR_ADMIN_CERTS_H
#define ORCHESTRATOR_ADMIN_CERTS_H

#include "orchestrator/admin/request.h"
#include "orchestrator/registry.h"

/* Answers `q`.  Called when the files are in the store; true: the row is in the registry. */
typedef bool certs_imported(struct admin_request *q, const struct registry_certificate *facts);

/* Imports what the request's body names (cert_file and key_file, or self-signed without) for
 * these hosts, as the asking user; refuses by itself what cannot be. */
void certs_import(struct admin_request *q, const char *const *hosts, size_t hosts_nr,
                  certs_imported *then);

#endif
