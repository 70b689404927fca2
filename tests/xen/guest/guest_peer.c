/* The other end of a tenant's channel by the book: an ordinary client of libxenvchan, which knows
 * nothing of Roomkey but where the channel is.
 *
 *   guest_peer frames DOMID CHANNEL COUNT [HEX]   sends bytes, then prints COUNT frames of mux.md
 * as TYPE and payload in hex, and leaves guest_peer echo DOMID CHANNEL KIB             sends so
 * much, and wants the same back guest_peer cpu DOMID                          its processor time in
 * us CHANNEL is `control` or a number.  Exits 1 with a line when something is not so within a
 * minute. */
#include <xenctrl.h> /* first: it says whom the other headers of Xen are for */

#include <errno.h>
#include <libxenvchan.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/core/launch.h"
#include "common/core/mux.h"
#include "common/core/wire.h"

#define DEADLINE_S 60
#define CHUNK      3000

static struct timespec deadline;

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static int left_ms(void)
{
    struct timespec now;
    long ms;

    clock_gettime(CLOCK_MONOTONIC, &now);
    ms = (deadline.tv_sec - now.tv_sec) * 1000 + (deadline.tv_nsec - now.tv_nsec) / 1000000;
    return ms > 0 ? (int)ms : 0;
}

/*----- the channel -----*/

static struct libxenvchan *channel_connect(int domid, const char *name)
{
    xentoollog_logger *log =
        (xentoollog_logger *)xtl_createlogger_stdiostream(stderr, XTL_ERROR, 0);
    struct libxenvchan *channel;
    char path[128];

    snprintf(path, sizeof path, "/local/domain/%d/" LAUNCH_NODE_CHANNELS "/%s", domid, name);
    channel = libxenvchan_client_init(log, domid, path);
    if (!channel)
        fail("no channel at %s: %s", path, strerror(errno));
    channel->blocking = 0;
    return channel;
}

static void channel_wait(struct libxenvchan *channel)
{
    struct pollfd doorbell = {.fd = libxenvchan_fd_for_select(channel), .events = POLLIN};

    if (poll(&doorbell, 1, left_ms()) != 1)
        fail("the domain does not ring");
    libxenvchan_wait(channel);
}

static size_t channel_read(struct libxenvchan *channel, void *buf, size_t size)
{
    int n = libxenvchan_read(channel, buf, size);

    if (n < 0 || (n == 0 && libxenvchan_is_open(channel) != 1))
        fail("the domain has left the channel");
    return (size_t)n;
}

static size_t channel_write(struct libxenvchan *channel, const void *buf, size_t size)
{
    int n = libxenvchan_write(channel, buf, size);

    if (n < 0)
        fail("the domain does not take what is sent");
    return (size_t)n;
}

static void read_all(struct libxenvchan *channel, uint8_t *buf, size_t size)
{
    size_t have = 0;

    while (have < size) {
        size_t n = channel_read(channel, buf + have, size - have);

        if (n == 0)
            channel_wait(channel);
        have += n;
    }
}

/*----- frames -----*/

static void send_hex(struct libxenvchan *channel, const char *hex)
{
    uint8_t bytes[CHUNK];
    size_t n = strlen(hex) / 2;

    for (size_t i = 0; i < n && n <= sizeof bytes; i++)
        if (sscanf(hex + 2 * i, "%2hhx", &bytes[i]) != 1)
            fail("no hex: %s", hex);
    if (channel_write(channel, bytes, n) != n)
        fail("no room for %zu bytes", n);
}

static void show_frame(struct libxenvchan *channel)
{
    uint8_t head[MUX_HEAD_SIZE] = {0}, payload[MUX_PAYLOAD_MAX];
    struct wire_in in = wire_in(head, sizeof head);
    uint32_t len;
    uint8_t type;

    read_all(channel, head, sizeof head);
    len = wire_u32(&in);
    type = wire_u8(&in);
    if (len > sizeof payload)
        fail("a frame of %u bytes", len);
    read_all(channel, payload, len);
    printf("%u ", type);
    for (uint32_t i = 0; i < len; i++)
        printf("%02x", payload[i]);
    printf("\n");
}

/*----- echo -----*/

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 7 + (i >> 9));
}

static void echo(struct libxenvchan *channel, size_t total)
{
    uint8_t out[CHUNK], in[CHUNK];
    size_t sent = 0, got = 0;

    while (got < total) {
        size_t want = total - sent < CHUNK ? total - sent : CHUNK, n, put;

        for (size_t i = 0; i < want; i++)
            out[i] = byte_at(sent + i);
        put = want ? channel_write(channel, out, want) : 0;
        n = channel_read(channel, in, sizeof in);
        for (size_t i = 0; i < n; i++)
            if (in[i] != byte_at(got + i))
                fail("byte %zu came back wrong", got + i);
        sent += put;
        got += n;
        if (put + n == 0)
            channel_wait(channel);
    }
    printf("%zu bytes came back\n", got);
}

static void show_cpu(uint32_t domid)
{
    xc_interface *xc = xc_interface_open(NULL, NULL, 0);
    xc_dominfo_t info;

    if (!xc || xc_domain_getinfo(xc, domid, 1, &info) != 1 || info.domid != domid)
        fail("no domain %u", domid);
    printf("%llu\n", (unsigned long long)info.cpu_time / 1000);
    xc_interface_close(xc);
}

int main(int argc, char **argv)
{
    const char *what = argc > 2 ? argv[1] : "";
    struct libxenvchan *channel;

    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += DEADLINE_S;
    if (!strcmp(what, "cpu")) {
        show_cpu((uint32_t)atoi(argv[2]));
        return 0;
    }
    if (argc < 5 || (strcmp(what, "frames") != 0 && strcmp(what, "echo") != 0))
        fail("usage: %s frames|echo DOMID CHANNEL COUNT|KIB [HEX], or %s cpu DOMID", argv[0],
             argv[0]);

    channel = channel_connect(atoi(argv[2]), argv[3]);
    if (!strcmp(what, "echo"))
        echo(channel, (size_t)atol(argv[4]) * 1024);
    else if (argc > 5)
        send_hex(channel, argv[5]);
    for (int i = 0; !strcmp(what, "frames") && i < atoi(argv[4]); i++)
        show_frame(channel);
    libxenvchan_close(channel);
    return 0;
}
