# The modes of a processor one behind the other, for ours and for QEMU: every result goes to port 0xe9 as four bytes. It is
# entered in real mode at f000:0000 with the image at 0xf0000, and ends by a byte to port 0xf4. Nothing is written to the
# image itself, which is read-only memory for QEMU.
#
#   0x1000 page tables   0x5000 IDT   0x6000 TSS   0x7000 variables   0x8000 stack of the kernel   0x9000 stack of ring 3

        .macro  tell
        .rept   4
        outb    %al, $0xe9
        rorl    $8, %eax
        .endr
        .endm
        .macro  say value
        movl    \value, %eax
        tell
        .endm
        .macro  mark number
        movl    $0xc0de0000 + \number, %eax
        tell
        .endm

        .text
        .code16
image:
        cli
        cld
        mark    1
        # Segments, the stack, and what stands where.
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    $0x0700, %ax
        movw    %ax, %ss
        movw    $0x1000, %sp
        movl    $0x11223344, %eax
        pushl   %eax
        pushw   $0x5566
        say     %esp
        say     0x7ffa
        say     0x7ffc
        popw    %bx
        popl    %ecx
        say     %ecx
        movw    $0x0701, %ax
        movw    %ax, %fs
        movl    $0xabcd1234, %fs:0x10
        say     0x7020
        movw    %fs, %ax
        movzwl  %ax, %eax
        say     %eax
        # A selector with low bits in SS does not change the ring.
        movw    $0x0703, %ax
        movw    %ax, %ss
        movw    $0x0fd0, %sp
        smsw    %ax
        andl    $0xffff, %eax
        tell
        pushfl
        popl    %eax
        tell

        # Interrupts through the table.
        mark    2
        movw    $real_handler - image, 0x40*4
        movw    $0xf000, 0x40*4+2
        movw    $real_divide - image, 0
        movw    $0xf000, 2
        movw    $real_undefined - image, 6*4
        movw    $0xf000, 6*4+2
        sti
        int     $0x40
        pushfl
        popl    %eax
        tell
        cli
        xorw    %cx, %cx
        movw    $9, %ax
        divw    %cx
        say     %esp
        xorl    %eax, %eax
        lldt    %ax
        sldt    %ax
        lar     %ax, %bx
        say     %esp

        # Flags: IOPL and IF are the program's own.
        pushl   $0x3202
        popfl
        pushfl
        popl    %eax
        tell
        pushw   $0x0002
        popfw

        # Far calls, jumps and returns.
        mark    3
        lcallw  $0xf000, $far_leaf - image
        say     %esp
        lcalll  $0xf000, $far_leaf32 - image
        say     %esp
        pushw   $0x1111
        pushw   $0x2222
        lcallw  $0xf000, $far_pops - image
        say     %esp
        movw    $far_leaf - image, 0x7100
        movw    $0xf000, 0x7102
        lcallw  *0x7100
        pushfl
        pushl   $0xf000
        pushl   $iret_target - image
        iretl
iret_target:
        say     %esp
        ljmpw   $0xf010, $2f - image - 0x100
2:      movw    %cs, %ax
        movzwl  %ax, %eax
        tell
        ljmpw   $0xf000, $3f - image
3:

        # A limit of 4 GiB outlasts the way back from protected mode.
        mark    4
        lgdtl   %cs:gdt_pointer - image
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        movw    $0x10, %bx
        movw    %bx, %ds
        movw    %bx, %es
        andb    $0xfe, %al
        movl    %eax, %cr0
        xorw    %ax, %ax
        movw    %ax, %ds
        movl    $0x200000, %ebx
        movl    $0x600dcafe, (%ebx)
        say     (%ebx)
        movw    $0x1000, %ax
        movw    %ax, %es
        movl    %es:(%ebx), %eax
        movl    $0x77, %es:0x1f0000(,%eax,1)
        movw    $0, %ax
        movw    %ax, %es

        # LMSW sets PE, and cannot clear it.
        mark    5
        smsw    %ax
        orb     $1, %al
        lmsw    %ax
        xorw    %ax, %ax
        lmsw    %ax
        smsw    %ax
        andl    $0xffff, %eax
        tell
        ljmpl   $0x08, $protected + 0xf0000 - image

real_handler:
        pushl   %eax
        pushl   %ebp
        movw    %sp, %bp
        movzwl  8(%bp), %eax
        tell
        movzwl  10(%bp), %eax
        tell
        movzwl  12(%bp), %eax
        tell
        pushfl
        popl    %eax
        tell
        popl    %ebp
        popl    %eax
        iretw
