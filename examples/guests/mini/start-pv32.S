/*
 * Entry points and ELF notes of a 32-bit PV kernel.
 *
 * Xen enters it with ESI = start_info (virtual) and events masked, in ring 1. It calls a handler with
 *   [error code,] eip, cs and the mask of before, eflags      (lowest address first)
 * on the stack, and takes from the iret hypercall's caller
 *   eax, eip, cs, eflags.
 */
#define CALL_IRET 23
#include "start.h"

        .code32
        .section .text.start, "ax"
        .globl  _start
_start:
        cld
        mov     %esp, boot_stack
        mov     $stack_top, %esp
        xor     %ebp, %ebp
        push    %esi
        call    kernel_main
        ud2

        .text
/* Leaves a handler: everything but eip, cs, eflags has been taken from the stack. */
leave:
        push    %eax
        mov     $CALL_IRET, %eax
        int     $0x82
        ud2

        .globl  event_entry
event_entry:
        pusha
        cld
        call    on_event
        popa
        jmp     leave

/* Xen comes here when it could not load a selector of ours: ds, es, fs, gs, then the frame. Never returns. */
        .globl  failsafe_entry
failsafe_entry:
        cld
        call    on_failsafe
        ud2

trap_common:
        pusha
        cld
        push    %esp
        call    on_trap
        add     $4, %esp
        popa
        add     $8, %esp
        jmp     leave

        entries

        stack
        notes   .long, 0xf5800000

        .section .note.GNU-stack, "", @progbits
