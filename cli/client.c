#include "cli/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/json.h"
#include "cli/say.h"
#include "cli/text.h"

#define ANSWER_MAX (64u << 20) /* of a daemon gone wild */

struct buffer {
    char *p; /* owned, NUL-terminated once anything came */
    size_t len;
};

/* One request in flight. */
struct exchange {
    CURL *curl;
    struct curl_slist *headers;
    char socket[CLIENT_PATH_MAX];
    struct buffer answer;
    void (*line)(void *arg, const char *text); /* stream, or NULL */
    void *arg;
    const char *waiting; /* progress text, or NULL */
    time_t started;
    bool shown; /* a progress line is on the screen */
};

void client_path(char out[CLIENT_PATH_MAX], const char *template, const char *name)
{
    char *escaped = curl_easy_escape(NULL, name, 0);

    snprintf(out, CLIENT_PATH_MAX, template, escaped ? escaped : "");
    curl_free(escaped);
}

static bool append(struct buffer *b, const char *data, size_t n)
{
    char *p;

    if (n > ANSWER_MAX - b->len || !(p = realloc(b->p, b->len + n + 1)))
        return false;
    memcpy(p + b->len, data, n);
    b->p = p;
    b->len += n;
    p[b->len] = '\0';
    return true;
}

/* Hands out the whole lines that are there; keeps the rest. */
static void hand_out_lines(struct exchange *x)
{
    struct buffer *b = &x->answer;
    char *start = b->p, *end;

    while ((end = memchr(start, '\n', b->len - (size_t)(start - b->p)))) {
        *end = '\0';
        x->line(x->arg, start);
        start = end + 1;
    }
    b->len -= (size_t)(start - b->p);
    memmove(b->p, start, b->len + 1);
}

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
    struct exchange *x = arg;
    long status = 0;

    if (!append(&x->answer, data, size * n))
        return 0;
    curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &status);
    if (x->line && status == 200)
        hand_out_lines(x);
    return size * n;
}

static int on_progress(void *arg, curl_off_t dtotal, curl_off_t dnow, curl_off_t utotal,
                       curl_off_t unow)
{
    struct exchange *x = arg;
    char text[TEXT_SIZE];

    (void)dtotal;
    (void)dnow;
    if (time(NULL) <= x->started)
        return 0;
    if (utotal > 0 && unow < utotal)
        fprintf(stderr, "\r%s %3d%%\033[K", x->waiting, (int)(unow * 100 / utotal));
    else
        fprintf(stderr, "\r%s %s\033[K", x->waiting,
                text_duration((int64_t)(time(NULL) - x->started) * 1000, text));
    x->shown = true;
    return 0;
}

