/*
 * Entry points and the ELF note of a PVH kernel.
 *
 * Xen enters it in 32-bit protected mode without paging, with EBX = hvm_start_info (physical). The first 4 GiB are mapped one to
 * one: the first 2 MiB by small pages from the kernel's own on, so that address 0 and what follows fault, the rest by large ones.
 */
#define CODE32 0x18
#define CODE64 0x08
#define DATA 0x10
#define MSR_EFER 0xc0000080
#include "start.h"

        .section .text.start, "ax"
        .code32
        .globl  _start
_start:
        cld
        mov     $stack_top, %esp
        mov     %ebx, %edi
        /* entry = physical address | present, writable[, large] */
        movl    $level3 + 3, level4
        movl    $level2 + 0x0003, level3
        movl    $level2 + 0x1003, level3 + 8
        movl    $level2 + 0x2003, level3 + 16
        movl    $level2 + 0x3003, level3 + 24
        xor     %ecx, %ecx
1:      mov     %ecx, %eax
        shl     $21, %eax
        or      $0x83, %eax
        mov     %eax, level2(,%ecx,8)
        inc     %ecx
        cmp     $2048, %ecx
        jb      1b
        movl    $level1 + 3, level2
        mov     $_text, %ecx
        shr     $12, %ecx
2:      mov     %ecx, %eax
        shl     $12, %eax
        or      $3, %eax
        mov     %eax, level1(,%ecx,8)
        inc     %ecx
        cmp     $512, %ecx
        jb      2b
        .globl  enter_long_mode
enter_long_mode:
        mov     %cr4, %eax
        or      $0x20, %eax                     /* PAE */
        mov     %eax, %cr4
        mov     $level4, %eax
        mov     %eax, %cr3
        mov     $MSR_EFER, %ecx
        rdmsr
        or      $0x100, %eax                    /* LME */
        wrmsr
        mov     %cr0, %eax
        or      $0x80010000, %eax               /* PG, WP */
        mov     %eax, %cr0
        lgdt    descriptors
        ljmp    $CODE64, $1f

        .code64
1:      mov     $DATA, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        xor     %eax, %eax
        mov     %eax, %fs
        mov     %eax, %gs
        xor     %ebp, %ebp
        mov     %edi, %edi                      /* the upper half */
        call    pvh_main
        ud2

        .text
        .globl  event_entry
event_entry:
        push_changed
        cld
        call    on_event
        pop_changed
        iretq

trap_common:
        push_all
        cld
        mov     %rsp, %rdi
        call    on_trap
        pop_all
        add     $16, %rsp
        iretq

        entries

        .section .rodata
        .balign 8
gdt:    .quad   0
        .quad   0x00af9b000000ffff              /* 64-bit code */
        .quad   0x00cf93000000ffff              /* data */
        .quad   0x00cf9b000000ffff              /* 32-bit code */
gdt_end:
descriptors:
        .word   gdt_end - gdt - 1
        .long   gdt, 0

        .bss
        .balign 16
        .skip   16384
stack_top:
        .globl  boot_stack
        .balign 8
boot_stack:
        .skip   8

        .section .bss.pages, "aw", @nobits
        .balign 4096
level4: .skip   4096
level3: .skip   4096
level2: .skip   4 * 4096
level1: .skip   4096
        .globl  hypercall_page
hypercall_page:
        .skip   4096

/* Where Xen's own pages are put: behind all memory that is used, so that none of it makes room for them. */
        .globl  shared_page, table_page
        .set    shared_page, 0x7fffe000
        .set    table_page, 0x7ffff000

        .section .note.Xen, "a", @note
        .balign 4
        .long   4, 4, 18                        /* PHYS32_ENTRY */
        .asciz  "Xen"
        .long   _start

        .section .note.GNU-stack, "", @progbits
