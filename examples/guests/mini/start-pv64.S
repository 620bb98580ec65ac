/*
 * Entry points and ELF notes of a 64-bit PV kernel.
 *
 * Xen enters a 64-bit PV kernel with RSI = start_info (virtual) and events masked. It calls a handler with
 *   rcx, r11, [error code,] rip, cs, rflags, rsp, ss      (lowest address first)
 * on the stack, and takes from the iret hypercall's caller
 *   rax, r11, rcx, flags, rip, cs, rflags, rsp, ss.
 */
#define CALL_IRET 23
/* Xen leaves these two on the stack. */
#define ENTERED pop %rcx; pop %r11
#include "start.h"

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
        push_changed
        cld
        call    on_event
        pop_changed
        jmp     leave

/* Xen comes here when it could not load a selector of ours: rcx, r11, ds, es, fs, gs, then the frame. Never returns. */
        .globl  failsafe_entry
failsafe_entry:
        cld
        call    on_failsafe
        ud2

trap_common:
        push_all
        cld
        mov     %rsp, %rdi
        call    on_trap
        pop_all
        add     $16, %rsp
        jmp     leave

        entries
        .balign 16
        .globl  trap_entries_end
trap_entries_end:

        stack
        notes   .quad, 0xffff800000000000

        .section .note.GNU-stack, "", @progbits
