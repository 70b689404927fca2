/* The kernel under an image that runs as a virtual machine: just what the C
 * library asks for (common/core/image_calls.h), for one program, on one processor.
 * On Xen it is also the channels' end (xen*.c); any other VMM gives it a debug port,
 * and that is all of the ground `pvh`.
 *
 * The app runs in ring 3, so that a fault, a wild jump or the C library's crash
 * (hlt) ends in a report; the kernel's own pages are out of its reach.  That is
 * hygiene, not a wall: there is one address space and one tenant in it, and the
 * wall around it is the virtual machine's.
 *
 * Rules for this folder.  Compiled with -mgeneral-regs-only, so the app's vector
 * registers survive a call without being saved.  Nothing of the C library is
 * called: it lies in pages of the app, which the kernel does not execute.
 * Interrupts stay off.  Physical and virtual addresses are the same. */
#ifndef KERNEL_KERNEL_H
#define KERNEL_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SIZE 4096ull

/* boot.S */
extern char kernel_stack_guard[], kernel_stack_top[], kernel_fault_stack_top[];

/* trap.S */
extern const char kernel_trap_entries[]; /* one of 16 bytes for each of the vectors */
#define TRAP_VECTORS 32
void kernel_syscall_entry(void);
_Noreturn void kernel_enter_app(void (*entry)(void), uint64_t *stack);

/* image.ld.  What is between the last two was for the start only. */
extern char image_start[], text_start[], kernel_text_start[], text_end[], data_start[],
    kernel_data_start[], kernel_data_end[], image_end[];
extern void _start(void);

/* main.c: what boot.S jumps to. */
_Noreturn void kernel_main(const void *start_info);

/*----- console.c -----*/

void console_write(const char *p, size_t len);
void console_text(const char *s);
void console_hex(uint64_t v);
void console_number(uint64_t v);

/* Ends the virtual machine. */
_Noreturn void kernel_exit(int status);
/* Says what and why, then ends it with LAUNCH_EXIT_PANIC. */
_Noreturn void kernel_stop(const char *why);

/*----- memory.c: pages and who may do what with them -----*/

enum memory_rights { MEMORY_NONE = 0, MEMORY_READ = 1, MEMORY_WRITE = 2 };

/* Of the VMM's memory map: one entry. */
struct memory_area {
    uint64_t at, len;
    uint32_t type, reserved;
};
#define MEMORY_RAM 1

/* Leaves the boot's page tables for ones with least rights; from now on the RAM around
 * the image that nothing else is in is what memory_map() gives out. */
void memory_init(const struct memory_area *map, unsigned count);
/* Bytes: all RAM of the map, and what nobody has now. */
uint64_t memory_given(void);
uint64_t memory_free(void);

/* Of the 2 MiB below 4 GiB, single pages are mapped, for the kernel alone, where
 * something is found or put (xen.h).  Works before memory_init(), too. */
#define MEMORY_WINDOW     0xfee00000ull
#define MEMORY_WINDOW_LEN 0x200000ull
void memory_window(uint64_t at);

/* Zeroed pages for the app, anywhere; 0 when there are none. */
uint64_t memory_map(uint64_t len, enum memory_rights rights);
/* The same, which the app can read and write, but never give back or protect. */
uint64_t memory_map_for_good(uint64_t len);
/* The same at a place, whatever was there; false when out of bounds. */
bool memory_map_at(uint64_t at, uint64_t len, enum memory_rights rights);
bool memory_unmap(uint64_t at, uint64_t len);
/* False when not all of it is mapped. */
bool memory_protect(uint64_t at, uint64_t len, enum memory_rights rights);
/* The new end of the app's heap, or the old one when that cannot be. */
uint64_t memory_brk(uint64_t end);
/* Whether the app itself may read (or write) all of it. */
bool memory_allows(uint64_t at, uint64_t len, bool write);
/* Below the app's stack or the kernel's, to tell an overflow from other faults. */
bool memory_is_guard(uint64_t at);
/* The app's stack: its top, 16-byte aligned. */
uint64_t memory_stack(void);

