/* Exceptions: a breakpoint is reported and passed, everything else is reported and ends the domain as crashed. */
#include "mini.h"

struct registers {
#ifdef __x86_64__
    word r15, r14, r13, r12, r11, r10, r9, r8, bp, di, si, dx, cx, bx, ax;
#else
    word di, si, bp, kernel_sp, bx, dx, cx, ax;
#endif
    word vector, code, ip;
    u16 cs, pad[sizeof(word) / 2 - 1];
    word flags, sp, ss; /* the last two only where Xen or a 64-bit processor pushed them */
};

#define VECTOR_BREAKPOINT 3
#define VECTOR_PAGE_FAULT 14

static const char *name_of(word vector)
{
    switch (vector) {
    case 0: return "divide error";
    case VECTOR_BREAKPOINT: return "breakpoint";
    case 6: return "invalid opcode";
    case 13: return "general protection fault";
    case VECTOR_PAGE_FAULT: return "page fault";
    default: return "exception";
    }
}

static void print_registers(const struct registers *at)
{
#ifdef __x86_64__
    print("rax %lx rbx %lx rcx %lx rdx %lx\n", at->ax, at->bx, at->cx, at->dx);
    print("rsi %lx rdi %lx rbp %lx rsp %lx\n", at->si, at->di, at->bp, at->sp);
    print("r8 %lx r9 %lx r10 %lx r11 %lx\n", at->r8, at->r9, at->r10, at->r11);
    print("r12 %lx r13 %lx r14 %lx r15 %lx\n", at->r12, at->r13, at->r14, at->r15);
    print("cs %x ss %lx rflags %lx\n", at->cs, at->ss, at->flags);
#else
    print("eax %lx ebx %lx ecx %lx edx %lx\n", at->ax, at->bx, at->cx, at->dx);
    print("esi %lx edi %lx ebp %lx esp %lx\n", at->si, at->di, at->bp, ADDRESS(&at->sp));
    print("cs %x eflags %lx\n", at->cs, at->flags);
#endif
}

void on_trap(struct registers *at)
{
    word address = fault_address();
    if (at->vector != VECTOR_BREAKPOINT)
        console_hurry();
    print("mini: %s (vector %lu, code %lx) at %lx", name_of(at->vector), at->vector, at->code, at->ip);
    if (at->vector == VECTOR_PAGE_FAULT)
        print(", address %lx", address);
    print("\n");
    if (at->vector == VECTOR_BREAKPOINT)
        return;
    print_registers(at);
    shut_down(SHUTDOWN_CRASH);
}

void shut_down(word reason)
{
    u32 argument = (u32)reason;
    for (;;)
        hypercall(CALL_SCHED_OP, SCHEDOP_SHUTDOWN, ADDRESS(&argument), 0, 0);
}
