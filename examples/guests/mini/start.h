/*
 * What the entry points of several kinds have in common: the table of exceptions' entries, registers kept around a handler in C,
 * the ELF notes of a PV kernel. Macros of the assembler.
 */

/* What a vector's entry does first, where a kind needs anything: ENTERED before this file is included. */
#ifndef ENTERED
#define ENTERED
#endif

/* One entry of 16 bytes a vector, so that the table of handlers can be computed. */
        .macro  entry vector, has_code
        .balign 16
        ENTERED
        .if     \has_code == 0
        push    $0
        .endif
        push    $\vector
        jmp     trap_common
        .endm

        .macro  entries
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
        .endm

/* 64-bit: those that a function in C may change, and all of them. */
        .macro  push_changed
        .irp    register, rax, rcx, rdx, rsi, rdi, r8, r9, r10, r11
        push    %\register
        .endr
        .endm

        .macro  pop_changed
        .irp    register, r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax
        pop     %\register
        .endr
        .endm

        .macro  push_all
        .irp    register, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
        push    %\register
        .endr
        .endm

        .macro  pop_all
        .irp    register, r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax
        pop     %\register
        .endr
        .endm

/* The stack pointer that a PV kernel is entered with is kept below its own stack. */
        .macro  stack
        .bss
        .globl  boot_stack
        .balign 16
boot_stack:
        .skip   16
        .skip   16384
stack_top:
        .endm

        .macro  note type, value:vararg
        .balign 4
        .long   4, 2f - 1f, \type
        .asciz  "Xen"
1:      \value
2:      .balign 4
        .endm

/* `word`: how addresses are given; `lowest`: of what Xen may take. */
        .macro  notes word, lowest
        .section .note.Xen, "a", @note
        note    6, .asciz "mini"                /* guest OS */
        note    7, .asciz "1"                   /* guest version */
        note    5, .asciz "xen-3.0"             /* interface */
        note    8, .asciz "generic"             /* loader */
        note    3, \word VIRTUAL_BASE           /* where physical address 0 is mapped */
        note    4, \word 0                      /* offset of the ELF file's physical addresses */
        note    1, \word _start                 /* entry */
        note    12, \word \lowest               /* lowest address that Xen may take */
        note    9, .asciz "yes"                 /* PAE */
        note    14, .long 1                     /* a suspend that is cancelled returns 1 */
        note    10, .asciz "!writable_page_tables|pae_pgdir_above_4gb"
        .endm
