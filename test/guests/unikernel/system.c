/*
 * What an OCaml program with its run-time system and the C library of musl finds in place of an operating system, in ring 0 of
 * a PVH guest: system calls, which the library makes by the instruction that it makes them by on Linux. They are answered on top
 * of mini: console, time, memory, an end, and what suspends a domain. There are no files.
 *
 * All of it runs with events masked, as mini does: functions keep values below their stack pointers, where an interrupt of ring 0
 * would write. System calls go below that before they let events in.
 */
#include "mini.h"

#define MSR_EFER 0xc0000080
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_SFMASK 0xc0000084
#define MSR_FS_BASE 0xc0000100
#define EFER_SCE 1
#define CODE_SELECTOR 8ull
#define FLAGS_CLEARED 0x600 /* IF, DF */
#define STACK_BYTES 0x100000
#define NANOSECONDS 1000000000ull

/* Error numbers of Linux's. */
enum { ENOENT = 2, EBADF = 9, ENOMEM = 12, EINVAL = 22, ENOTTY = 25, ESPIPE = 29, ENOSYS = 38 };

struct vector {
    const char *base;
    word length;
};

struct timespec {
    word seconds, nanoseconds;
};

/* musl's start of a program, and the program. */
int __libc_start_main(int (*main)(int, char **), int count, char **arguments);
int main(int count, char **arguments);

static struct start_info *own;
static word heap, heap_end;

static void write_msr(u32 number, word value)
{
    __asm__ volatile("wrmsr" : : "c"(number), "a"((u32)value), "d"((u32)(value >> 32)));
}

static word read_msr(u32 number)
{
    u32 low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
    return (word)high << 32 | low;
}

/* SYSCALL stays in ring 0, on the caller's stack. */
void system_entry(void);
__asm__(".text\n"
        "system_entry:\n\t"
        "lea -128(%rsp), %rsp\n\t"
        "push %rcx\n\t"
        "push %r11\n\t"
        "push %r9\n\t"
        "push %r8\n\t"
        "push %r10\n\t"
        "push %rdx\n\t"
        "push %rsi\n\t"
        "push %rdi\n\t"
        "mov %rsp, %rsi\n\t"
        "mov %rax, %rdi\n\t"
        "push %rbx\n\t"
        "mov %rsp, %rbx\n\t"
        "and $-16, %rsp\n\t"
        "cld\n\t"
        "call system_call\n\t"
        "mov %rbx, %rsp\n\t"
        "pop %rbx\n\t"
        "pop %rdi\n\t"
        "pop %rsi\n\t"
        "pop %rdx\n\t"
        "pop %r10\n\t"
        "pop %r8\n\t"
        "pop %r9\n\t"
        "popf\n\t"
        "pop %rcx\n\t"
        "lea 128(%rsp), %rsp\n\t"
        "jmp *%rcx\n");

static void put(const char *text, word length)
{
    char piece[64];
    while (length) {
        word count = length < sizeof(piece) - 1 ? length : sizeof(piece) - 1;
        copy(piece, text, count);
        piece[count] = 0;
        print("%s", piece);
        text += count;
        length -= count;
    }
}

/* What the toolstack asks for is done; says whether that is the end. */
static int obey(void)
{
    char wish[16];
    if (store_take("control/shutdown", wish, sizeof(wish)) <= 0)
        return 0;
    if (!same(wish, "suspend"))
        return 1;
    if (!suspend(own)) {
        store_watch("control/shutdown");
        print("unikernel: restored\n");
    }
    return 0;
}

/* The next character typed; -1 at the end. */
static int next_character(void)
{
    char token[32];
    for (;;) {
        int c = console_read();
        if (c >= 0)
            return c == '\r' ? '\n' : c;
        wait_for_event();
        port_fired(console_port());
        port_fired(own->store_evtchn);
        while (store_next_watch(token, sizeof(token)))
            if (same(token, "control/shutdown") && obey())
                return -1;
    }
}

/* A line is read at once: what is behind it waits. */
static sword read_line(char *to, word size)
{
    word count = 0;
    while (count < size) {
        int c = next_character();
        if (c < 0)
            break;
        to[count++] = (char)c;
        if (c == '\n')
            break;
    }
    return (sword)count;
}

static sword call_read(const word *given)
{
    return given[0] == 0 ? read_line((char *)given[1], given[2]) : -EBADF;
}

