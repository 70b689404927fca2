#include "elf_fixture.h"
#include "orchestrator/image_check.h"
#include "scratch.h"

static const struct manifest plain = {.abi = MANIFEST_ABI,
                                      .memory_kib = 4096,
                                      .name = "hello",
                                      .version = "1.0.0",
                                      .alpn = "http/1.1"};

static struct elf_fixture make(const struct manifest *m)
{
    struct elf_fixture e;

    assert_true(elf_make(&e, m));
    return e;
}

/* On the heap and exactly as long, so that a sanitizer sees a read past its end. */
static enum image_fault check(const void *bytes, size_t len)
{
    void *copy = malloc(len ? len : 1);
    struct manifest m;
    enum image_fault fault;

    memcpy(copy, bytes, len);
    fault = image_check(copy, len, &m);
    free(copy);
    return fault;
}

static void must(const struct elf_fixture *e, enum image_fault expected)
{
    enum image_fault fault = check(e->bytes, e->len);

    if (fault != expected)
        fail_msg("expected: %s; got: %s", image_fault_why(expected), image_fault_why(fault));
}

static void an_image_is_accepted_and_its_manifest_told(void **state)
{
    struct elf_fixture e = make(&plain);
    struct manifest m;

    (void)state;
    assert_int_equal(image_check(e.bytes, e.len, &m), IMAGE_OK);
    assert_string_equal(m.name, "hello");
    assert_string_equal(m.version, "1.0.0");
    assert_string_equal(m.alpn, "http/1.1");
    assert_int_equal(m.memory_kib, 4096);
}

static void every_cut_is_refused_and_never_read_past(void **state)
{
    struct elf_fixture e = make(&plain);

    (void)state;
    for (size_t len = 0; len < e.len; len++) {
        enum image_fault fault = check(e.bytes, len);

        if (len == 0)
            assert_int_equal(fault, IMAGE_EMPTY);
        else if (len < 4)
            assert_int_equal(fault, IMAGE_NOT_ELF);
        else
            assert_int_equal(fault, IMAGE_TRUNCATED);
    }
}

static void a_file_cut_in_its_debug_information_is_truncated(void **state)
{
    struct elf_fixture e = make(&plain);

    (void)state;
    e.header.e_shoff = 6000;
    e.header.e_shentsize = sizeof(Elf64_Shdr);
    e.header.e_shnum = 4;
    must(&e, IMAGE_TRUNCATED);
    e.len = 6000 + 4 * sizeof(Elf64_Shdr);
    must(&e, IMAGE_OK);
    e.header.e_shoff = UINT64_MAX - 10;
    must(&e, IMAGE_TRUNCATED);
}

static void every_spoiled_header_has_its_reason(void **state)
{
#define SPOIL(change, fault)                 \
    do {                                     \
        struct elf_fixture e = make(&plain); \
        change;                              \
        must(&e, fault);                     \
    } while (0)
    (void)state;
    SPOIL(e.bytes[1] = 'F', IMAGE_NOT_ELF);
    SPOIL(e.header.e_ident[EI_CLASS] = ELFCLASS32, IMAGE_NOT_64);
    SPOIL(e.header.e_ident[EI_CLASS] = 9, IMAGE_HEADERS);
    SPOIL(e.header.e_ident[EI_DATA] = ELFDATA2MSB, IMAGE_FOREIGN);
    SPOIL(e.header.e_machine = EM_AARCH64, IMAGE_FOREIGN);
    SPOIL(e.header.e_type = ET_DYN, IMAGE_PIE);
    SPOIL(e.header.e_type = ET_REL, IMAGE_NOT_EXEC);
    SPOIL(e.header.e_version = 2, IMAGE_HEADERS);
    SPOIL(e.header.e_phnum = 0, IMAGE_HEADERS);
    SPOIL(e.header.e_phnum = 0xffff, IMAGE_HEADERS);
    SPOIL(e.header.e_phentsize = 32, IMAGE_HEADERS);
    SPOIL(e.header.e_phoff = e.len, IMAGE_TRUNCATED);
    SPOIL(e.header.e_phoff = UINT64_MAX, IMAGE_TRUNCATED);
    SPOIL(e.header.e_entry = ELF_BASE + 4096, IMAGE_ENTRY); /* data */
    SPOIL(e.header.e_entry = 0, IMAGE_ENTRY);
}

