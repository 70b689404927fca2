/* doctor asks the daemon; without one it has roomkeyd look by itself:
 * `roomkeyd --doctor` prints what /v1/doctor answers. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/command.h"
#include "cli/json.h"
#include "cli/say.h"
#include "cli/show.h"
#include "cli/table.h"

extern char **environ;

/* roomkeyd beside this program. */
static int find_daemon(char out[PATH_MAX])
{
    char self[PATH_MAX - sizeof "/roomkeyd"];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    if (n < 0)
        return say_failed("cannot tell where this program is: %s", strerror(errno));
    self[n] = '\0';
    snprintf(out, PATH_MAX, "%s/roomkeyd", dirname(self));
    return STATUS_OK;
}

static int start(const char *daemon, const char *run, int out_fd, pid_t *pid)
{
    char *argv[] = {"roomkeyd", "--doctor", "--run", (char *)(uintptr_t)run, NULL};
    posix_spawn_file_actions_t actions;
    int err = posix_spawn_file_actions_init(&actions);

    if (err == 0) {
        err = posix_spawn_file_actions_adddup2(&actions, out_fd, STDOUT_FILENO);
        if (err == 0)
            err = posix_spawn(pid, daemon, &actions, NULL, argv, environ);
        posix_spawn_file_actions_destroy(&actions);
    }
    return err == 0 ? STATUS_OK : say_failed("cannot run %s: %s", daemon, strerror(err));
}

static int ask_alone(const char *run, json_t **out)
{
    char daemon[PATH_MAX];
    int fds[2], status;
    pid_t pid = -1;
    int rc = find_daemon(daemon);

    if (rc)
        return rc;
    if (pipe2(fds, O_CLOEXEC) != 0)
        return say_failed("cannot make a pipe: %s", strerror(errno));
    rc = start(daemon, run, fds[1], &pid);
    close(fds[1]);
    if (!rc) {
        FILE *f = fdopen(fds[0], "r");

        *out = f ? json_loadf(f, JSON_REJECT_DUPLICATES, NULL) : NULL;
        if (f)
            fclose(f);
        waitpid(pid, &status, 0);
        return *out ? STATUS_OK : say_failed("%s --doctor gave no answer", daemon);
    }
    close(fds[0]);
    return rc;
}

static int doctor(struct call *c)
{
    json_t *checks = client_try(c->run, "/v1/doctor"), *check;
    bool faults = false;
    struct table t;
    size_t i;

    if (!checks) {
        int rc = ask_alone(c->run, &checks);

        if (rc)
            return rc;
    }
    table_init(&t, "", "CHECK|RESULT|WHAT");
    json_array_foreach(checks, i, check)
    {
        const char *level = json_text(check, "level");

        faults |= strcmp(level, "fault") == 0;
        table_add(&t, "%s", json_text(check, "check"));
        table_add(&t, "%s", level);
        table_add(&t, "%s", json_text(check, "text"));
    }
    if (show_json(c, checks))
        table_free(&t);
    else
        table_print(&t);
    json_decref(checks);
    return faults ? say_failed("this host has faults that keep Roomkey from working; mend what is "
                               "marked fault above")
                  : STATUS_OK;
}

const struct command doctor_commands[] = {
    {"", {NULL}, "check this host; works without a daemon as well", NULL, doctor},
    {NULL, {NULL}, NULL, NULL, NULL},
};
