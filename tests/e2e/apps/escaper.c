/* A tenant that wants out of its box, or to be the ruin of the house from inside of it.
 *
 *   GET /version       its version: so far it is honest
 *   GET /call/NUMBER   that system call, with zeros
 *   GET /code          memory that can be written and executed
 *   GET /eat           all memory that it gets, touched; how many KiB
 *   GET /recurse       a stack without end
 *   GET /print         lines on its console without end
 *   GET /abort         abort() */
#include <roomkey/app.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static unsigned recurse(unsigned left, volatile char *above)
{
    volatile char frame[1024];

    frame[0] = above ? above[0] : 1;
    return left ? recurse(left - 1, frame) + (unsigned)frame[0] : 0;
}

static unsigned eat(void)
{
    unsigned kib = 0;

    for (;;) {
        char *p = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED)
            return kib;
        for (size_t i = 0; i < 1 << 16; i += 4096)
            p[i] = 1;
        kib += 64;
    }
}

static void print(void)
{
    char line[200];

    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\n';
    for (;;)
        if (write(STDOUT_FILENO, line, sizeof line) < 0)
            continue; /* it is full: try again, and again */
}

static void serve(struct rk_request *req)
{
    const char *path = rk_path(req);
    long number;

    if (sscanf(path, "/call/%ld", &number) == 1)
        rk_replyf(req, 200, "text/plain", "%ld\n", syscall(number, 0, 0, 0, 0, 0, 0));
    else if (strcmp(path, "/code") == 0)
        rk_replyf(req, 200, "text/plain", "%p\n",
                  mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
                       -1, 0));
    else if (strcmp(path, "/eat") == 0)
        rk_replyf(req, 200, "text/plain", "%u\n", eat());
    else if (strcmp(path, "/recurse") == 0)
        rk_replyf(req, 200, "text/plain", "%u\n", recurse(1u << 30, NULL));
    else if (strcmp(path, "/print") == 0)
        print();
    else if (strcmp(path, "/abort") == 0)
        abort();
    else
        rk_replyf(req, 200, "text/plain", "%s\n", rk_version());
}

ROOMKEY_APP(ROOMKEY_IMAGE_NAME, ROOMKEY_IMAGE_VERSION, .on_request = serve);
