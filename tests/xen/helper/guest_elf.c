#include "guest_elf.h"

#include <elf.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define GUEST_AT          0x100000u
#define NOTE_PHYS32_ENTRY 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
#define ROUND_4(n)        (((n) + 3u) & ~3u)

struct file {
    Elf64_Ehdr header;
    Elf64_Phdr load, note;
    struct {
        Elf64_Nhdr header;
        char name[4];
        uint32_t entry;
    } phys32;
    unsigned char code[8];
};

int guest_elf(enum guest kind)
{
    static const unsigned char codes[][8] = {
        [GUEST_IDLES] = {0xfb, 0xf4, 0xeb, 0xfc},
        [GUEST_SPINS] = {0xeb, 0xfe},
        [GUEST_STOPS] = {0xfa, 0xf4, 0xeb, 0xfc},
    };
    const uint32_t entry = GUEST_AT + offsetof(struct file, code);
    struct file f = {
        .header = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
                               EV_CURRENT},
                   .e_type = ET_EXEC,
                   .e_machine = EM_X86_64,
                   .e_version = EV_CURRENT,
                   .e_entry = entry,
                   .e_phoff = offsetof(struct file, load),
                   .e_ehsize = sizeof(Elf64_Ehdr),
                   .e_phentsize = sizeof(Elf64_Phdr),
                   .e_phnum = 2},
        .load = {.p_type = PT_LOAD,
                 .p_flags = PF_R | PF_X,
                 .p_vaddr = GUEST_AT,
                 .p_paddr = GUEST_AT,
                 .p_filesz = sizeof f,
                 .p_memsz = sizeof f},
        .note = {.p_type = PT_NOTE,
                 .p_flags = PF_R,
                 .p_offset = offsetof(struct file, phys32),
                 .p_vaddr = GUEST_AT + offsetof(struct file, phys32),
                 .p_paddr = GUEST_AT + offsetof(struct file, phys32),
                 .p_filesz = sizeof f.phys32,
                 .p_memsz = sizeof f.phys32,
                 .p_align = 4},
        .phys32 = {.header = {.n_namesz = 4, .n_descsz = 4, .n_type = NOTE_PHYS32_ENTRY},
                   .name = "Xen",
                   .entry = entry},
    };
    int fd = memfd_create("guest", MFD_CLOEXEC);

    memcpy(f.code, codes[kind], sizeof f.code);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, &f, sizeof f), sizeof f);
    return fd;
}
