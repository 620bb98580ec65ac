# The integer program on a bare 64-bit machine: entered in ring 0, long mode, memory mapped one to one; output by port 0x3f8.
    .text
    .globl start
start:
    lea stack_top(%rip), %rsp
    call program
1:  cli
    hlt
    jmp 1b

    .globl put
put:
    mov $0x3f8, %edx
2:  mov (%rdi), %al
    inc %rdi
    test %al, %al
    jz 3f
    outb %al, %dx
    jmp 2b
3:  ret

    .bss
    .balign 16
    .skip 65536
stack_top:
    .section .note.GNU-stack, "", @progbits
