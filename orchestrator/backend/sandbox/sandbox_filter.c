#include "orchestrator/backend/sandbox/sandbox_filter.h"

#include <fcntl.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/core/image_calls.h"
#include "orchestrator/backend/sandbox/sandbox_child.h"

#define ARGUMENTS_MAX 6

static const struct {
    int number, argument;
    uint64_t mask, value;
} rules[] = {
#define X(name, argument, mask, value, why) {IMAGE_CALL_##name, argument, mask, value},
    IMAGE_CALL_RULE_MAP(X)
#undef X
};

static const int allowed[] = {
#define X(name, number, why) number,
    IMAGE_CALL_MAP(X)
#undef X
};

static const struct {
    int number;
    uint16_t error;
} refused[] = {
#define X(name, number, error, why) {number, error},
    IMAGE_CALL_REFUSED_MAP(X)
#undef X
};

static int add_allowed(scmp_filter_ctx ctx, int number)
{
    struct scmp_arg_cmp args[ARGUMENTS_MAX];
    unsigned n = 0;

    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (rules[i].number == number)
            args[n++] = SCMP_CMP64((unsigned)rules[i].argument, SCMP_CMP_MASKED_EQ, rules[i].mask,
                                   rules[i].value);
    return seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, number, n, args);
}

/* Works once: afterwards the descriptor is closed for good and the root is empty. */
static int add_start(scmp_filter_ctx ctx)
{
    return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(execveat), 3,
                            SCMP_A0_64(SCMP_CMP_EQ, (scmp_datum_t)SANDBOX_IMAGE_FD, 0),
                            SCMP_A1_64(SCMP_CMP_EQ, (scmp_datum_t)(uintptr_t)sandbox_child_path, 0),
                            SCMP_A4_64(SCMP_CMP_EQ, AT_EMPTY_PATH, 0));
}

static enum rc export_program(scmp_filter_ctx ctx, struct sock_fprog *out)
{
    int fd = memfd_create("filter", MFD_CLOEXEC);
    struct stat st;
    void *p = NULL;

    if (fd < 0)
        return RC_IO;
    if (seccomp_export_bpf(ctx, fd) == 0 && fstat(fd, &st) == 0 && st.st_size > 0 &&
        (size_t)st.st_size <= BPF_MAXINSNS * sizeof(struct sock_filter)) {
        p = malloc((size_t)st.st_size);
        if (p && pread(fd, p, (size_t)st.st_size, 0) != st.st_size) {
            free(p);
            p = NULL;
        }
    }
    close(fd);
    if (!p)
        return RC_FAILED;
    out->filter = p;
    out->len = (unsigned short)((size_t)st.st_size / sizeof(struct sock_filter));
    return RC_OK;
}

enum rc sandbox_filter_init(struct sandbox_filter *f)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
    enum rc rc = RC_FAILED;

    *f = (struct sandbox_filter){0};
    if (!ctx)
        return RC_NOMEM;
    if (seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) ||
        seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2))
        goto out;
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
        if (add_allowed(ctx, allowed[i]))
            goto out;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        if (seccomp_rule_add(ctx, SCMP_ACT_ERRNO(refused[i].error), refused[i].number, 0))
            goto out;
    if (add_start(ctx))
        goto out;
    rc = export_program(ctx, &f->program);
out:
    seccomp_release(ctx);
    return rc;
}

void sandbox_filter_dispose(struct sandbox_filter *f)
{
    free(f->program.filter);
    *f = (struct sandbox_filter){0};
}