real_divide:
        mark    0x20
        movw    %sp, %bp
        movzwl  (%bp), %eax
        tell
        addw    $2, (%bp)
        iretw
real_undefined:
        mark    0x26
        movw    %sp, %bp
        movzwl  (%bp), %eax
        tell
        addw    $3, (%bp)
        iretw
far_leaf:
        mark    0x30
        say     %esp
        lretw
far_leaf32:
        mark    0x31
        say     %esp
        lretl
far_pops:
        say     %esp
        lretw   $4

        .code32
protected:
        mark    6
        movw    $0x10, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    $0x8000, %esp
        # A table of handlers that all tell vector, error code and place.
        movl    $0x5000, %edi
        movl    $stubs + 0xf0000 - image, %ebx
        movl    $32, %ecx
1:      movl    %ebx, %eax
        andl    $0xffff, %eax
        orl     $0x00080000, %eax
        movl    %eax, (%edi)
        movl    %ebx, %eax
        andl    $0xffff0000, %eax
        orl     $0x0000ee00, %eax
        movl    %eax, 4(%edi)
        addl    $8, %edi
        addl    $16, %ebx
        loop    1b
        lidtl   %cs:idt_pointer + 0xf0000 - image
        movl    $0x8000, 0x6004
        movl    $0x10, 0x6008
        movw    $0x28, %ax
        # The descriptor of the task is in read-only memory: a copy of the table can be marked.
        movl    $gdt + 0xf0000 - image, %esi
        movl    $0x7200, %edi
        movl    $(gdt_end - gdt)/4, %ecx
        rep movsl
        lgdtl   %cs:gdt_copy_pointer + 0xf0000 - image
        ltr     %ax
        say     0x722c
        str     %eax
        tell
        movw    $0x30, %ax
        movw    %ax, %fs
        say     0x7234
        movl    %fs:0x10, %eax
        say     %esp
        xorl    %ecx, %ecx
        movl    $5, %eax
        divl    %ecx
        int3
        # Ring 3 and back by an interrupt.
        pushl   $0x23
        pushl   $0x9000
        pushl   $0x2
        pushl   $0x1b
        pushl   $user + 0xf0000 - image
        iretl
user:
        movl    $0x10, %eax
        movw    %ax, %ds
        cli
        int     $0x10
back_from_user:
        mark    7
        # Two levels of page tables with a large page.
        movw    $0x10, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movl    $0x1000, %edi
        movl    $0x1000, %ecx
        xorl    %eax, %eax
        rep stosl
        movl    $0x83, 0x1000
        movl    $0x2003, 0x1004
        movl    $0x7003, 0x2000
        movl    $0x7001, 0x2004
        movl    $0x10, %eax
        movl    %eax, %cr4
        movl    $0x1000, %eax
        movl    %eax, %cr3
        movl    %cr0, %eax
        orl     $0x80010000, %eax
        movl    %eax, %cr0
        movl    $0x13572468, 0x400300
        say     0x7300
        say     0x1000
        say     0x1004
        say     0x2000
        say     0x401300
        movl    $1, 0x401300
        say     0x402300
        say     0x2004
        movl    %cr0, %eax
        andl    $0x7fffffff, %eax
        movl    %eax, %cr0

        # Three levels.
        mark    8
        movl    $0, 0x1004
        movl    $0x2001, 0x1000
        movl    $0x00000083, 0x2000
        movl    $0, 0x2004
        movl    $0x3003, 0x2010
        movl    $0x7003, 0x3008
        movl    $0x30, %eax
        movl    %eax, %cr4
        movl    $0x1000, %eax
        movl    %eax, %cr3
        movl    %cr0, %eax
        orl     $0x80000000, %eax
        movl    %eax, %cr0
        movl    $0x24681357, 0x401304
        say     0x7304
        say     0x2000
        say     0x2010
        say     0x3008
        say     0x600000
        movl    %cr0, %eax
        andl    $0x7fffffff, %eax
        movl    %eax, %cr0

        # Long mode: four levels, 32-bit code first.
        mark    9
        movl    $0x2003, 0x1000
        movl    $0x3003, 0x2000
        movl    $0, 0x2010
        movl    $0x83, 0x3000
        movl    $0, 0x3008
        movl    $0xc0000080, %ecx
        rdmsr
        orl     $0x100, %eax
        wrmsr
        movl    %cr0, %eax
        orl     $0x80000000, %eax
        movl    %eax, %cr0
        rdmsr
        tell
        say     %esp
        ljmpl   $0x38, $long + 0xf0000 - image

        .code64