static sword call_write(const word *given)
{
    if (given[0] != 1 && given[0] != 2)
        return -EBADF;
    put((const char *)given[1], given[2]);
    return (sword)given[2];
}

static sword call_writev(const word *given)
{
    const struct vector *vectors = (const void *)given[1];
    word sum = 0;
    if (given[0] != 1 && given[0] != 2)
        return -EBADF;
    for (word i = 0; i < given[2]; i++) {
        put(vectors[i].base, vectors[i].length);
        sum += vectors[i].length;
    }
    return (sword)sum;
}

/* Memory of nobody's file: whole pages, each once. */
static sword call_mmap(const word *given)
{
    word size = (given[1] + PAGE_SIZE - 1) & -(word)PAGE_SIZE;
    const word anonymous = 0x20, fixed = 0x10;
    if (!(given[3] & anonymous) || given[3] & fixed)
        return -EINVAL;
    if (size > heap_end - heap)
        return -ENOMEM;
    heap += size;
    return (sword)(heap - size);
}

static sword call_arch_prctl(const word *given)
{
    const word set_fs = 0x1002;
    if (given[0] != set_fs)
        return -EINVAL;
    write_msr(MSR_FS_BASE, given[1]);
    return 0;
}

static sword call_clock_gettime(const word *given)
{
    u64 now = system_time();
    *(struct timespec *)given[1] = (struct timespec){ now / NANOSECONDS, now % NANOSECONDS };
    return 0;
}

static sword call_exit(const word *given)
{
    shut_down(given[0] ? SHUTDOWN_CRASH : SHUTDOWN_POWEROFF);
}

static sword succeed(const word *given)
{
    (void)given;
    return 0;
}

static sword no_file(const word *given)
{
    (void)given;
    return -ENOENT;
}

static sword no_terminal(const word *given)
{
    (void)given;
    return -ENOTTY;
}

static sword no_place(const word *given)
{
    (void)given;
    return -ESPIPE;
}

/* By Linux's numbers. Memory is never given back, and its rights stay as they are; there are no signals. */
static sword (*const calls[])(const word *given) = {
    [0] = call_read, [1] = call_write, [2] = no_file /* open */, [8] = no_place /* lseek */, [9] = call_mmap, [10] = succeed /* mprotect */,
    [11] = succeed /* munmap */, [13] = succeed /* rt_sigaction */, [14] = succeed /* rt_sigprocmask */, [16] = no_terminal /* ioctl */,
    [20] = call_writev, [28] = succeed /* madvise */, [60] = call_exit, [89] = no_file /* readlink */, [131] = succeed /* sigaltstack */,
    [158] = call_arch_prctl, [218] = succeed /* set_tid_address */, [228] = call_clock_gettime, [231] = call_exit /* exit_group */,
};

sword system_call(word number, const word *given);
sword system_call(word number, const word *given)
{
    if (number >= sizeof(calls) / sizeof(calls[0]) || !calls[number])
        return -ENOSYS;
    return calls[number](given);
}

static void floats_start(void)
{
    word control;
    __asm__ volatile("mov %%cr0, %0" : "=r"(control));
    __asm__ volatile("mov %0, %%cr0" : : "r"((control & ~4ul) | 2)); /* EM off, MP on */
    __asm__ volatile("mov %%cr4, %0" : "=r"(control));
    __asm__ volatile("mov %0, %%cr4" : : "r"(control | 0x600)); /* OSFXSR, OSXMMEXCPT */
    __asm__ volatile("fninit");
}

static void calls_start(void)
{
    write_msr(MSR_STAR, CODE_SELECTOR << 32);
    write_msr(MSR_LSTAR, ADDRESS(system_entry));
    write_msr(MSR_SFMASK, FLAGS_CLEARED);
    write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_SCE);
}

/* As Linux starts a program: its arguments, an empty environment, an empty auxiliary vector. */
static void program_start(void)
{
    static char name[] = "unikernel";
    static char *arguments[] = { name, 0, 0, 0, 0 };
    __libc_start_main(main, 1, arguments);
}

void more_start(const struct start_info *info)
{
    own = (struct start_info *)ADDRESS(info);
    heap = pages_used(info) * PAGE_SIZE;
    heap_end = memory_pages() * PAGE_SIZE;
    floats_start();
    calls_start();
    heap += STACK_BYTES;
    __asm__ volatile("mov %0, %%rsp\n\txor %%ebp, %%ebp\n\tcall *%1" : : "r"(heap), "r"(program_start) : "memory");
    __builtin_unreachable();
}
