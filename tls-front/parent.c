#include "tls-front/parent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/core/check.h"
#include "common/core/secret.h"
#include "common/host/clock.h"
#include "common/host/log.h"
#include "common/host/notify.h"
#include "common/host/packet.h"
#include "common/host/signal_ignored.h"
#include "tls-front/agent/agent.h"
#include "tls-front/link.h"
#include "tls-front/listen.h"
#include "tls-front/parent_orch.h"
#include "tls-front/ticket_file.h"
#include "tls-front/worker.h"

#define MS              1000ull
#define SECOND          (1000 * MS)
#define RETRY_MIN_MS    50
#define RETRY_MAX_MS    5000
#define MESSAGES_A_TURN 16 /* of one child: then others have theirs */

/* A worker, or the key agent.  Times are clock_us(); 0: nothing to do then. */
struct child {
    pid_t pid;                      /* 0: not running */
    int link;                       /* -1 when not running */
    int listen[OPTIONS_LISTEN_MAX]; /* a worker's */
    bool listening;                 /* it has said that it serves */
    uint64_t started, restart_at;
    unsigned retry_ms;
    struct parent_orch orch;
};

struct parent {
    struct options o;
    struct child child[OPTIONS_WORKERS_MAX];
    struct child agent;
    int http, acme, signals;
    struct ticket_secrets secrets;
    uint64_t step_at, stop_at;
    bool ready, stopping;
};

static void send_link(struct child *c, const struct link_msg *m, int fd)
{
    if (c->link < 0)
        return;
    /* A child that cannot be told is dying, or will be as it does not read. */
    if (packet_write(c->link, m, sizeof *m, &fd, fd >= 0 ? 1 : 0) != RC_OK && c->pid > 0)
        kill(c->pid, SIGKILL);
}

static void tell(struct child *c, uint32_t type, int fd)
{
    struct link_msg m = {.type = type};

    send_link(c, &m, fd);
}

static void tell_secrets(struct parent *p)
{
    struct link_msg m = {.type = LINK_SECRETS, .secrets = p->secrets};

    for (unsigned i = 0; i < p->o.workers; i++)
        send_link(&p->child[i], &m, -1);
    secret_wipe(&m, sizeof m);
}

static const char *name_of(const struct parent *p, const struct child *c)
{
    static char name[32];

    if (c == &p->agent)
        return "the key agent";
    snprintf(name, sizeof name, "worker %u", (unsigned)(c - p->child));
    return name;
}

/*----- children -----*/

static void become_worker(struct parent *p, unsigned index, int link)
{
    struct worker_start start = {.options = &p->o,
                                 .index = index,
                                 .http = p->http,
                                 .acme = p->acme,
                                 .parent = link,
                                 .secrets = p->secrets};

    for (unsigned i = 0; i < p->o.workers; i++) {
        if (p->child[i].link >= 0)
            close(p->child[i].link);
        for (size_t k = 0; i != index && k < p->o.listens; k++)
            close(p->child[i].listen[k]);
    }
    if (p->agent.link >= 0)
        close(p->agent.link);
    memcpy(start.listen, p->child[index].listen, sizeof start.listen);
    close(p->signals);
    secret_wipe(&p->secrets, sizeof p->secrets);
    if (index != 0 && p->http >= 0) { /* the first one serves plain HTTP */
        close(p->http);
        start.http = -1;
    }
    worker_run(&start);
}

/* Of all that the parent has open it keeps its link and the log. */
static void become_agent(struct parent *p, int link)
{
    struct agent_start start = {.options = &p->o, .parent = STDERR_FILENO + 1};

    secret_wipe(&p->secrets, sizeof p->secrets);
    if (link != start.parent)
        dup3(link, start.parent, O_CLOEXEC);
    close_range((unsigned)start.parent + 1, ~0u, 0);
    agent_run(&start);
}