static void every_spoiled_segment_has_its_reason(void **state)
{
    (void)state;
    SPOIL(e.segment[1].p_filesz = UINT64_MAX, IMAGE_TRUNCATED);
    SPOIL(e.segment[1].p_offset = UINT64_MAX - 8, IMAGE_TRUNCATED);
    SPOIL(e.segment[2].p_offset = e.len - 4, IMAGE_TRUNCATED);
    SPOIL(e.segment[3].p_type = PT_INTERP, IMAGE_DYNAMIC);
    SPOIL(e.segment[3].p_type = PT_DYNAMIC, IMAGE_DYNAMIC);
    SPOIL(e.segment[1].p_flags |= PF_X, IMAGE_WX);
    SPOIL(e.segment[3].p_flags |= PF_X, IMAGE_WX); /* the stack */
    SPOIL(e.segment[1].p_memsz = 8, IMAGE_HEADERS);
    SPOIL((e.segment[0].p_vaddr = e.segment[0].p_paddr = 0), IMAGE_PLACE);
    SPOIL(e.segment[1].p_paddr += 4096, IMAGE_PLACE);
    SPOIL((e.segment[1].p_vaddr = e.segment[1].p_paddr = IMAGE_LOAD_HIGH), IMAGE_PLACE);
    SPOIL((e.segment[1].p_vaddr = e.segment[1].p_paddr = UINT64_MAX - 4095), IMAGE_PLACE);
    SPOIL(e.segment[1].p_memsz = UINT64_MAX, IMAGE_PLACE);
    SPOIL(e.segment[1].p_memsz = IMAGE_LOAD_HIGH, IMAGE_PLACE);
    SPOIL(e.segment[1].p_offset = 4000, IMAGE_SEGMENTS); /* not mappable */
    SPOIL(e.segment[0].p_memsz = 4097, IMAGE_SEGMENTS);  /* into the next one's page */
    SPOIL((e.segment[1].p_vaddr = e.segment[1].p_paddr = ELF_BASE), IMAGE_SEGMENTS);
    SPOIL((e.segment[1].p_vaddr = e.segment[1].p_paddr = ELF_BASE - 8192), IMAGE_SEGMENTS);
    SPOIL(e.segment[0].p_type = PT_NULL, IMAGE_ENTRY);
}

/* Where the manifest's note is: behind Xen's of 12 + 4 + 4 bytes. */
#define MANIFEST_AT (ELF_NOTES + 20)

static void every_spoiled_note_has_its_reason(void **state)
{
    const uint32_t elsewhere = ELF_BASE + 4096, huge = 0xfffffff0;

    (void)state;
    SPOIL(e.segment[2].p_type = PT_NULL, IMAGE_NO_PVH);
    SPOIL(e.bytes[ELF_NOTES + 8] = 17, IMAGE_NO_PVH);
    SPOIL(e.segment[2].p_filesz = 20, IMAGE_NO_MANIFEST);
    SPOIL(e.bytes[MANIFEST_AT + 12] = 'r', IMAGE_NO_MANIFEST);
    SPOIL(memcpy(e.bytes + ELF_NOTES + 16, &elsewhere, 4), IMAGE_ENTRY);
    SPOIL(memcpy(e.bytes + ELF_NOTES, &huge, 4), IMAGE_NOTES);
    SPOIL(memcpy(e.bytes + ELF_NOTES + 4, &huge, 4), IMAGE_NOTES);
    SPOIL(e.segment[2].p_filesz -= 8, IMAGE_NOTES);
    SPOIL(e.segment[3] = e.segment[2], IMAGE_TWICE);
    SPOIL(e.bytes[MANIFEST_AT + 20] = 9, IMAGE_ABI); /* the manifest's own version */
}

static void every_bad_manifest_has_its_reason(void **state)
{
#define SPOIL_MANIFEST(change, fault)    \
    do {                                 \
        struct manifest m = plain;       \
        change;                          \
        struct elf_fixture e = make(&m); \
        must(&e, fault);                 \
    } while (0)
    (void)state;
    SPOIL_MANIFEST(m.abi = MANIFEST_ABI + 1, IMAGE_ABI);
    SPOIL_MANIFEST(m.memory_kib = 1023, IMAGE_MEMORY);
    SPOIL_MANIFEST(m.memory_kib = UINT32_MAX, IMAGE_MEMORY);
    SPOIL_MANIFEST(m.memory_kib = 2047, IMAGE_ROOM); /* a domain has whole MiB */
    SPOIL_MANIFEST(m.memory_kib = 2048, IMAGE_OK);
    SPOIL_MANIFEST(strcpy(m.name, "Hello"), IMAGE_MANIFEST);
    SPOIL_MANIFEST(m.version[0] = '\0', IMAGE_MANIFEST);
    SPOIL_MANIFEST(strcpy(m.alpn, "h2 \n"), IMAGE_MANIFEST);
    SPOIL_MANIFEST(m.alpn[0] = '\0', IMAGE_OK);
}

/* Up to the last byte of the domain's memory there would be no page for Xen's start info. */
static void an_image_leaves_a_few_pages_of_its_memory_free(void **state)
{
    const uint64_t room = ((uint64_t)plain.memory_kib << 10) - ELF_BASE - 4096;

    (void)state;
    SPOIL(e.segment[1].p_memsz = room - 4 * 4096, IMAGE_OK);
    SPOIL(e.segment[1].p_memsz = room - 4 * 4096 + 1, IMAGE_ROOM);
    SPOIL(e.segment[1].p_memsz = room, IMAGE_ROOM);
}

