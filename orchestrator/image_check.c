#include "orchestrator/image_check.h"

#include <elf.h>
#include <stdbool.h>
#include <string.h>

#include "common/core/check.h"
#include "common/core/wire.h"

#define PHDRS_MAX 64u
#define NOTES_MAX 65536u /* bytes of all notes: bounds the time that a hostile file takes */
#define PAGE      4096u
/* Behind an image Xen's domain builder puts a PVH domain's start info: a page, as long as it has no
 * command line and no module. */
#define BEHIND (4ull * PAGE)

_Static_assert(sizeof(Elf64_Ehdr) == IMAGE_START, "elf.h");
_Static_assert(PHDRS_MAX * sizeof(Elf64_Phdr) == IMAGE_HEADERS_MAX, "elf.h");

struct file {
    const uint8_t *p;
    size_t len;
    const uint8_t *headers; /* of its segments; once its own is checked */
};

struct header {
    uint16_t type, phnum;
    uint64_t entry, phoff;
};

struct segment {
    uint32_t type, flags;
    uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

/* What of all segments together the checks need. */
struct layout {
    struct segment load[PHDRS_MAX];
    size_t loads;
};

struct found {
    bool pvh, manifest;
    uint64_t pvh_entry;
    struct manifest m;
};

static bool within(const struct file *f, uint64_t offset, uint64_t len)
{
    return offset <= f->len && len <= f->len - offset;
}

/*----- the header -----*/

static enum image_fault check_ident(const struct file *f)
{
    if (f->len == 0)
        return IMAGE_EMPTY;
    if (f->len < SELFMAG || memcmp(f->p, ELFMAG, SELFMAG) != 0)
        return IMAGE_NOT_ELF;
    if (f->len < EI_NIDENT)
        return IMAGE_TRUNCATED;
    if (f->p[EI_CLASS] == ELFCLASS32)
        return IMAGE_NOT_64;
    if (f->p[EI_DATA] == ELFDATA2MSB)
        return IMAGE_FOREIGN;
    if (f->p[EI_CLASS] != ELFCLASS64 || f->p[EI_DATA] != ELFDATA2LSB ||
        f->p[EI_VERSION] != EV_CURRENT)
        return IMAGE_HEADERS;
    return IMAGE_OK;
}

static enum image_fault check_header(const struct file *f, struct header *h)
{
    struct wire_in in = wire_in(f->p, f->len);
    uint16_t machine, phentsize, shentsize, shnum;
    uint32_t version;
    uint64_t shoff;

    (void)wire_bytes(&in, EI_NIDENT);
    h->type = wire_u16(&in);
    machine = wire_u16(&in);
    version = wire_u32(&in);
    h->entry = wire_u64(&in);
    h->phoff = wire_u64(&in);
    shoff = wire_u64(&in);
    (void)wire_u32(&in); /* flags: none are defined for x86-64 */
    (void)wire_u16(&in); /* ehsize */
    phentsize = wire_u16(&in);
    h->phnum = wire_u16(&in);
    shentsize = wire_u16(&in);
    shnum = wire_u16(&in);
    (void)wire_u16(&in); /* shstrndx */
    if (in.bad)
        return IMAGE_TRUNCATED;

    if (machine != EM_X86_64)
        return IMAGE_FOREIGN;
    if (h->type == ET_DYN)
        return IMAGE_PIE;
    if (h->type != ET_EXEC)
        return IMAGE_NOT_EXEC;
    if (version != EV_CURRENT || phentsize != sizeof(Elf64_Phdr) || h->phnum == 0 ||
        h->phnum > PHDRS_MAX)
        return IMAGE_HEADERS;
    /* Nobody needs the sections, but they come last: they tell of a file that was cut. */
    if (!within(f, h->phoff, (uint64_t)h->phnum * sizeof(Elf64_Phdr)) ||
        (shoff != 0 && !within(f, shoff, (uint64_t)shnum * shentsize)))
        return IMAGE_TRUNCATED;
    return IMAGE_OK;
}

/*----- segments -----*/

static struct segment segment_at(const struct file *f, unsigned i)
{
    struct wire_in in = wire_in(f->headers + i * sizeof(Elf64_Phdr), sizeof(Elf64_Phdr));
    struct segment s;