static int begin(struct exchange *x, const char *run, const char *method, const char *path)
{
    char url[CLIENT_PATH_MAX + 32];

    if (snprintf(x->socket, sizeof x->socket, "%s/admin.sock", run) >=
        (int)sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return say_failed("%s/admin.sock is too long for a socket's path; choose a shorter --run",
                          run);
    snprintf(url, sizeof url, "http://roomkey%s", path);
    x->curl = curl_easy_init();
    if (!x->curl)
        return say_failed("out of memory");
    x->started = time(NULL);
    curl_easy_setopt(x->curl, CURLOPT_UNIX_SOCKET_PATH, x->socket);
    curl_easy_setopt(x->curl, CURLOPT_URL, url);
    curl_easy_setopt(x->curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(x->curl, CURLOPT_PROXY, ""); /* an http_proxy of the shell is not meant */
    curl_easy_setopt(x->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(x->curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(x->curl, CURLOPT_WRITEDATA, x);
    if (x->waiting && isatty(STDERR_FILENO)) {
        curl_easy_setopt(x->curl, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(x->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(x->curl, CURLOPT_XFERINFODATA, x);
    }
    return STATUS_OK;
}

static void end(struct exchange *x)
{
    if (x->curl)
        curl_easy_cleanup(x->curl);
    curl_slist_free_all(x->headers);
    free(x->answer.p);
}

static int say_unreachable(const struct exchange *x, CURLcode code)
{
    long err = 0;

    curl_easy_getinfo(x->curl, CURLINFO_OS_ERRNO, &err);
    if (code != CURLE_COULDNT_CONNECT)
        return say_failed("the connection to roomkeyd at %s broke: %s; look at its log", x->socket,
                          curl_easy_strerror(code));
    if (err == EACCES || err == EPERM)
        return say_failed("may not use %s: %s; run as root or join the group roomkey", x->socket,
                          strerror((int)err));
    return say_failed("roomkeyd does not answer at %s: %s; start it (systemctl start roomkeyd, or "
                      "roomkeyd --state DIR --run DIR) or name its folder with --run",
                      x->socket, err ? strerror((int)err) : "cannot connect");
}

/* Does it; STATUS_OK only for a 2xx, whose body is in x->answer. */
static int perform(struct exchange *x)
{
    CURLcode code = curl_easy_perform(x->curl);
    long status = 0;

    if (x->shown)
        fputs("\r\033[K", stderr);
    if (code != CURLE_OK)
        return say_unreachable(x, code);
    curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 200 && status < 300)
        return STATUS_OK;
    json_t *refusal = x->answer.p ? json_loads(x->answer.p, 0, NULL) : NULL;
    const char *why = json_text(refusal, "error");
    int rc = *why ? say_failed("%s", why)
                  : say_failed("roomkeyd at %s answered with status %ld and no reason; are both of "
                               "the same version?",
                               x->socket, status);
    json_decref(refusal);
    return rc;
}

static int read_answer(struct exchange *x, json_t **out)
{
    *out = x->answer.p ? json_loads(x->answer.p, JSON_REJECT_DUPLICATES, NULL) : NULL;
    return *out ? STATUS_OK
                : say_failed("what roomkeyd at %s answered is not JSON; are both of the same "
                             "version?",
                             x->socket);
}

int client_call(const char *run, const char *method, const char *path, json_t *body,
                const char *waiting, json_t **out)
{
    struct exchange x = {.waiting = waiting};
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    int rc = begin(&x, run, method, path);

    if (rc)
        goto out;
    if (text) {
        x.headers = curl_slist_append(NULL, "Content-Type: application/json");
        curl_easy_setopt(x.curl, CURLOPT_HTTPHEADER, x.headers);
        curl_easy_setopt(x.curl, CURLOPT_POSTFIELDS, text);
    }
    rc = perform(&x);
    if (!rc)
        rc = read_answer(&x, out);
out:
    end(&x);
    free(text);
    json_decref(body);
    return rc;
}

static int unreadable(const char *file, int err)
{
    return say_failed("cannot read %s: %s", file, strerror(err));
}

int client_upload(const char *run, const char *path, const char *file, json_t **out)
{
    struct exchange x = {.waiting = "sending"};
    struct stat st;
    FILE *f = fopen(file, "re");
    int rc;

    if (!f)
        return unreadable(file, errno);
    if (fstat(fileno(f), &st) != 0 || !S_ISREG(st.st_mode)) {
        fclose(f);
        return say_failed("%s is not a regular file", file);
    }
    rc = begin(&x, run, "PUT", path);
    if (rc)
        goto out;
    curl_easy_setopt(x.curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(x.curl, CURLOPT_READDATA, f);
    curl_easy_setopt(x.curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)st.st_size);
    rc = perform(&x);
    if (!rc)
        rc = read_answer(&x, out);
out:
    end(&x);
    fclose(f);
    return rc;
}

int client_stream(const char *run, const char *path, void (*line)(void *arg, const char *text),
                  void *arg)
{
    struct exchange x = {.line = line, .arg = arg};
    int rc = begin(&x, run, "GET", path);

    if (!rc)
        rc = perform(&x);
    if (!rc && x.answer.len) /* a last line without newline */
        line(arg, x.answer.p);
    end(&x);
    return rc;
}

json_t *client_try(const char *run, const char *path)
{
    struct exchange x = {0};
    json_t *out = NULL;
    long status = 0;

    if (strlen(run) + sizeof "/admin.sock" > sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return NULL;
    if (begin(&x, run, "GET", path) == STATUS_OK && curl_easy_perform(x.curl) == CURLE_OK &&
        !curl_easy_getinfo(x.curl, CURLINFO_RESPONSE_CODE, &status) && status == 200 && x.answer.p)
        out = json_loads(x.answer.p, JSON_REJECT_DUPLICATES, NULL);
    end(&x);
    return out;
}
