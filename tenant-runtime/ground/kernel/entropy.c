/* Entropy for the app's keys: the processor's RDRAND, and mixed with it a stream of
 * ChaCha20 whose key is the host's seed, so that either of the two suffices should the
 * other be worthless.
 *
 * Half of each block is the key of the next, so that what was given out cannot be
 * found again in memory.
 * Failure mode: no RDRAND, or one that is out of order, stops: keys of chance are no
 * keys. */
#include "tenant-runtime/ground/kernel/kernel.h"

#define KEY_WORDS   8
#define BLOCK_WORDS 16
#define TRIES       100

static uint32_t key[KEY_WORDS];

static uint64_t hardware_word(void)
{
    uint64_t v;
    bool ok;

    for (int i = 0; i < TRIES; i++) {
        __asm__ volatile("rdrand %0" : "=r"(v), "=@ccc"(ok));
        if (ok)
            return v;
    }
    kernel_stop("the processor's random number generator is out of order");
}

static uint32_t turn(uint32_t v, unsigned by)
{
    return v << by | v >> (32 - by);
}

static void quarter(uint32_t *x, unsigned a, unsigned b, unsigned c, unsigned d)
{
    x[a] += x[b], x[d] = turn(x[d] ^ x[a], 16);
    x[c] += x[d], x[b] = turn(x[b] ^ x[c], 12);
    x[a] += x[b], x[d] = turn(x[d] ^ x[a], 8);
    x[c] += x[d], x[b] = turn(x[b] ^ x[c], 7);
}

/* RFC 8439, 2.3, with counter and nonce 0: no key is used for a second block. */
static void block(uint32_t *x)
{
    uint32_t start[BLOCK_WORDS] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};

    memory_copy(&start[4], key, sizeof key);
    for (int i = 0; i < BLOCK_WORDS; i++)
        x[i] = start[i];
    for (int i = 0; i < 10; i++) {
        quarter(x, 0, 4, 8, 12);
        quarter(x, 1, 5, 9, 13);
        quarter(x, 2, 6, 10, 14);
        quarter(x, 3, 7, 11, 15);
        quarter(x, 0, 5, 10, 15);
        quarter(x, 1, 6, 11, 12);
        quarter(x, 2, 7, 8, 13);
        quarter(x, 3, 4, 9, 14);
    }
    for (int i = 0; i < BLOCK_WORDS; i++)
        x[i] += start[i];
    memory_zero(start, sizeof start);
}

void entropy_init(const uint8_t *seed)
{
    uint32_t id[4];

    if (!cpu_id(1, 0, id) || !(id[2] & 1u << 30))
        kernel_stop("no entropy: this processor has no RDRAND, and keys of chance are no keys");
    if (seed)
        memory_copy(key, seed, sizeof key);
    for (int i = 0; i < KEY_WORDS; i++)
        key[i] ^= (uint32_t)hardware_word();
}

void entropy_fill(void *buf, size_t len)
{
    uint32_t x[BLOCK_WORDS];
    uint8_t *p = buf;

    while (len) {
        size_t n = len < sizeof x - sizeof key ? len : sizeof x - sizeof key;

        block(x);
        memory_copy(key, x, sizeof key);
        for (int i = KEY_WORDS; i < BLOCK_WORDS; i++)
            x[i] ^= (uint32_t)hardware_word();
        memory_copy(p, &x[KEY_WORDS], n);
        p += n;
        len -= n;
    }
    memory_zero(x, sizeof x);
}
