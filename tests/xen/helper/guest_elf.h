/* The smallest PVH guests: an ELF in a memory file, with no image of Roomkey in it.
 * Code is 32-bit, at GUEST_AT, with paging off. */
#ifndef TESTS_XEN_GUEST_ELF_H
#define TESTS_XEN_GUEST_ELF_H

enum guest {
    GUEST_IDLES, /* sti; hlt; again */
    GUEST_SPINS, /* uses up a processor */
    GUEST_STOPS, /* cli; hlt: Xen takes this for a power-off */
};

/* A descriptor, the caller's. */
int guest_elf(enum guest kind);

#endif
