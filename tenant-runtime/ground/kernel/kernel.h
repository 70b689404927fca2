/* The kernel under an image that runs as a virtual machine: just what the C
 * library asks for (common/core/image_calls.h), for one program, on one processor.
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
extern char kernel_stack_top[], kernel_fault_stack_top[];

/* trap.S */
extern const char kernel_trap_entries[]; /* one of 16 bytes for each of the vectors */
#define TRAP_VECTORS 32
void kernel_syscall_entry(void);
_Noreturn void kernel_enter_app(void (*entry)(void), uint64_t *stack);

/* image.ld */
extern char image_start[], text_start[], kernel_text_start[], text_end[], data_start[],
    kernel_data_start[], image_end[];
extern void _start(void);

/* main.c: what boot.S jumps to. */
_Noreturn void kernel_main(const void *start_info);

/*----- console.c -----*/

void console_write(const char *p, size_t len);
void console_text(const char *s);
void console_hex(uint64_t v);

/* Ends the virtual machine. */
_Noreturn void kernel_exit(int status);
/* Says what and why, then ends it with LAUNCH_EXIT_PANIC. */
_Noreturn void kernel_stop(const char *why);

/*----- memory.c: pages and who may do what with them -----*/

enum memory_rights { MEMORY_NONE = 0, MEMORY_READ = 1, MEMORY_WRITE = 2 };

/* Leaves the boot's page tables for ones with least rights; from now on RAM from
 * the image's end to `ram_end` is what memory_map() gives out. */
void memory_init(uint64_t ram_end);
/* Zeroed pages for the app, anywhere; 0 when there are none. */
uint64_t memory_map(uint64_t len, enum memory_rights rights);
/* The same at a place, whatever was there; false when out of bounds. */
bool memory_map_at(uint64_t at, uint64_t len, enum memory_rights rights);
bool memory_unmap(uint64_t at, uint64_t len);
/* False when not all of it is mapped. */
bool memory_protect(uint64_t at, uint64_t len, enum memory_rights rights);
/* The new end of the app's heap, or the old one when that cannot be. */
uint64_t memory_brk(uint64_t end);
/* Whether the app itself may read (or write) all of it. */
bool memory_allows(uint64_t at, uint64_t len, bool write);
/* Below the app's stack, to tell an overflow from other faults. */
bool memory_is_guard(uint64_t at);
/* The app's stack: its top, 16-byte aligned. */
uint64_t memory_stack(void);

static inline void memory_zero(void *p, size_t len)
{
    __asm__ volatile("rep stosb" : "+D"(p), "+c"(len) : "a"(0) : "memory");
}

static inline void memory_copy(void *to, const void *from, size_t len)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(len)::"memory");
}

/*----- cpu.c -----*/

/* Descriptor tables, traps, system calls, the vector state. */
void cpu_init(void);
void cpu_set_thread_pointer(uint64_t p);
/* From RDRAND; ends the virtual machine when there is none. */
void cpu_random(void *buf, size_t len);
/* False when this processor has no such leaf. */
bool cpu_id(uint32_t leaf, uint32_t sub, uint32_t out[4]);

/*----- clock.c -----*/

void clock_init(void);
uint64_t clock_now_ns(void); /* since clock_init() */

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

static inline uint64_t cpu_tsc(void)
{
    uint32_t low, high;

    __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high)::"memory");
    return (uint64_t)high << 32 | low;
}

#endif
