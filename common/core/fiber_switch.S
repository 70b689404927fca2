/* fiber_switch(void **save_sp, void *load_sp): saves what a called function must
 * keep (System V x86-64: rbx, rbp, r12-r15, the modes of mxcsr and of the x87)
 * on the running stack, and goes on where another stack left off.
 *
 * All else is the caller's to save, and the compiler does, since to it this is an
 * ordinary call.  Also linked, uninstrumented, into sanitizer builds. */
    .text
    .globl fiber_switch
    .type fiber_switch, @function
fiber_switch:
    .cfi_startproc
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    subq $8, %rsp
    stmxcsr (%rsp)
    fnstcw 4(%rsp)

    movq %rsp, (%rdi)
    movq %rsi, %rsp

    ldmxcsr (%rsp)
    fldcw 4(%rsp)
    addq $8, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .cfi_endproc
    .size fiber_switch, . - fiber_switch

    .section .note.GNU-stack,"",@progbits
