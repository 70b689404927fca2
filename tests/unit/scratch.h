/* A temporary folder for one test, gone with all that is in it at the end. */
#ifndef TESTS_SCRATCH_H
#define TESTS_SCRATCH_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

struct scratch {
    char dir[64];
};

/* Runs a shell command in the folder; its exit status.  Quiet unless it fails. */
static inline int scratch_sh(const struct scratch *s, const char *fmt, ...)
{
    char command[4096];
    int n = snprintf(command, sizeof command, "cd '%s' && ( ", s->dir);
    va_list args;
    int status;

    va_start(args, fmt);
    n += vsnprintf(command + n, sizeof command - (size_t)n, fmt, args);
    va_end(args);
    assert_true((size_t)n + 32 < sizeof command);
    strcat(command, " ) >sh.log 2>&1");
    status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline void scratch_make(struct scratch *s)
{
    strcpy(s->dir, "/tmp/roomkey-test-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
}

static inline int scratch_drop(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

/* Without a shell: fuzz targets do this for each input. */
static inline void scratch_remove(struct scratch *s)
{
    assert_int_equal(nftw(s->dir, scratch_drop, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* The text a shell command prints, without its last newline. */
static inline void scratch_out(const struct scratch *s, char *out, size_t size, const char *command)
{
    char line[4096];
    FILE *p;
    size_t n;

    snprintf(line, sizeof line, "cd '%s' && %s", s->dir, command);
    p = popen(line, "r");
    assert_non_null(p);
    n = fread(out, 1, size - 1, p);
    assert_int_equal(pclose(p), 0);
    out[n] = '\0';
    if (n && out[n - 1] == '\n')
        out[n - 1] = '\0';
}

#endif
