/* Exceptions: a breakpoint is reported and passed, everything else is reported and ends the domain as crashed. */
#include "mini.h"

struct registers {
    u64 r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    u64 vector, code;
    u64 rip;
    u32 cs, saved_mask;
    u64 rflags, rsp, ss;
};

#define VECTORS 20
#define VECTOR_BREAKPOINT 3
#define VECTOR_PAGE_FAULT 14
#define TRAP_MASKS_EVENTS 4
#define ENTRY_SIZE 16

extern char trap_entries[], trap_entries_end[];

/* Only a program in ring 3 needs a level above 0; the kernel itself may use every vector. */
void traps_start(void)
{
    static struct trap_info table[VECTORS + 1];
    for (int i = 0; i < VECTORS; i++) {
        table[i].vector = (u8)i;
        table[i].flags = TRAP_MASKS_EVENTS;
        table[i].cs = KERNEL_CS;
        table[i].address = ADDRESS(trap_entries) + (u64)i * ENTRY_SIZE;
    }
    s64 result = hypercall(CALL_SET_TRAP_TABLE, ADDRESS(table), 0, 0, 0);
    if (result)
        print("mini: set_trap_table: %ld\n", result);
}

static const char *name_of(u64 vector)
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

void on_trap(struct registers *at)
{
    u64 fault_address = shared->vcpu[0].cr2;
    if (at->vector != VECTOR_BREAKPOINT)
        console_hurry();
    print("mini: %s (vector %lu, code %lx) at %lx", name_of(at->vector), at->vector, at->code, at->rip);
    if (at->vector == VECTOR_PAGE_FAULT)
        print(", address %lx", fault_address);
    print("\n");
    if (at->vector == VECTOR_BREAKPOINT)
        return;
    print("rax %lx rbx %lx rcx %lx rdx %lx\n", at->rax, at->rbx, at->rcx, at->rdx);
    print("rsi %lx rdi %lx rbp %lx rsp %lx\n", at->rsi, at->rdi, at->rbp, at->rsp);
    print("r8 %lx r9 %lx r10 %lx r11 %lx\n", at->r8, at->r9, at->r10, at->r11);
    print("r12 %lx r13 %lx r14 %lx r15 %lx\n", at->r12, at->r13, at->r14, at->r15);
    print("cs %x ss %lx rflags %lx\n", at->cs, at->ss, at->rflags);
    shut_down(SHUTDOWN_CRASH);
}

void on_failsafe(void)
{
    print("mini: failsafe callback\n");
    shut_down(SHUTDOWN_CRASH);
}

void shut_down(u64 reason)
{
    u32 argument = (u32)reason;
    for (;;)
        hypercall(CALL_SCHED_OP, SCHEDOP_SHUTDOWN, ADDRESS(&argument), 0, 0);
}