/* A socket between the two, when both are there. */
static void join(struct parent *p, unsigned index)
{
    struct link_msg m = {.type = LINK_WORKER, .worker = index};
    int pair[2];

    if (p->agent.link < 0 || p->child[index].link < 0)
        return;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
        /* Without one it is of no use. */
        log_error("worker %u cannot be joined to the key agent: %s", index, strerror(errno));
        kill(p->child[index].pid, SIGKILL);
        return;
    }
    send_link(&p->agent, &m, pair[0]);
    tell(&p->child[index], LINK_AGENT, pair[1]);
    close(pair[0]);
    close(pair[1]);
}

static enum rc fork_child(struct parent *p, struct child *c)
{
    pid_t self = getpid();
    int pair[2];

    c->started = clock_us();
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
        return RC_IO;
    c->pid = fork();
    if (c->pid == 0) {
        close(pair[0]);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != self) /* it died before that was said */
            _exit(1);
        if (c == &p->agent)
            become_agent(p, pair[1]);
        else
            become_worker(p, (unsigned)(c - p->child), pair[1]);
    }
    close(pair[1]);
    if (c->pid < 0) {
        close(pair[0]);
        c->pid = 0;
        return RC_IO;
    }
    c->link = pair[0];
    return RC_OK;
}

static void start_child(struct parent *p, struct child *c)
{
    c->restart_at = 0;
    if (fork_child(p, c)) {
        log_error("cannot start %s: %s", name_of(p, c), strerror(errno));
        c->restart_at = clock_us() + RETRY_MAX_MS * MS;
        return;
    }
    for (unsigned i = 0; i < p->o.workers; i++)
        if (c == &p->agent || c == &p->child[i])
            join(p, i);
}

static void child_gone(struct parent *p, struct child *c, int status)
{
    if (c->link >= 0)
        close(c->link);
    c->link = -1;
    c->pid = 0;
    c->listening = false;
    c->orch = (struct parent_orch){0};
    if (p->stopping)
        return;
    /* One that lived for long starts again almost at once. */
    if (clock_us() - c->started > MS * 2 * RETRY_MAX_MS || c->retry_ms == 0)
        c->retry_ms = RETRY_MIN_MS;
    else if (c->retry_ms < RETRY_MAX_MS)
        c->retry_ms *= 2;
    c->restart_at = clock_us() + c->retry_ms * MS;
    if (WIFSIGNALED(status))
        log_error("%s was ended by signal %d (%s); starting it again in %u ms", name_of(p, c),
                  WTERMSIG(status), strsignal(WTERMSIG(status)), c->retry_ms);
    else
        log_error("%s ended with status %d; starting it again in %u ms", name_of(p, c),
                  WEXITSTATUS(status), c->retry_ms);
}

static void reap(struct parent *p)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (p->agent.pid == pid)
            child_gone(p, &p->agent, status);
        for (unsigned i = 0; i < p->o.workers; i++)
            if (p->child[i].pid == pid)
                child_gone(p, &p->child[i], status);
    }
}

/*----- what children say -----*/

static void connect_orch(struct parent *p, struct child *c)
{
    int worker = c == &p->agent ? PARENT_ORCH_AGENT : (int)(c - p->child);
    int fd = parent_orch_connect(&c->orch, p->o.run, worker, c->pid);

    if (fd >= 0) {
        tell(c, LINK_ORCH, fd);
        close(fd);
    }
}

static void say_ready(struct parent *p)
{
    char text[LISTEN_TEXT], all[OPTIONS_LISTEN_MAX * (LISTEN_TEXT + 2)] = "";

    for (unsigned i = 0; i < p->o.workers; i++)
        if (!p->child[i].listening || !p->agent.listening)
            return;
    for (size_t i = 0; i < p->o.listens; i++) {
        listen_text(&p->o.listen[i].addr, text);
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", text);
    }
    p->ready = true;
    if (p->o.has_http) {
        listen_text(&p->o.http.addr, text);
        log_info("ready on %s, %u workers, plain HTTP on %s", all, p->o.workers, text);
    } else {
        log_info("ready on %s, %u workers", all, p->o.workers);
    }
    notify_send("READY=1");
}

/* The agent has met a worker that somebody must have broken into. */
static void end_misfit(struct parent *p, unsigned index)
{
    if (index >= p->o.workers || p->child[index].pid <= 0)
        return;
    log_error("worker %u is ended: it asked the key agent for what no worker asks for", index);
    kill(p->child[index].pid, SIGKILL);
}