static void what_an_image_fills_is_the_least_memory_that_it_fits_in(void **state)
{
    struct elf_fixture e = make(&plain);
    uint64_t room, at;
    size_t len;

    (void)state;
    assert_true(image_headers(e.bytes, e.len, &at, &len));
    assert_int_equal(len, 4 * 56);
    room = image_room(e.bytes, e.bytes + at, e.len);
    assert_true(room > 4 * 4096 && room % 4096 == e.segment[1].p_memsz % 4096);
    assert_true(image_fits(room, room + (1 << 20)));
    assert_true(image_fits(2 << 20, 2 << 20));
    assert_false(image_fits((2 << 20) + 1, 2 << 20));
    assert_false(image_fits(2 << 20, (2 << 20) - 1)); /* a domain has whole MiB */
    assert_int_equal(image_room(e.bytes, e.bytes + at, 100), 0);
    assert_int_equal(image_room(e.bytes, e.bytes + at, IMAGE_START - 1), 0);
    assert_false(image_headers(e.bytes, IMAGE_START - 1, &at, &len));
}

static void notes_without_end_take_bounded_time(void **state)
{
    struct elf_fixture e = make(&plain);
    size_t len = 1 << 20;
    unsigned char *file = calloc(1, len);

    (void)state;
    e.segment[2].p_filesz = len - ELF_NOTES;
    memcpy(file, e.bytes, e.len);
    assert_int_equal(check(file, len), IMAGE_NOTES);
    free(file);
}

/* As an ordinary compiler makes them. */
static void programs_that_are_no_images_are_told_apart(void **state)
{
    static const struct {
        const char *flags;
        enum image_fault fault;
    } kinds[] = {
        {"-static -no-pie", IMAGE_NO_PVH},
        {"-no-pie", IMAGE_DYNAMIC},
        {"-pie -fPIE", IMAGE_PIE},
        {"-c", IMAGE_NOT_EXEC},
        {"-static -no-pie -z execstack", IMAGE_WX},
    };
    struct scratch s;

    (void)state;
    scratch_make(&s);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char path[128];
        unsigned char *bytes = malloc(8 << 20);
        size_t len;
        FILE *f;

        assert_int_equal(scratch_sh(&s,
                                    "echo 'int main(void) { return 0; }' >a.c && gcc %s a.c -o a",
                                    kinds[i].flags),
                         0);
        snprintf(path, sizeof path, "%s/a", s.dir);
        f = fopen(path, "rb");
        assert_non_null(f);
        len = fread(bytes, 1, 8 << 20, f);
        fclose(f);
        if (check(bytes, len) != kinds[i].fault)
            fail_msg("%s: %s", kinds[i].flags, image_fault_why(check(bytes, len)));
        assert_int_equal(check(bytes, len / 2),
                         kinds[i].fault == IMAGE_PIE || kinds[i].fault == IMAGE_NOT_EXEC
                             ? kinds[i].fault
                             : IMAGE_TRUNCATED);
        free(bytes);
    }
    scratch_remove(&s);
}

static void no_flipped_bit_does_harm(void **state)
{
    struct elf_fixture e = make(&plain);
    unsigned refused = 0;

    (void)state;
    for (size_t bit = 0; bit < (ELF_NOTES + 0x80) * 8; bit++) {
        e.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        refused += check(e.bytes, e.len) != IMAGE_OK;
        e.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    assert_true(refused > 500);
}

static void each_fault_has_words_of_its_own(void **state)
{
    (void)state;
    for (unsigned a = 0; a < IMAGE_FAULT_NR; a++)
        for (unsigned b = 0; b < a; b++)
            assert_string_not_equal(image_fault_why((enum image_fault)a),
                                    image_fault_why((enum image_fault)b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_image_is_accepted_and_its_manifest_told),
        cmocka_unit_test(every_cut_is_refused_and_never_read_past),
        cmocka_unit_test(a_file_cut_in_its_debug_information_is_truncated),
        cmocka_unit_test(every_spoiled_header_has_its_reason),
        cmocka_unit_test(every_spoiled_segment_has_its_reason),
        cmocka_unit_test(every_spoiled_note_has_its_reason),
        cmocka_unit_test(every_bad_manifest_has_its_reason),
        cmocka_unit_test(what_an_image_fills_is_the_least_memory_that_it_fits_in),
        cmocka_unit_test(an_image_leaves_a_few_pages_of_its_memory_free),
        cmocka_unit_test(notes_without_end_take_bounded_time),
        cmocka_unit_test(programs_that_are_no_images_are_told_apart),
        cmocka_unit_test(no_flipped_bit_does_harm),
        cmocka_unit_test(each_fault_has_words_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
