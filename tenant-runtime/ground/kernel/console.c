/* The console, which is Xen's once that is up, else the debug port of QEMU and of Xen;
 * and the end. */
#include "common/core/launch.h"
#include "tenant-runtime/ground/kernel/kernel.h"

#define DEBUG_PORT 0xe9
#define EXIT_PORT  0x501 /* QEMU: -device isa-debug-exit,iobase=0x501,iosize=4 */

void console_write(const char *p, size_t len)
{
    if (xen_console_is_up())
        xen_console_write(p, len);
    else
        __asm__ volatile("rep outsb" : "+S"(p), "+c"(len) : "d"((uint16_t)DEBUG_PORT) : "memory");
}

void console_text(const char *s)
{
    console_write(s, text_length(s));
}

void console_hex(uint64_t v)
{
    char text[] = "0x0123456789abcdef";
    size_t n = 2;

    for (int shift = 60; shift >= 0; shift -= 4)
        if (v >> shift || shift == 0)
            text[n++] = "0123456789abcdef"[v >> shift & 15];
    console_write(text, n);
}

void console_number(uint64_t v)
{
    char text[TEXT_NUMBER_MAX];

    text_number(text, v);
    console_text(text);
}

/* Without Xen there is nobody to ask: a VMM with the exit port tells the status (QEMU's own is
 * twice that plus one), any other sees the triple fault that an empty table of traps makes. */
_Noreturn void kernel_exit(int status)
{
    static const struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } none = {0, 0};

    if (xen_present())
        xen_exit(status);
    cpu_out32(EXIT_PORT, (uint32_t)status);
    for (;;)
        __asm__ volatile("lidt %0; int3" ::"m"(none));
}

_Noreturn void kernel_stop(const char *why)
{
    console_text("roomkey: stopped: ");
    console_text(why);
    console_text("\n");
    kernel_exit(LAUNCH_EXIT_PANIC);
}
