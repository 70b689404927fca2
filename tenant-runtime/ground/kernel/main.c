/* From the start of a virtual machine to the app's.
 *
 * The happy path: the VMM's start info is checked and what matters of it copied
 * (it lies in RAM that is given to the app soon), then processor, Xen if it is Xen,
 * the launch's words, memory, clock, the app's first stack as Linux would make it, and
 * off to the C library's start.
 * Failure modes, each of which stops with one line: a VMM that does not speak PVH 1,
 * no RAM around the image; and those of the parts. */
#include "tenant-runtime/ground/ground.h"
#include "tenant-runtime/ground/kernel/kernel.h"

#define START_MAGIC    0x336ec578u
#define AREAS_MAX      64
#define MAPPED_AT_BOOT (1ull << 32)
#define COMMAND_MAX    4096

/* xen/include/public/arch-x86/hvm/start_info.h */
struct start_info {
    uint32_t magic, version, flags, modules;
    uint64_t module_list, command_line, rsdp, memory_map;
    uint32_t memory_maps, reserved;
};
_Static_assert(sizeof(struct start_info) == 56, "PVH start info, version 1");
_Static_assert(sizeof(struct memory_area) == 24, "PVH start info, version 1");

/* Until memory_init() the first 4 GiB are there to be read. */
static void *at_boot(uint64_t at, uint64_t len)
{
    if (at == 0 || at >= MAPPED_AT_BOOT || len > MAPPED_AT_BOOT - at)
        kernel_stop("the VMM's start info points out of reach");
    return (void *)(uintptr_t)at;
}

_Noreturn void kernel_main(const void *start_info)
{
    uint64_t entered = cpu_tsc();
    const struct start_info *info = start_info;
    struct memory_area map[AREAS_MAX];
    uint32_t areas = info->memory_maps;

    if (info->magic != START_MAGIC || info->version < 1)
        kernel_stop("not started by PVH, version 1 or later");
    if (areas > AREAS_MAX)
        kernel_stop("the VMM's memory map is too long");
    memory_copy(map, at_boot(info->memory_map, areas * sizeof *map), areas * sizeof *map);

    cpu_init();
    xen_init(map, areas);
    launch_init(info->command_line ? at_boot(info->command_line, COMMAND_MAX) : NULL);
    memory_init(map, areas);
    clock_init(entered);
    ground = xen_present() ? &ground_xen : &ground_pvh;
    kernel_enter_app(_start, launch_stack());
}
