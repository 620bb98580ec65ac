# The integer program as a 64-bit Xen PV guest: output by HYPERVISOR_console_io, the end by SCHEDOP_shutdown(poweroff).
    .set HYPERVISOR_console_io, 18
    .set HYPERVISOR_sched_op, 29
    .set SCHEDOP_shutdown, 2

    .macro note type, words:vararg
    .pushsection .note.Xen, "a", @note
    .balign 4
    .long 4, 2f - 1f, \type
    .asciz "Xen"
1:  \words
2:  .balign 4
    .popsection
    .endm

    note 1, .quad start                     # ENTRY
    note 3, .quad 0xffffffff80000000        # VIRT_BASE
    note 4, .quad 0xffffffff80000000        # PADDR_OFFSET: physical addresses in the image are virtual ones
    note 5, .asciz "xen-3.0"                # XEN_VERSION
    note 6, .asciz "integer"                # GUEST_OS
    note 8, .asciz "generic"                # LOADER

    .text
    .globl start
start:
    mov $stack_top, %rsp
    call program
    movl $0, reason(%rip)
    mov $HYPERVISOR_sched_op, %eax
    mov $SCHEDOP_shutdown, %edi
    lea reason(%rip), %rsi
    syscall
1:  jmp 1b

    .globl put
put:
    mov %rdi, %rdx
    xor %esi, %esi
2:  cmpb $0, (%rdi,%rsi)
    je 3f
    inc %rsi
    jmp 2b
3:  xor %edi, %edi                          # CONSOLEIO_write, count, buffer
    mov $HYPERVISOR_console_io, %eax
    syscall
    ret

    .bss
    .balign 16
reason: .skip 16
    .skip 65536
stack_top:
    .section .note.GNU-stack, "", @progbits
