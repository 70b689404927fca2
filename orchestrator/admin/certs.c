/* /v1/certs and /v1/tenants/NAME/certs. */
#include "orchestrator/admin/certs.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/host/clock.h"
#include "orchestrator/admin/handlers.h"
#include "orchestrator/admin/keys.h"
#include "orchestrator/admin/list.h"
#include "orchestrator/cert_store.h"
#include "orchestrator/hostname.h"

static bool add_listed(void *arg, const struct registry_certificate *certificate)
{
    struct list *l = arg;

    l->after_id = certificate->id;
    list_add(l, object_certificate(certificate));
    return true;
}

static enum rc page(struct list *l)
{
    return registry_certificates(l->house->registry, 0, l->after_id, LIST_PAGE, add_listed, l);
}

void certs_list(struct admin_request *q)
{
    list_answer(q, page);
}

/*----- import -----*/

struct import {
    struct admin_request *request;
    certs_imported *then;
};

static void on_imported(void *arg, enum rc rc, const struct registry_certificate *facts,
                        const struct refusal *no)
{
    struct import *import = arg;
    struct admin_request *q = import->request;
    struct admin_house house = *admin_of(q); /* the request may be its last user */
    certs_imported *then = import->then;

    free(import);
    if (rc)
        admin_refuse(q, no);
    else if (!admin_refused_closed(q) && !then(q, facts))
        keys_drop(&house, facts->fingerprint, facts->key_id);
}

void certs_import(struct admin_request *q, const char *const *hosts, size_t hosts_nr,
                  certs_imported *then)
{
    char(*kept)[HOSTNAME_SIZE] = calloc(hosts_nr, sizeof *kept);
    const char *list[REGISTRY_HOSTS_MAX];
    struct import *import = calloc(1, sizeof *import);
    struct cert_request request = {
        .uid = admin_peer(q)->uid,
        .gid = admin_peer(q)->gid,
        .chain_path = admin_body(q)->text[ADMIN_MEMBER_CERT_FILE],
        .key_path = admin_body(q)->text[ADMIN_MEMBER_KEY_FILE],
        .hosts = list,
        .hosts_nr = hosts_nr,
    };
    enum rc rc = kept && import ? RC_OK : RC_NOMEM;
    struct refusal no;

    if (rc) {
        refusal_what(&no, rc, "the certificate is not taken");
        refusal_why(&no, "%s", rc_text(rc));
    }
    for (size_t i = 0; i < hosts_nr && !rc; i++) {
        rc = hostname_normalize(hosts[i], kept[i], &no);
        list[i] = kept[i];
    }
    if (!rc) {
        import->request = q;
        import->then = then;
        rc = cert_store_import(admin_of(q)->certs, &request, on_imported, import, &no);
    }
    free(kept);
    if (rc) {
        free(import);
        admin_refuse(q, &no);
    } else {
        admin_later(q);
    }
}

/*----- set -----*/

static bool on_set(struct admin_request *q, const struct registry_certificate *facts)
{
    struct admin_house *house = admin_of(q);
    struct registry_wish wish = {.cert = facts};
    struct registry_certificate shown = *facts;
    struct registry_dropped dropped = {0};
    struct registry_tenant tenant;
    struct refusal no;

    if (registry_tenant_set(house->registry, admin_name(q), &wish, clock_unix_ms(), &tenant,
                            &dropped, &no)) {
        admin_refuse(q, &no);
        return false;
    }
    keys_drop_all(house, &dropped);
    fleet_tenant_changed(house->fleet, tenant.id);
    fleet_events_changed(house->fleet);
    snprintf(shown.tenant_name, sizeof shown.tenant_name, "%s", tenant.name);
    admin_answer(q, 200, object_certificate(&shown));
    return true;
}

struct hosts {
    char kept[REGISTRY_HOSTS_MAX][HOSTNAME_SIZE];
    const char *list[REGISTRY_HOSTS_MAX];
    size_t nr;
};

static bool add_host(void *arg, const char *host)
{
    struct hosts *hosts = arg;

    snprintf(hosts->kept[hosts->nr], HOSTNAME_SIZE, "%s", host);
    hosts->list[hosts->nr] = hosts->kept[hosts->nr];
    return ++hosts->nr < REGISTRY_HOSTS_MAX;
}

void certs_set(struct admin_request *q)
{
    struct admin_house *house = admin_of(q);
    struct registry_tenant tenant;
    struct hosts hosts = {.nr = 0};
    enum rc rc;

    if (!tenants_find(q, &tenant))
        return;
    rc = registry_hosts(house->registry, tenant.id, add_host, &hosts);
    if (rc)
        admin_fail(q, rc, "cannot read the tenant's host names");
    else
        certs_import(q, hosts.list, hosts.nr, on_set);
}