    s.type = wire_u32(&in);
    s.flags = wire_u32(&in);
    s.offset = wire_u64(&in);
    s.vaddr = wire_u64(&in);
    s.paddr = wire_u64(&in);
    s.filesz = wire_u64(&in);
    s.memsz = wire_u64(&in);
    s.align = wire_u64(&in);
    return s;
}

/* By pages, as they are mapped: rights hold for a page. */
static enum image_fault check_load(const struct segment *s, const struct layout *l)
{
    if (s->filesz > s->memsz)
        return IMAGE_HEADERS;
    if ((s->flags & PF_W) && (s->flags & PF_X))
        return IMAGE_WX;
    if (s->vaddr < IMAGE_LOAD_LOW || s->vaddr > IMAGE_LOAD_HIGH ||
        s->memsz > IMAGE_LOAD_HIGH - s->vaddr || s->paddr != s->vaddr)
        return IMAGE_PLACE;
    if (s->vaddr % PAGE != s->offset % PAGE)
        return IMAGE_SEGMENTS;
    if (l->loads > 0) {
        const struct segment *before = &l->load[l->loads - 1];

        if (s->vaddr / PAGE < (before->vaddr + before->memsz + PAGE - 1) / PAGE)
            return IMAGE_SEGMENTS;
    }
    return IMAGE_OK;
}

static enum image_fault check_segments(const struct file *f, const struct header *h,
                                       struct layout *l)
{
    enum image_fault fault;

    /* A cut file before all else: its other faults are not the reason. */
    for (unsigned i = 0; i < h->phnum; i++) {
        struct segment s = segment_at(f, i);

        if (s.type != PT_NULL && s.type != PT_GNU_STACK && !within(f, s.offset, s.filesz))
            return IMAGE_TRUNCATED;
    }
    for (unsigned i = 0; i < h->phnum; i++) {
        struct segment s = segment_at(f, i);

        if (s.type == PT_INTERP || s.type == PT_DYNAMIC)
            return IMAGE_DYNAMIC;
        if (s.type == PT_GNU_STACK && (s.flags & PF_X))
            return IMAGE_WX;
        if (s.type != PT_LOAD || s.memsz == 0)
            continue;
        fault = check_load(&s, l);
        if (fault)
            return fault;
        l->load[l->loads++] = s;
    }
    return IMAGE_OK;
}

static bool executable(const struct layout *l, uint64_t address)
{
    for (size_t i = 0; i < l->loads; i++) {
        const struct segment *s = &l->load[i];

        if ((s->flags & PF_X) && address >= s->vaddr && address - s->vaddr < s->filesz)
            return true;
    }
    return false;
}

/*----- notes -----*/

static enum image_fault take_pvh(struct wire_in desc, struct found *found)
{
    if (found->pvh)
        return IMAGE_TWICE;
    found->pvh = true;
    found->pvh_entry = desc.left == 8 ? wire_u64(&desc) : wire_u32(&desc);
    return wire_end(&desc) ? IMAGE_NOTES : IMAGE_OK;
}

static enum image_fault take_manifest(struct wire_in desc, struct found *found)
{
    if (found->manifest)
        return IMAGE_TWICE;
    found->manifest = true;
    switch (manifest_decode(desc.p, desc.left, &found->m)) {
    case RC_OK:
        return IMAGE_OK;
    case RC_VERSION:
        return IMAGE_ABI;
    default:
        return IMAGE_MANIFEST;
    }
}

static const uint8_t *padded(struct wire_in *in, size_t len, size_t align)
{
    const uint8_t *p = wire_bytes(in, len);
    size_t pad = (align - len % align) % align;

    /* The last note's padding may be missing. */
    if (p)
        (void)wire_bytes(in, pad < in->left ? pad : in->left);
    return p;
}

static enum image_fault next_note(struct wire_in *in, size_t align, struct found *found)
{
    uint32_t namesz = wire_u32(in), descsz = wire_u32(in), type = wire_u32(in);
    const uint8_t *name = padded(in, namesz, 4);
    const uint8_t *desc;

