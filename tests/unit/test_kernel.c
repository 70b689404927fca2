/* What of the kernel under an image can be held against others on the host: its generator against
 * RFC 8439, what it says of Xen against Xen's own headers, its clock against what Xen might say. */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>
#include <xen/xen.h>

#include <libxenvchan.h>
#include <xen/arch-x86/cpuid.h>
#include <xen/arch-x86/hvm/start_info.h>
#include <xen/event_channel.h>
#include <xen/grant_table.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>
#include <xen/memory.h>
#include <xen/sched.h>

#include "common/core/launch.h"
#include "common/core/ring.h"
#include "tenant-runtime/ground/kernel/xen.h"

/* With its functions that nobody else calls. */
#include "tenant-runtime/ground/kernel/entropy.c"
#include "tenant-runtime/ground/kernel/xen_clock.c"

static struct xen_shared page;
struct xen_shared *xen_shared = &page;

/*----- what it stands on here -----*/

bool cpu_id(uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    __asm__ volatile("cpuid"
                     : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
                     : "a"(leaf), "c"(sub));
    return true;
}

_Noreturn void kernel_stop(const char *why)
{
    fail_msg("stopped: %s", why);
    abort();
}

/*----- Xen -----*/

#define SAME(ours, theirs)      _Static_assert((ours) == (theirs), #theirs)
#define SAME_SIZE(ours, theirs) SAME(sizeof(struct ours), sizeof(struct theirs))
#define SAME_PLACE(ours, field, theirs, its) \
    SAME(offsetof(struct ours, field), offsetof(struct theirs, its))

SAME(XEN_DOMID_SELF, DOMID_SELF);
SAME(XEN_CALL_MEMORY, __HYPERVISOR_memory_op);
SAME(XEN_CALL_SCHED, __HYPERVISOR_sched_op);
SAME(XEN_CALL_EVENT, __HYPERVISOR_event_channel_op);
SAME(XEN_CALL_HVM, __HYPERVISOR_hvm_op);

SAME(XEN_MEMORY_ADD, XENMEM_add_to_physmap);
SAME(XEN_SPACE_SHARED_INFO, XENMAPSPACE_shared_info);
SAME(XEN_SPACE_GRANT_TABLE, XENMAPSPACE_grant_table);
SAME_SIZE(xen_memory_add, xen_add_to_physmap);
SAME_PLACE(xen_memory_add, space, xen_add_to_physmap, space);
SAME_PLACE(xen_memory_add, index, xen_add_to_physmap, idx);
SAME_PLACE(xen_memory_add, page, xen_add_to_physmap, gpfn);

SAME(XEN_SCHED_SHUTDOWN, SCHEDOP_shutdown);
SAME(XEN_SCHED_POLL, SCHEDOP_poll);
SAME(XEN_SHUTDOWN_POWEROFF, SHUTDOWN_poweroff);
SAME(XEN_SHUTDOWN_CRASH, SHUTDOWN_crash);
SAME_SIZE(xen_poll, sched_poll);
SAME_PLACE(xen_poll, count, sched_poll, nr_ports);
SAME_PLACE(xen_poll, until, sched_poll, timeout);

SAME(XEN_EVENT_SEND, EVTCHNOP_send);
SAME(XEN_EVENT_OPEN, EVTCHNOP_alloc_unbound);
SAME_SIZE(xen_event_open, evtchn_alloc_unbound);
SAME_PLACE(xen_event_open, peer, evtchn_alloc_unbound, remote_dom);
SAME_PLACE(xen_event_open, port, evtchn_alloc_unbound, port);

SAME(XEN_HVM_SET, HVMOP_set_param);
SAME(XEN_HVM_GET, HVMOP_get_param);
SAME(XEN_PARAMETER_CALLBACK, HVM_PARAM_CALLBACK_IRQ);
SAME(XEN_PARAMETER_STORE_PAGE, HVM_PARAM_STORE_PFN);
SAME(XEN_PARAMETER_STORE_PORT, HVM_PARAM_STORE_EVTCHN);
SAME(XEN_PARAMETER_CONSOLE_PAGE, HVM_PARAM_CONSOLE_PFN);
SAME(XEN_PARAMETER_CONSOLE_PORT, HVM_PARAM_CONSOLE_EVTCHN);
SAME_SIZE(xen_hvm_parameter, xen_hvm_param);
SAME_PLACE(xen_hvm_parameter, value, xen_hvm_param, value);

SAME_SIZE(xen_time, vcpu_time_info);
SAME_PLACE(xen_time, tsc, vcpu_time_info, tsc_timestamp);
SAME_PLACE(xen_time, ns, vcpu_time_info, system_time);
SAME_PLACE(xen_time, multiplier, vcpu_time_info, tsc_to_system_mul);
SAME_PLACE(xen_time, shift, vcpu_time_info, tsc_shift);
SAME_PLACE(xen_vcpu, time, vcpu_info, time);
SAME_PLACE(xen_shared, pending, shared_info, evtchn_pending);
SAME_PLACE(xen_shared, mask, shared_info, evtchn_mask);
SAME_PLACE(xen_shared, wall_version, shared_info, wc_version);
SAME_PLACE(xen_shared, wall_s, shared_info, wc_sec);
SAME_PLACE(xen_shared, wall_ns, shared_info, wc_nsec);
SAME_PLACE(xen_shared, wall_s_high, shared_info, wc_sec_hi);

