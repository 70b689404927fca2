/* The ways between app and kernel: a system call, a trap, the first entry. */

        .text
/* %rax = number, %rdi %rsi %rdx %r10 %r8 %r9 = arguments, %rcx = where to return, %r11 = flags.
 * Keeps every register but %rax, %rcx, %r11, as on Linux. Interrupts are off (SFMASK). */
        .globl kernel_syscall_entry
kernel_syscall_entry:
        movq %rsp, app_stack(%rip)
        movl $kernel_stack_top, %esp
        pushq %rcx
        pushq %r11
        pushq %r9                       /* struct call, from its end */
        pushq %r8
        pushq %r10
        pushq %rdx
        pushq %rsi
        pushq %rdi
        pushq %rax
        movq %rsp, %rdi
        subq $8, %rsp
        call kernel_call
        addq $16, %rsp                  /* over the number, too */
        popq %rdi
        popq %rsi
        popq %rdx
        popq %r10
        popq %r8
        popq %r9
        popq %r11
        popq %rcx
        movq app_stack(%rip), %rsp
        sysretq

/* void kernel_enter_app(entry, stack) */
        .globl kernel_enter_app
kernel_enter_app:
        pushq $0x1b                     /* SELECTOR_APP_DATA */
        pushq %rsi
        pushq $0x2                      /* flags: interrupts off, no I/O ports */
        pushq $0x23                     /* SELECTOR_APP_CODE */
        pushq %rdi
        movl $0x1b, %eax
        movl %eax, %ds
        movl %eax, %es
        xorl %eax, %eax                 /* nothing of ours is left for the app to see */
        xorl %ebx, %ebx
        xorl %ecx, %ecx
        xorl %edx, %edx
        xorl %esi, %esi
        xorl %edi, %edi
        xorl %ebp, %ebp
        xorl %r8d, %r8d
        xorl %r9d, %r9d
        xorl %r10d, %r10d
        xorl %r11d, %r11d
        xorl %r12d, %r12d
        xorl %r13d, %r13d
        xorl %r14d, %r14d
        xorl %r15d, %r15d
        iretq

/* One entry of 16 bytes for each vector. The processor pushes an error code for some of them. */
        .balign 16
        .globl kernel_trap_entries
kernel_trap_entries:
        .set vector, 0
        .rept 32
        .balign 16
        .if !((0x60227d00 >> vector) & 1)
        pushq $0
        .endif
        pushq $vector
        jmp trap
        .set vector, vector + 1
        .endr

trap:   pushq %r15                      /* struct trap of cpu.c, from its end; it never returns */
        pushq %r14
        pushq %r13
        pushq %r12
        pushq %r11
        pushq %r10
        pushq %r9
        pushq %r8
        pushq %rbp
        pushq %rdi
        pushq %rsi
        pushq %rdx
        pushq %rcx
        pushq %rbx
        pushq %rax
        movq %rsp, %rdi
        andq $-16, %rsp
        cld
        call kernel_trap

        .section .bss
        .balign 8
app_stack: .skip 8

        .section .note.GNU-stack, "", @progbits
