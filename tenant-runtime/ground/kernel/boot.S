/* The image's second entry: from PVH's start (32-bit, flat, paging off, %ebx = hvm_start_info) to
 * kernel_main() in 64-bit mode, with the first 4 GiB mapped one to one until memory_init(). */

        .section .note.Xen, "a", @note
        .balign 4
        .long 4, 8, 18                  /* XEN_ELFNOTE_PHYS32_ENTRY */
        .asciz "Xen"
        .quad pvh_entry                 /* 8 bytes: QEMU reads as many in a 64-bit ELF */

        .text
        .code32
        .globl pvh_entry
pvh_entry:
        cld
        movl $kernel_stack_top, %esp

        movl $boot_directories, %edi    /* 2048 pages of 2 MiB: present, writable, large */
        movl $0x83, %eax
        movl $2048, %ecx
1:      movl %eax, (%edi)
        addl $8, %edi
        addl $0x200000, %eax
        loop 1b
        movl $boot_directories + 3, %eax
        movl $boot_pointers, %edi
        movl $4, %ecx
2:      movl %eax, (%edi)
        addl $8, %edi
        addl $4096, %eax
        loop 2b
        movl $boot_pointers + 3, boot_root

        movl $boot_root, %eax
        movl %eax, %cr3
        movl $0x20, %eax                /* CR4: PAE */
        movl %eax, %cr4
        movl $0xc0000080, %ecx          /* EFER: LME; the rest is cpu_init()'s */
        rdmsr
        orl $0x100, %eax
        wrmsr
        movl $0x80010033, %eax          /* CR0: PG, WP, NE, ET, MP, PE */
        movl %eax, %cr0
        lgdt boot_gdtr
        ljmp $0x08, $1f

        .code64
1:      movl $0x10, %eax
        movl %eax, %ds
        movl %eax, %es
        movl %eax, %ss
        xorl %eax, %eax
        movl %eax, %fs
        movl %eax, %gs
        movl $kernel_stack_top, %esp
        movl %ebx, %edi
        call kernel_main

        .section .rodata                /* until cpu_init() */
        .balign 8
boot_gdt:
        .quad 0
        .quad 0x00af9b000000ffff        /* 0x08 kernel code, 64-bit */
        .quad 0x00cf93000000ffff        /* 0x10 kernel data */
boot_gdtr:
        .word 3 * 8 - 1
        .quad boot_gdt

        .section .bss
        .balign 4096
        .globl kernel_stack_guard
kernel_stack_guard:                     /* nothing is mapped there from memory_init() on */
        .skip 4096
        .skip 8192
        .globl kernel_stack_top
kernel_stack_top:
        .skip 4096
        .globl kernel_fault_stack_top
kernel_fault_stack_top:

        .section .boot_bss, "aw", @nobits /* the app's RAM from memory_init() on */
        .balign 4096
boot_root:        .skip 4096
boot_pointers:    .skip 4096
boot_directories: .skip 4 * 4096

        .section .note.GNU-stack, "", @progbits
