# A 32-bit multiboot kernel for QEMU that writes HOT_BYTES of memory from 16 MiB on, a word a page, again and again.
    .set MAGIC, 0x1badb002
    .set FLAGS, 0x00010000          # addresses are given below
    .set HOT_START, 0x1000000
    .code32
    .section .multiboot, "a"
    .balign 4
header:
    .long MAGIC, FLAGS, -(MAGIC + FLAGS)
    .long header, image_start, image_end, bss_end, start

    .text
    .globl start
start:
    xor %ecx, %ecx
1:  inc %ecx
    mov $HOT_START, %edi
2:  mov %ecx, (%edi)
    add $0x1000, %edi
    cmp $(HOT_START + HOT_BYTES), %edi
    jb 2b
    jmp 1b
    .section .note.GNU-stack, "", @progbits