long:
        mark    10
        movq    $0x1122334455667788, %rbx
        movq    %rbx, %rax
        shrq    $32, %rax
        tell
        movl    %cs, %eax
        tell
        # Compatibility mode by a far return, and back to 64 bits.
        pushq   $0x08
        pushq   $compatible + 0xf0000 - image
        lretq
        .code32
compatible:
        mark    11
        movl    %cs, %eax
        tell
        pushl   $0x12345678
        popl    %eax
        tell
        ljmpl   $0x38, $long_again + 0xf0000 - image
        .code64
long_again:
        movq    %rbx, %rax
        shrq    $32, %rax
        tell
        # Out of long mode.
        pushq   $0x08
        pushq   $leave_long + 0xf0000 - image
        lretq
        .code32
leave_long:
        movl    %cr0, %eax
        andl    $0x7fffffff, %eax
        movl    %eax, %cr0
        movl    $0xc0000080, %ecx
        rdmsr
        tell
        andl    $~0x100, %eax
        wrmsr
        rdmsr
        tell
        xorl    %eax, %eax
        movl    %eax, %cr4
        # Real mode again, by segments of 16 bits.
        mark    12
        ljmpl   $0x40, $sixteen - image
        .code16
sixteen:
        movw    $0x48, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    %cr0, %eax
        andb    $0xfe, %al
        movl    %eax, %cr0
        ljmpw   $0xf000, $real_again - image
real_again:
        lidtl   %cs:ivt_pointer - image
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %ss
        movl    $0x7f00, %esp
        movw    %cs, %ax
        movzwl  %ax, %eax
        tell
        int     $0x40
        mark    13
        movb    $0, %al
        outb    %al, $0xf4
1:      hlt
        jmp     1b

        # Handlers of 16 bytes: those without an error code push one.
        .code32
        .balign 16
stubs:
        .set    vector, 0
        .rept   32
        .balign 16
        .if     (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17)
        .else
        pushl   $0
        .endif
        pushl   $vector
        jmp     common
        .set    vector, vector + 1
        .endr
common:
        pushal
        movl    %ss:0x20(%esp), %eax
        tell
        cmpl    $16, %eax
        je      from_user
        movl    %ss:0x24(%esp), %eax
        tell
        movl    %ss:0x28(%esp), %eax
        tell
        movl    %ss:0x2c(%esp), %eax
        tell
        cmpl    $14, %ss:0x20(%esp)
        jne     1f
        movl    %cr2, %eax
        tell
1:      cmpl    $3, %ss:0x20(%esp)
        je      2f
        # Behind the instruction: its length hangs on which it is.
        movl    $2, %eax
        cmpl    $13, %ss:0x20(%esp)
        jne     3f
        movl    $2, %eax
        movl    %ss:0x28(%esp), %ebx
        cmpb    $0xfa, %cs:(%ebx)
        jne     3f
        movl    $1, %eax
3:      cmpl    $14, %ss:0x20(%esp)
        jne     4f
        movl    %ss:0x28(%esp), %ebx
        movl    $5, %eax
        cmpb    $0xa1, %cs:(%ebx)
        je      4f
        movl    $10, %eax
4:      addl    %eax, %ss:0x28(%esp)
2:      popal
        addl    $8, %esp
        iretl
from_user:
        movl    %ss:0x28(%esp), %eax
        tell
        movl    %ss:0x2c(%esp), %eax
        tell
        movl    %ss:0x34(%esp), %eax
        tell
        movl    %ss:0x38(%esp), %eax
        tell
        say     %esp
        jmp     back_from_user

        .balign 8
gdt:    .quad   0
        .quad   0x00cf9a000000ffff              # 08 code, 32 bits
        .quad   0x00cf92000000ffff              # 10 data
        .quad   0x00cffa000000ffff              # 18 code of ring 3
        .quad   0x00cff2000000ffff              # 20 its data
        .quad   0x0000890060000067              # 28 task
        .quad   0x00cf92007000ffff              # 30 data with a base
        .quad   0x00af9a000000ffff              # 38 code, 64 bits
        .quad   0x00009a0f0000ffff              # 40 code, 16 bits, at the image
        .quad   0x000092000000ffff              # 48 data, 16 bits
gdt_end:
gdt_pointer:
        .word   gdt_end - gdt - 1
        .long   gdt + 0xf0000 - image
gdt_copy_pointer:
        .word   gdt_end - gdt - 1
        .long   0x7200
idt_pointer:
        .word   0xff
        .long   0x5000
ivt_pointer:
        .word   0x3ff
        .long   0

        .org    0xfff0
        .code16
        ljmpw   $0xf000, $0
        .org    0x10000