    /* With 8, it is the descriptor's place in the note that is aligned: 12 bytes come before. */
    if (align == 8 && name && (12 + namesz + 3u) / 4 % 2 != 0)
        (void)wire_bytes(in, 4);
    desc = padded(in, descsz, align);
    if (in->bad || !name || !desc)
        return IMAGE_NOTES;
    if (namesz == sizeof XEN_NOTE_NAME && memcmp(name, XEN_NOTE_NAME, namesz) == 0 &&
        type == XEN_NOTE_PHYS32_ENTRY)
        return take_pvh(wire_in(desc, descsz), found);
    if (namesz == sizeof MANIFEST_NOTE_NAME && memcmp(name, MANIFEST_NOTE_NAME, namesz) == 0 &&
        type == MANIFEST_NOTE_TYPE)
        return take_manifest(wire_in(desc, descsz), found);
    return IMAGE_OK;
}

static enum image_fault check_notes(const struct file *f, const struct header *h,
                                    struct found *found)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < h->phnum; i++) {
        struct segment s = segment_at(f, i);
        struct wire_in in;

        if (s.type != PT_NOTE)
            continue;
        total += s.filesz;
        if (total > NOTES_MAX)
            return IMAGE_NOTES;
        in = wire_in(f->p + s.offset, (size_t)s.filesz);
        while (in.left > 0) {
            enum image_fault fault = next_note(&in, s.align == 8 ? 8 : 4, found);

            if (fault)
                return fault;
        }
    }
    if (!found->pvh)
        return IMAGE_NO_PVH;
    if (!found->manifest)
        return IMAGE_NO_MANIFEST;
    return IMAGE_OK;
}

/* It is told to clients and put into lists. */
static bool alpn_valid(const char *s)
{
    return strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-,") ==
           strlen(s);
}

/* One that no domain of that size can hold must not be taken for a fault of the host.  Xen's
 * domain builder counts whole MiB. */
static uint64_t filled(const struct layout *l)
{
    const struct segment *last = &l->load[l->loads - 1]; /* they are in order */

    return last->paddr + last->memsz + BEHIND;
}

bool image_fits(uint64_t room, uint64_t memory)
{
    return room <= memory >> 20 << 20;
}

static enum image_fault check_manifest(const struct manifest *m)
{
    if (m->abi != MANIFEST_ABI)
        return IMAGE_ABI;
    if (!alpn_valid(m->alpn))
        return IMAGE_MANIFEST;
    if (m->memory_kib < IMAGE_MEMORY_KIB_MIN || m->memory_kib > IMAGE_MEMORY_KIB_MAX)
        return IMAGE_MEMORY;
    return IMAGE_OK;
}

enum image_fault image_check(const void *file, size_t len, struct manifest *out)
{
    struct file f = {.p = file, .len = len};
    struct layout layout = {.loads = 0};
    struct found found = {.pvh = false};
    struct header h;
    enum image_fault fault = check_ident(&f);

    if (!fault)
        fault = check_header(&f, &h);
    if (!fault) {
        f.headers = f.p + h.phoff;
        fault = check_segments(&f, &h, &layout);
    }
    if (!fault && !executable(&layout, h.entry))
        fault = IMAGE_ENTRY;
    if (!fault)
        fault = check_notes(&f, &h, &found);
    if (!fault && !executable(&layout, found.pvh_entry))
        fault = IMAGE_ENTRY;
    if (!fault)
        fault = check_manifest(&found.m);
    if (!fault && !image_fits(filled(&layout), (uint64_t)found.m.memory_kib << 10))
        fault = IMAGE_ROOM;
    if (!fault)
        *out = found.m;
    return fault;
}

/* Nothing of the file is looked at behind its start and the headers of its segments. */
bool image_headers(const void *start, size_t size, uint64_t *at, size_t *len)
{
    const struct file f = {.p = start, .len = size};
    struct header h;

    if (size < IMAGE_START || check_ident(&f) || check_header(&f, &h))
        return false;
    *at = h.phoff;
    *len = h.phnum * sizeof(Elf64_Phdr);
    return true;
}

uint64_t image_room(const void *start, const void *headers, size_t size)
{
    const struct file f = {.p = start, .len = size, .headers = headers};
    struct layout layout = {.loads = 0};
    struct header h;

    if (size < IMAGE_START || check_ident(&f) || check_header(&f, &h) ||
        check_segments(&f, &h, &layout) || layout.loads == 0)
        return 0;
    return filled(&layout);
}

static const char *const whys[IMAGE_FAULT_NR] = {[IMAGE_OK] = "it is an image",
#define X(id, why, todo) [IMAGE_##id] = (why),
                                                 IMAGE_FAULTS(X)
#undef X
};

static const char *const todos[IMAGE_FAULT_NR] = {[IMAGE_OK] = "",
#define X(id, why, todo) [IMAGE_##id] = (todo),
                                                  IMAGE_FAULTS(X)
#undef X
};

const char *image_fault_why(enum image_fault fault)
{
    CHECK((unsigned)fault < IMAGE_FAULT_NR);
    return whys[fault];
}

const char *image_fault_todo(enum image_fault fault)
{
    CHECK((unsigned)fault < IMAGE_FAULT_NR);
    return todos[fault];
}