SAME(XEN_GRANTS_RESERVED, GNTTAB_NR_RESERVED_ENTRIES);
SAME(XEN_GRANT_ACCESS, GTF_permit_access);
SAME_SIZE(xen_grant, grant_entry_v1);
SAME_PLACE(xen_grant, peer, grant_entry_v1, domid);
SAME_PLACE(xen_grant, page, grant_entry_v1, frame);

SAME(MEMORY_RAM, XEN_HVM_MEMMAP_TYPE_RAM);
SAME_SIZE(memory_area, hvm_memmap_table_entry);
SAME_PLACE(memory_area, type, hvm_memmap_table_entry, type);

SAME_PLACE(ring_page, right, vchan_interface, right);
SAME_PLACE(ring_page, left_order, vchan_interface, left_order);
SAME_PLACE(ring_page, cli_live, vchan_interface, cli_live);
SAME_PLACE(ring_page, srv_live, vchan_interface, srv_live);
SAME_PLACE(ring_page, cli_notify, vchan_interface, cli_notify);
SAME_PLACE(ring_page, srv_notify, vchan_interface, srv_notify);
SAME_PLACE(ring_page, grants, vchan_interface, grants);
SAME(RING_NOTIFY_WRITE, VCHAN_NOTIFY_WRITE);
SAME(RING_NOTIFY_READ, VCHAN_NOTIFY_READ);

/*----- the tests -----*/

static void a_block_is_chacha20s(void **state)
{
    /* RFC 8439, A.1, test vector 1: key, nonce and counter 0. */
    static const uint8_t want[] = {0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90, 0x40, 0x5d, 0x6a,
                                   0xe5, 0x53, 0x86, 0xbd, 0x28, 0xbd, 0xd2, 0x19, 0xb8, 0xa0, 0x8d,
                                   0xed, 0x1a, 0xa8, 0x36, 0xef, 0xcc, 0x8b, 0x77, 0x0d, 0xc7, 0xda,
                                   0x41, 0x59, 0x7c, 0x51, 0x57, 0x48, 0x8d, 0x77, 0x24, 0xe0, 0x3f,
                                   0xb8, 0xd8, 0x4a, 0x37, 0x6a, 0x43, 0xb8, 0xf4, 0x15, 0x18, 0xa1,
                                   0x1c, 0xc3, 0x87, 0xb6, 0x69, 0xb2, 0xee, 0x65, 0x86};
    uint32_t x[BLOCK_WORDS];

    (void)state;
    memset(key, 0, sizeof key);
    block(x);
    assert_memory_equal(x, want, sizeof want);
}

static void what_was_given_out_is_not_the_next_key(void **state)
{
    uint8_t seed[LAUNCH_SEED_SIZE] = {1, 2, 3}, given[3][100];
    uint32_t before[KEY_WORDS];

    (void)state;
    entropy_init(seed);
    assert_memory_not_equal(key, seed, sizeof key); /* the processor's is mixed in */
    for (int i = 0; i < 3; i++) {
        memcpy(before, key, sizeof key);
        entropy_fill(given[i], sizeof given[i]);
        assert_memory_not_equal(key, before, sizeof key);
        for (size_t at = 0; at + sizeof key <= sizeof given[i]; at++)
            assert_memory_not_equal(&given[i][at], key, sizeof key);
    }
    assert_memory_not_equal(given[0], given[1], sizeof given[0]);
    assert_memory_not_equal(given[1], given[2], sizeof given[0]);
}

static void no_byte_beyond_the_wanted_is_touched(void **state)
{
    uint8_t buf[70];

    (void)state;
    entropy_init(NULL);
    for (size_t n = 0; n < sizeof buf; n++) {
        memset(buf, 0, sizeof buf);
        entropy_fill(buf, n);
        for (size_t i = n; i < sizeof buf; i++)
            assert_int_equal(buf[i], 0);
    }
}

/* 2 GHz: a tick is half a nanosecond. */
static void xen_says(uint64_t tsc, uint64_t ns)
{
    struct xen_time *t = &page.vcpu[0].time;

    *t = (struct xen_time){.version = t->version + 2, .tsc = tsc, .ns = ns, .multiplier = 1u << 31};
}

/* A domain's counter is 0 when it is made; Xen may have said last what the time was before that. */
static void the_clock_goes_on_when_xen_speaks_anew(void **state)
{
    static const int64_t said_at[] = {-2000000, 0, 1000, 4000, 5000};
    const uint64_t now = 4000, ns = 7000000;

    (void)state;
    for (size_t i = 0; i < sizeof said_at / sizeof said_at[0]; i++) {
        xen_says((uint64_t)said_at[i], (uint64_t)((int64_t)ns + (said_at[i] - (int64_t)now) / 2));
        assert_int_equal(xen_clock_at(now), ns);
        assert_int_equal(xen_clock_at(now + 1000), ns + 500);
        assert_int_equal(xen_clock_at(now - 1000), ns - 500);
    }
}

static void a_shift_makes_ticks_longer_or_shorter(void **state)
{
    static const struct {
        int8_t shift;
        uint64_t ns;
    } of[] = {{-1, 250}, {0, 500}, {1, 1000}};

    (void)state;
    for (size_t i = 0; i < sizeof of / sizeof of[0]; i++) {
        xen_says(100, 10000);
        page.vcpu[0].time.shift = of[i].shift;
        assert_int_equal(xen_clock_at(1100), 10000 + of[i].ns);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_clock_goes_on_when_xen_speaks_anew),
        cmocka_unit_test(a_shift_makes_ticks_longer_or_shorter),
        cmocka_unit_test(a_block_is_chacha20s),
        cmocka_unit_test(what_was_given_out_is_not_the_next_key),
        cmocka_unit_test(no_byte_beyond_the_wanted_is_touched),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
