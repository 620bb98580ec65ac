/*
 * Entry points and ELF notes.
 *
 * Xen enters a 64-bit PV kernel with RSI = start_info (virtual) and events masked. It calls a handler with
 *   rcx, r11, [error code,] rip, cs, rflags, rsp, ss      (lowest address first)
 * on the stack, and takes from the iret hypercall's caller
 *   rax, r11, rcx, flags, rip, cs, rflags, rsp, ss.
 */
#define CALL_IRET 23

        .section .text.start, "ax"
        .globl  _start
_start:
        cld
        mov     %rsp, boot_stack(%rip)
        lea     stack_top(%rip), %rsp
        xor     %ebp, %ebp
        mov     %rsi, %rdi
        call    kernel_main
        ud2

        .text
/* Leaves a handler: everything but rip, cs, rflags, rsp, ss has been taken from the stack. */
leave:
        push    $0
        push    %rcx
        push    %r11
        push    %rax
        mov     $CALL_IRET, %eax
        syscall
        ud2

        .globl  event_entry
event_entry:
        pop     %rcx
        pop     %r11
        push    %rax
        push    %rcx
        push    %rdx
        push    %rsi
        push    %rdi
        push    %r8
        push    %r9
        push    %r10
        push    %r11
        cld
        call    on_event
        pop     %r11
        pop     %r10
        pop     %r9
        pop     %r8
        pop     %rdi
        pop     %rsi
        pop     %rdx
        pop     %rcx
        pop     %rax
        jmp     leave

/* Xen comes here when it could not load a selector of ours: rcx, r11, ds, es, fs, gs, then the frame. Never returns. */
        .globl  failsafe_entry
failsafe_entry:
        cld
        call    on_failsafe
        ud2

trap_common:
        push    %rax
        push    %rbx
        push    %rcx
        push    %rdx
        push    %rsi
        push    %rdi
        push    %rbp
        push    %r8
        push    %r9
        push    %r10
        push    %r11
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        cld
        mov     %rsp, %rdi
        call    on_trap
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %r11
        pop     %r10
        pop     %r9
        pop     %r8
        pop     %rbp
        pop     %rdi
        pop     %rsi
        pop     %rdx
        pop     %rcx
        pop     %rbx
        pop     %rax
        add     $16, %rsp
        jmp     leave

/* One entry of 16 bytes a vector, so that the table of handlers can be computed. */
        .macro  entry vector, has_code
        .balign 16
        pop     %rcx
        pop     %r11
        .if     \has_code == 0
        push    $0
        .endif
        push    $\vector
        jmp     trap_common
        .endm

        .globl  trap_entries
        .balign 16
trap_entries:
        .irp    vector, 0, 1, 2, 3, 4, 5, 6, 7
        entry   \vector, 0
        .endr
        entry   8, 1
        entry   9, 0
        .irp    vector, 10, 11, 12, 13, 14
        entry   \vector, 1
        .endr
        entry   15, 0
        entry   16, 0
        entry   17, 1
        entry   18, 0
        entry   19, 0
        .balign 16
        .globl  trap_entries_end
trap_entries_end:

        .bss
        .globl  boot_stack
        .balign 16
boot_stack:
        .skip   16
        .skip   16384
stack_top:

        .macro  note type, value:vararg
        .balign 4
        .long   4, 2f - 1f, \type
        .asciz  "Xen"
1:      \value
2:      .balign 4
        .endm

        .section .note.Xen, "a", @note
        note    6, .asciz "mini"                /* guest OS */
        note    7, .asciz "1"                   /* guest version */
        note    5, .asciz "xen-3.0"             /* interface */
        note    8, .asciz "generic"             /* loader */
        note    3, .quad VIRTUAL_BASE           /* where physical address 0 is mapped */
        note    4, .quad 0                      /* offset of the ELF file's physical addresses */
        note    1, .quad _start                 /* entry */
        note    12, .quad 0xffff800000000000    /* lowest address that Xen may take */
        note    9, .asciz "yes"                 /* PAE */
        note    14, .long 1                     /* a suspend that is cancelled returns 1 */
        note    10, .asciz "!writable_page_tables|pae_pgdir_above_4gb"

        .section .note.GNU-stack, "", @progbits
