# The integer program as a 32-bit multiboot kernel (QEMU, v86): flat segments, paging off, output on the first serial port.
    .set MAGIC, 0x1badb002
    .set FLAGS, 0x00010000          # addresses are given below
    .section .multiboot, "a"
    .balign 4
header:
    .long MAGIC, FLAGS, -(MAGIC + FLAGS)
    .long header, image_start, image_end, bss_end, start

    .text
    .globl start
start:
    mov $stack_top, %esp
    call program
1:  cli
    hlt
    jmp 1b

    .globl put
put:
    push %esi
    mov 8(%esp), %esi
2:  lodsb
    test %al, %al
    jz 4f
    mov %al, %cl
    mov $0x3fd, %dx
3:  inb %dx, %al
    test $0x20, %al
    jz 3b
    mov $0x3f8, %dx
    mov %cl, %al
    outb %al, %dx
    jmp 2b
4:  pop %esi
    ret

    .bss
    .balign 16
    .skip 65536
stack_top:
    .section .note.GNU-stack, "", @progbits