/* It ends, or has ended its side, or must have been broken into: a link without a peer would be
 * ready all the time.  One that drains ends in its own time. */
static void drop_link(struct parent *p, struct child *c)
{
    close(c->link);
    c->link = -1;
    c->orch = (struct parent_orch){0}; /* nobody is there to pass a socket on to */
    if (!p->stopping)
        kill(c->pid, SIGKILL);
}

static void from_child(struct parent *p, struct child *c)
{
    struct link_msg m;
    int fds[PACKET_FDS_MAX];
    size_t len, nfds;

    for (int n = 0; n < MESSAGES_A_TURN && c->link >= 0; n++) {
        enum rc rc = packet_read(c->link, &m, sizeof m, &len, fds, &nfds);

        if (rc == RC_AGAIN)
            return;
        for (size_t i = 0; !rc && i < nfds; i++)
            close(fds[i]);
        if (rc || len != sizeof m) {
            drop_link(p, c);
            return;
        }
        if (m.type == LINK_LISTENING) {
            c->listening = true;
            if (!p->ready)
                say_ready(p);
        } else if (m.type == LINK_MISFIT && c == &p->agent) {
            end_misfit(p, m.worker);
        } else if (m.type == LINK_WANT_ORCH && !p->stopping) {
            parent_orch_want(&c->orch);
        }
    }
}

/*----- the loop -----*/

static void stop(struct parent *p)
{
    if (p->stopping)
        return;
    p->stopping = true;
    /* Workers end by themselves; this is for one that hangs. */
    p->stop_at = clock_us() + (p->o.drain + 2) * SECOND;
    notify_send("STOPPING=1");
    p->agent.restart_at = 0;
    for (unsigned i = 0; i < p->o.workers; i++) {
        p->child[i].restart_at = 0;
        tell(&p->child[i], LINK_DRAIN, -1);
        for (size_t k = 0; k < p->o.listens; k++)
            close(p->child[i].listen[k]);
    }
}

static void on_signal(struct parent *p)
{
    struct signalfd_siginfo s;

    while (read(p->signals, &s, sizeof s) == sizeof s) {
        if (s.ssi_signo == SIGCHLD)
            reap(p);
        else
            stop(p);
    }
}

/* When there is something to do for this child; at most `next`. */
static uint64_t on_child_time(struct parent *p, struct child *c, uint64_t now, uint64_t next)
{
    if (c->restart_at && now >= c->restart_at)
        start_child(p, c);
    if (c->orch.at && now >= c->orch.at)
        connect_orch(p, c);
    if (c->restart_at && c->restart_at < next)
        next = c->restart_at;
    if (c->orch.at && c->orch.at < next)
        next = c->orch.at;
    if (p->stopping && now >= p->stop_at && c->pid > 0)
        kill(c->pid, SIGKILL);
    return next;
}

/* The secret in it may be of a period that is over. */
static void drop_ticket_file(const struct parent *p)
{
    unlink(p->o.tickets);
    log_warning("after a restart, tickets of this period will not be taken");
}

static uint64_t on_time(struct parent *p)
{
    uint64_t now = clock_us(), next = p->step_at;

    if (now >= p->step_at) {
        ticket_secrets_step(&p->secrets);
        tell_secrets(p);
        next = p->step_at = now + p->o.ticket_period * SECOND;
        if (p->o.tickets && ticket_file_save(p->o.tickets, &p->secrets, p->step_at))
            drop_ticket_file(p);
    }
    next = on_child_time(p, &p->agent, now, next);
    for (unsigned i = 0; i < p->o.workers; i++)
        next = on_child_time(p, &p->child[i], now, next);
    if (p->stopping)
        next = p->stop_at > now ? p->stop_at : now + SECOND;
    return next > now ? next - now : 0;
}

static bool any_worker(const struct parent *p)
{
    for (unsigned i = 0; i < p->o.workers; i++)
        if (p->child[i].pid > 0)
            return true;
    return false;
}

