/* What cert_store.c and cert_import.c share; everybody else includes cert_store.h. */
#ifndef ORCHESTRATOR_CERT_STORE_PRIVATE_H
#define ORCHESTRATOR_CERT_STORE_PRIVATE_H

#include "orchestrator/cert_store.h"

#define CERT_STORE_TEMP     ".import-" /* how temporary files begin */
#define CERT_STORE_PEM_SIZE 80         /* of a file's name in either folder */

struct cert_import;

struct cert_store {
    uv_loop_t *loop;
    int certs, keys; /* folders */
    char *helper;
    unsigned long serial;        /* of temporary files */
    struct cert_import *imports; /* under way */
    void (*key_gone)(void *arg, const char *key_id);
    void *key_gone_arg;
};

/* The file of this hash. */
void cert_store_pem(char out[CERT_STORE_PEM_SIZE], const char *hash);

#endif
