/* A tenant's record layer and a client with its keys, for tests that judge by cmocka. */
#ifndef TESTS_RECORD_PAIR_H
#define TESTS_RECORD_PAIR_H

#include "tenant-runtime/runtime/record.h"
#include "tests/unit/record_fixture.h"
#include "tests/unit/unit.h"

#define AES_13    0x1301
#define AES_12    0xc02b
#define CHACHA_12 0xcca9

extern struct record tenant;
extern struct fixture_client client;

void pair_begin(uint16_t suite);
void pair_begin_with(const struct handover *h);
void pair_end(void);

/* Gives bytes as they are; and one sealed record, which must be used up. */
enum rc pair_give(uint8_t *p, size_t len, size_t *used);
enum rc pair_send(uint8_t type, const void *text, size_t len);
enum rc pair_send_padded(uint8_t type, const void *text, size_t len, size_t padding);

void assert_wiped(const void *p, size_t len);
/* The alert is the one record that is written; both keys are gone then. */
void pair_expect_last_alert(uint8_t level, uint8_t alert);
/* … because the client is at fault: reading says `rc` for ever. */
void pair_expect_refusal(enum rc rc, uint8_t alert);

#endif