static void serve(struct parent *p)
{
    struct pollfd fds[OPTIONS_WORKERS_MAX + 2];

    while (!p->stopping || any_worker(p)) {
        uint64_t wait_ms = on_time(p) / MS + 1;

        fds[0] = (struct pollfd){.fd = p->signals, .events = POLLIN};
        fds[1] = (struct pollfd){.fd = p->agent.link, .events = POLLIN};
        for (unsigned i = 0; i < p->o.workers; i++)
            fds[i + 2] = (struct pollfd){.fd = p->child[i].link, .events = POLLIN};
        if (poll(fds, p->o.workers + 2, wait_ms > 3600000 ? 3600000 : (int)wait_ms) < 0)
            CHECK(errno == EINTR);
        if (fds[1].revents & POLLIN)
            from_child(p, &p->agent);
        for (unsigned i = 0; i < p->o.workers; i++)
            if (fds[i + 2].revents & POLLIN)
                from_child(p, &p->child[i]);
        /* After the links: what a worker said before its death was heard. */
        on_signal(p);
    }
}

static enum rc open_all(struct parent *p)
{
    sigset_t mask;

    for (size_t k = 0; k < p->o.listens; k++)
        if (listen_bind(&p->o.listen[k], p->o.workers, &p->child[0].listen[k],
                        sizeof(struct child) / sizeof(int)))
            return RC_IO;
    if (p->o.has_http && listen_bind(&p->o.http, 1, &p->http, 1))
        return RC_IO;
    if (p->o.acme_dir) {
        p->acme = open(p->o.acme_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (p->acme < 0) {
            log_error("--acme-dir %s: %s", p->o.acme_dir, strerror(errno));
            return RC_IO;
        }
    }
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    if (!signal_ignored(SIGHUP))
        sigaddset(&mask, SIGHUP);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    signal(SIGPIPE, SIG_IGN);
    p->signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (p->signals < 0) {
        log_error("signalfd: %s", strerror(errno));
        return RC_IO;
    }
    return RC_OK;
}

/* It has the secret of all tickets: no core dump of it, whatever the limits were. */
static enum rc refuse_core_dumps(void)
{
    if (setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) == 0 && prctl(PR_SET_DUMPABLE, 0) == 0)
        return RC_OK;
    log_error("core dumps cannot be turned off: %s", strerror(errno));
    return RC_IO;
}

static enum rc open_tickets(struct parent *p)
{
    enum rc rc = RC_NOT_FOUND;

    /* A file that nobody else may have is a mistake in the options, and said at once; a disk that
     * fails costs customers full handshakes, and not the service. */
    if (p->o.tickets)
        rc = ticket_file_load(p->o.tickets, p->o.ticket_period, &p->secrets, &p->step_at);
    if (rc == RC_NOT_FOUND || rc == RC_IO) {
        ticket_secrets_init(&p->secrets);
        p->step_at = clock_us() + p->o.ticket_period * SECOND;
        rc = RC_OK;
    }
    if (!rc && p->o.tickets)
        rc = ticket_file_save(p->o.tickets, &p->secrets, p->step_at);
    if (rc == RC_IO) {
        drop_ticket_file(p);
        rc = RC_OK;
    }
    return rc;
}

int parent_run(const struct options *o)
{
    static struct parent p; /* large, and one of it */

    _Static_assert(sizeof(struct child) % sizeof(int) == 0, "the stride of listen_bind()");
    p.o = *o;
    p.http = p.acme = p.agent.link = -1;
    for (unsigned i = 0; i < p.o.workers; i++)
        p.child[i].link = -1;
    if (refuse_core_dumps() || open_all(&p))
        return 1;

    if (open_tickets(&p))
        return 1;
    start_child(&p, &p.agent);
    for (unsigned i = 0; i < p.o.workers; i++)
        start_child(&p, &p.child[i]);
    serve(&p);
    secret_wipe(&p.secrets, sizeof p.secrets);
    if (p.agent.pid > 0) { /* nobody is left to sign for */
        kill(p.agent.pid, SIGKILL);
        waitpid(p.agent.pid, NULL, 0);
    }
    return 0;
}
