/* The smallest file that is an image, in a shape that tests can spoil: one page of headers, notes
 * and code (r-x), and one of data (rw-). */
#ifndef TESTS_ELF_FIXTURE_H
#define TESTS_ELF_FIXTURE_H

#include <elf.h>
#include <string.h>

#include "common/core/manifest.h"

#define ELF_BASE  0x100000u
#define ELF_ENTRY (ELF_BASE + 0x800)
#define ELF_PHDRS 4 /* text, data, notes, stack */
#define ELF_NOTES 0x400

struct elf_fixture {
    union {
        unsigned char bytes[8192];
        struct {
            Elf64_Ehdr header;
            Elf64_Phdr segment[ELF_PHDRS];
        };
    };
    size_t len;
};

static inline size_t elf_note(unsigned char *at, const char *name, uint32_t type, const void *desc,
                              uint32_t len)
{
    uint32_t head[3] = {(uint32_t)strlen(name) + 1, len, type};
    size_t padded_name = (head[0] + 3) & ~(size_t)3, padded_desc = (len + 3) & ~(size_t)3;

    memset(at, 0, sizeof head + padded_name + padded_desc);
    memcpy(at, head, sizeof head);
    memcpy(at + sizeof head, name, head[0]);
    memcpy(at + sizeof head + padded_name, desc, len);
    return sizeof head + padded_name + padded_desc;
}

/* false when the manifest cannot be encoded. */
static inline bool elf_make(struct elf_fixture *e, const struct manifest *m)
{
    unsigned char desc[512];
    uint32_t entry = ELF_ENTRY;
    size_t len, notes = 0;

    memset(e, 0, sizeof *e);
    if (manifest_encode(m, desc, sizeof desc, &len) != RC_OK)
        return false;
    notes += elf_note(e->bytes + ELF_NOTES, XEN_NOTE_NAME, XEN_NOTE_PHYS32_ENTRY, &entry, 4);
    notes += elf_note(e->bytes + ELF_NOTES + notes, MANIFEST_NOTE_NAME, MANIFEST_NOTE_TYPE, desc,
                      (uint32_t)len);
    e->header = (Elf64_Ehdr){
        .e_type = ET_EXEC,
        .e_machine = EM_X86_64,
        .e_version = EV_CURRENT,
        .e_entry = ELF_ENTRY,
        .e_phoff = sizeof(Elf64_Ehdr),
        .e_ehsize = sizeof(Elf64_Ehdr),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = ELF_PHDRS,
    };
    memcpy(e->header.e_ident, ELFMAG, SELFMAG);
    e->header.e_ident[EI_CLASS] = ELFCLASS64;
    e->header.e_ident[EI_DATA] = ELFDATA2LSB;
    e->header.e_ident[EI_VERSION] = EV_CURRENT;
    e->segment[0] = (Elf64_Phdr){.p_type = PT_LOAD,
                                 .p_flags = PF_R | PF_X,
                                 .p_vaddr = ELF_BASE,
                                 .p_paddr = ELF_BASE,
                                 .p_filesz = 4096,
                                 .p_memsz = 4096};
    e->segment[1] = (Elf64_Phdr){.p_type = PT_LOAD,
                                 .p_flags = PF_R | PF_W,
                                 .p_offset = 4096,
                                 .p_vaddr = ELF_BASE + 4096,
                                 .p_paddr = ELF_BASE + 4096,
                                 .p_filesz = 16,
                                 .p_memsz = 65536};
    e->segment[2] =
        (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = ELF_NOTES, .p_filesz = notes, .p_align = 4};
    e->segment[3] = (Elf64_Phdr){.p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W};
    e->len = 4096 + 16;
    return true;
}

#endif