static inline void memory_zero(void *p, size_t len)
{
    size_t words = len / 8, rest = len % 8;

    __asm__ volatile("rep stosq" : "+D"(p), "+c"(words) : "a"(0) : "memory");
    __asm__ volatile("rep stosb" : "+D"(p), "+c"(rest) : "a"(0) : "memory");
}

static inline void memory_copy(void *to, const void *from, size_t len)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(len)::"memory");
}

/*----- cpu.c -----*/

/* Descriptor tables, traps, system calls, the vector state. */
void cpu_init(void);
void cpu_set_thread_pointer(uint64_t p);
/* False when this processor has no such leaf. */
bool cpu_id(uint32_t leaf, uint32_t sub, uint32_t out[4]);

/*----- entropy.c -----*/

/* `seed`: 32 bytes of the host's, or NULL when it gave none. */
void entropy_init(const uint8_t *seed);
void entropy_fill(void *buf, size_t len);

/*----- clock.c -----*/

/* `entered`: the time stamp counter of the kernel's first instruction. */
void clock_init(uint64_t entered);
uint64_t clock_now_ns(void);  /* since then; never goes back */
uint64_t clock_wall_ns(void); /* since 1970; since then where there is no wall clock */

/*----- launch.c: the words that the instance is launched with -----*/

/* Finds them, and takes the seed out of them. `command_line` is wiped; NULL: there is none. */
void launch_init(char *command_line);
/* How many workers there are channels for. */
unsigned launch_channels(void);
/* The app's first stack. */
uint64_t *launch_stack(void);

/*----- text.c -----*/

#define TEXT_NUMBER_MAX 21 /* a number in decimal and a NUL */

size_t text_length(const char *s);
bool text_begins(const char *s, const char *with);
bool text_is(const char *s, const char *other);
/* Each writes a NUL, too, and returns where that is. */
char *text_add(char *at, const char *s);
char *text_number(char *at, uint64_t v);

/*----- xen*.c: when the VMM is Xen; else only the first two are called -----*/

/* Finds Xen, and all that is needed of it. */
void xen_init(const struct memory_area *map, unsigned count);
bool xen_present(void);
/* The launch's words from xenstore; false when there are none. */
bool xen_launch_line(char *line, size_t size);
bool xen_console_is_up(void);
void xen_console_write(const char *p, size_t len);
_Noreturn void xen_exit(int status);
/* Xen's own clock, at a reading of the time stamp counter, and since 1970 when it began. */
uint64_t xen_clock_at(uint64_t tsc);
uint64_t xen_clock_began(void);
/* A channel's memory, made if it is the first time; or minus an errno.  Index -1 is the
 * control channel, which is to be the last one. */
int64_t xen_channel_map(int index, uint64_t len);
bool xen_channel_is_at(uint64_t at, uint64_t len);
/* Rings the peer of a channel; false: there is no such channel. */
bool xen_channel_ring(int index);
/* Whether a peer rang us; and takes that. */
bool xen_channel_rung(void);
/* Sleeps until a peer rings us (true), or so many ns have passed (UINT64_MAX: never). */
bool xen_channel_wait(uint64_t ns);
void xen_sleep(uint64_t ns);

/*----- calls.c -----*/

/* As pushed by kernel_syscall_entry. */
struct call {
    uint64_t number, arg[6];
};

/* One system call of the app; what it returns, or minus an errno. */
int64_t kernel_call(const struct call *call);

static inline void cpu_out8(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port));
}

static inline uint8_t cpu_in8(uint16_t port)
{
    uint8_t v;

    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static inline void cpu_out32(uint16_t port, uint32_t v)
{
    __asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(port));
}

/* The page tables that are walked from now on; and an entry of theirs that has changed. */
static inline void cpu_walk(const uint64_t *root)
{
    __asm__ volatile("movq %0, %%cr3" ::"r"(root) : "memory");
}

static inline void cpu_forget_page(uint64_t at)
{
    __asm__ volatile("invlpg (%0)" ::"r"(at) : "memory");
}

static inline uint64_t cpu_tsc(void)
{
    uint32_t low, high;

    __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high)::"memory");
    return (uint64_t)high << 32 | low;
}

#endif
