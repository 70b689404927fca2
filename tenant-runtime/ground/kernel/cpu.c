/* The processor: descriptor tables, traps, system calls, the vector state.
 *
 * A trap of whatever kind ends the virtual machine: what it was, where, and all
 * registers go to the console first.  That runs on a stack of its own, so it also
 * tells of the kernel's overflowing. */
#include "common/core/launch.h"
#include "tenant-runtime/ground/kernel/kernel.h"

/* Places in the table of descriptors; boot.S and trap.S know them by their numbers. */
#define SELECTOR_KERNEL_CODE 0x08
#define SELECTOR_KERNEL_DATA 0x10
#define SELECTOR_TSS         0x28

#define MSR_EFER           0xc0000080
#define MSR_STAR           0xc0000081
#define MSR_LSTAR          0xc0000082
#define MSR_SFMASK         0xc0000084
#define MSR_FS_BASE        0xc0000100
#define EFER_SCE           0x001
#define EFER_NXE           0x800
#define SFMASK             0x47700 /* off in the kernel: AC, NT, IOPL, DF, IF, TF */
#define CR4_OSFXSR         (1u << 9)
#define CR4_OSXMMEXCPT     (1u << 10)
#define CR4_UMIP           (1u << 11)
#define CR4_OSXSAVE        (1u << 18)
#define CR4_SMEP           (1u << 20)
#define XCR0_X87_SSE_AVX   0x07u
#define XCR0_AVX512        0xe0u
#define TRAP_PAGE_FAULT    14
#define PAGE_FAULT_PRESENT 1u
#define PAGE_FAULT_WRITE   2u
#define PAGE_FAULT_APP     4u
#define PAGE_FAULT_FETCH   16u

struct __attribute__((packed)) task_state {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3, io_map;
};
_Static_assert(sizeof(struct task_state) == 104, "Intel SDM 3A, 8.7");

struct gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};
_Static_assert(sizeof(struct gate) == 16, "Intel SDM 3A, 6.14.1");

struct __attribute__((packed)) table_register {
    uint16_t limit;
    uint64_t base;
};

static uint64_t descriptors[7];
static struct task_state task;
static struct gate gates[TRAP_VECTORS];

bool cpu_id(uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    uint32_t max, b, c, d;

    /* Each range of leaves begins with its last one. */
    __asm__ volatile("cpuid"
                     : "=a"(max), "=b"(b), "=c"(c), "=d"(d)
                     : "a"(leaf & 0xc0000000), "c"(0));
    if (max < leaf || max - leaf > 0xffff)
        return false;
    __asm__ volatile("cpuid"
                     : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
                     : "a"(leaf), "c"(sub));
    return true;
}

static void write_msr(uint32_t msr, uint64_t v)
{
    __asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}

static uint64_t read_msr(uint32_t msr)
{
    uint32_t low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

void cpu_set_thread_pointer(uint64_t p)
{
    write_msr(MSR_FS_BASE, p);
}

/*----- at the start -----*/

static void init_tables(void)
{
    struct table_register gdt = {sizeof descriptors - 1, (uint64_t)(uintptr_t)descriptors};
    struct table_register idt = {sizeof gates - 1, (uint64_t)(uintptr_t)gates};
    uint64_t base = (uint64_t)(uintptr_t)&task;

    descriptors[1] = 0x00af9b000000ffff; /* 0x08 kernel code, 64-bit */
    descriptors[2] = 0x00cf93000000ffff; /* 0x10 kernel data */
    descriptors[3] = 0x00cff3000000ffff; /* 0x18 app data */
    descriptors[4] = 0x00affb000000ffff; /* 0x20 app code, 64-bit */
    task.rsp[0] = (uint64_t)(uintptr_t)kernel_stack_top;
    task.ist[0] = (uint64_t)(uintptr_t)kernel_fault_stack_top;
    task.io_map = sizeof task; /* none: no port is the app's */
    descriptors[5] = (sizeof task - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 |
                     (base >> 24 & 0xff) << 56; /* 0x28 task state */
    descriptors[6] = base >> 32;
    __asm__ volatile("lgdt %0" ::"m"(gdt));
    __asm__ volatile("ltr %w0" ::"r"(SELECTOR_TSS));

    for (unsigned i = 0; i < TRAP_VECTORS; i++) {
        uint64_t entry = (uint64_t)(uintptr_t)kernel_trap_entries + 16ull * i;

        gates[i] = (struct gate){
            .offset_low = (uint16_t)entry,
            .selector = SELECTOR_KERNEL_CODE,
            .ist = 1,
            .type = 0x8e,
            .offset_middle = (uint16_t)(entry >> 16),
            .offset_high = (uint32_t)(entry >> 32),
        };
    }
    __asm__ volatile("lidt %0" ::"m"(idt));
}

static void init_features(void)
{
    const uint32_t mxcsr = 0x1f80; /* as after a reset */
    uint32_t one[4], seven[4] = {0}, state[4], extended[4];
    uint64_t cr4;

    if (!cpu_id(0x80000001, 0, extended) || !(extended[3] & 1u << 20))
        kernel_stop("this processor cannot keep data from being executed (NX)");
    if (!cpu_id(1, 0, one))
        kernel_stop("this processor does not say what it is (CPUID 1)");
    cpu_id(7, 0, seven);

    __asm__ volatile("movq %%cr4, %0" : "=r"(cr4));
    cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT;
    if (seven[2] & 1u << 2)
        cr4 |= CR4_UMIP;
    if (seven[1] & 1u << 7)
        cr4 |= CR4_SMEP;
    if (one[2] & 1u << 26)
        cr4 |= CR4_OSXSAVE;
    __asm__ volatile("movq %0, %%cr4" ::"r"(cr4) : "memory");
    __asm__ volatile("fninit; ldmxcsr %0" ::"m"(mxcsr));
    if (cr4 & CR4_OSXSAVE && cpu_id(0xd, 0, state)) {
        uint32_t xcr0 = state[0] & (XCR0_X87_SSE_AVX | XCR0_AVX512);

        if ((xcr0 & XCR0_AVX512) != XCR0_AVX512)
            xcr0 &= XCR0_X87_SSE_AVX;
        __asm__ volatile("xsetbv" ::"c"(0), "a"(xcr0), "d"(0));
    }
}

void cpu_init(void)
{
    init_tables();
    init_features();
    write_msr(MSR_STAR,
              (uint64_t)SELECTOR_KERNEL_DATA << 48 | (uint64_t)SELECTOR_KERNEL_CODE << 32);
    write_msr(MSR_LSTAR, (uint64_t)(uintptr_t)kernel_syscall_entry);
    write_msr(MSR_SFMASK, SFMASK);
    write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_SCE | EFER_NXE);
}

/*----- traps -----*/

struct trap {
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss; /* by the processor */
};

static const char *trap_name(uint64_t vector)
{
    static const char *const names[TRAP_VECTORS] = {
        [0] = "divide error",        [1] = "debug",          [2] = "NMI",
        [3] = "breakpoint",          [4] = "overflow",       [5] = "bound",
        [6] = "invalid opcode",      [7] = "no vector unit", [8] = "double fault",
        [10] = "invalid task state", [11] = "no segment",    [12] = "stack segment",
        [13] = "general protection", [14] = "page fault",    [16] = "x87 error",
        [17] = "alignment check",    [18] = "machine check", [19] = "vector arithmetic error",
        [21] = "control protection",
    };

    return vector < TRAP_VECTORS && names[vector] ? names[vector] : "unknown trap";
}

static void show(const char *name, uint64_t v)
{
    console_text(name);
    console_hex(v);
}

static void show_page_fault(uint64_t error)
{
    uint64_t at;

    __asm__ volatile("movq %%cr2, %0" : "=r"(at));
    console_text(error & PAGE_FAULT_FETCH   ? ", executing at "
                 : error & PAGE_FAULT_WRITE ? ", writing to "
                                            : ", reading from ");
    console_hex(at);
    console_text(memory_is_guard(at)          ? ": stack overflow"
                 : error & PAGE_FAULT_PRESENT ? ": not permitted there"
                 : at < PAGE_SIZE             ? ": null pointer"
                                              : ": nothing there");
}

_Noreturn void kernel_trap(const struct trap *t);
_Noreturn void kernel_trap(const struct trap *t)
{
    console_text("roomkey: stopped: ");
    console_text(trap_name(t->vector));
    console_text((t->cs & 3) == 3 ? " in the app" : " in the kernel");
    if (t->vector == TRAP_PAGE_FAULT)
        show_page_fault(t->error);
    show("\n  rip ", t->rip);
    show(" rsp ", t->rsp);
    show(" rbp ", t->rbp);
    show(" rflags ", t->rflags);
    show(" error ", t->error);
    show("\n  rax ", t->rax);
    show(" rbx ", t->rbx);
    show(" rcx ", t->rcx);
    show(" rdx ", t->rdx);
    show(" rsi ", t->rsi);
    show(" rdi ", t->rdi);
    show("\n  r8 ", t->r8);
    show(" r9 ", t->r9);
    show(" r10 ", t->r10);
    show(" r11 ", t->r11);
    show(" r12 ", t->r12);
    show(" r13 ", t->r13);
    show(" r14 ", t->r14);
    show(" r15 ", t->r15);
    console_text("\n");
    kernel_exit(LAUNCH_EXIT_PANIC);
}
