/*
 * Further vCPUs: each says that it runs, and sleeps. Which are up follows the nodes cpu/N/availability.
 * Reference: public/vcpu.h; arch-x86/xen.h, struct vcpu_guest_context; hvm/hvm_vcpu.h.
 */
#include "contract.h"

#define CPUS 8
#define STACK 1024
enum { VCPUOP_INITIALISE = 0, VCPUOP_UP = 1, VCPUOP_DOWN = 2 };

static char stacks[CPUS][STACK] __attribute__((aligned(16)));
static volatile u32 have_run;
static u32 initialised, up;
static const struct start_info *start;

void cpu_main(void);

#if defined(KIND_PVH)

struct context {
    u32 mode, pad;
    struct {
        u64 ax, cx, dx, bx, sp, bp, si, di, ip, flags, cr0, cr3, cr4, efer;
    } x86_64;
    u64 rest;
};

static void fill(struct context *context, u32 cpu)
{
    context->mode = 1; /* 64 bits */
    __asm__("mov %%cr0, %0" : "=r"(context->x86_64.cr0));
    __asm__("mov %%cr3, %0" : "=r"(context->x86_64.cr3));
    __asm__("mov %%cr4, %0" : "=r"(context->x86_64.cr4));
    context->x86_64.efer = 0x500; /* LME, LMA */
    context->x86_64.flags = 2;
    context->x86_64.ip = ADDRESS(cpu_main);
    context->x86_64.sp = ADDRESS(stacks[cpu] + STACK - 8);
}

/* One that halts with interrupts forbidden would be taken down. */
static void rest_for_ever(void)
{
    for (;;)
        __asm__ volatile("sti\n\thlt");
}

#else

#define KERNEL_SS (KERNEL_CS == 0xe033 ? 0xe02b : 0xe021)
#define VGCF_IN_KERNEL 4

struct context {
    char fpu[512];
    word flags;
    struct {
#ifdef __x86_64__
        word r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
        u32 error, vector;
#else
        word bx, cx, dx, si, di, bp, ax;
        u16 error, vector;
#endif
        word ip, cs, flags, sp, ss, es, ds, fs, gs;
    } user;
    struct trap_info traps[256];
    word ldt_base, ldt_entries, gdt_frames[16], gdt_entries;
    word kernel_ss, kernel_sp, control[8], debug[8];
#ifdef __x86_64__
    word event_callback, failsafe_callback, syscall_callback, assist, fs_base, gs_base_kernel, gs_base_user;
#else
    word event_cs, event_callback, failsafe_cs, failsafe_callback, assist;
#endif
};

/* Events stay forbidden there: nothing is bound to it. */
static void fill(struct context *context, u32 cpu)
{
    word root = frame_of((void *)start->pt_base);
    context->flags = VGCF_IN_KERNEL;
    context->user.ip = ADDRESS(cpu_main);
    context->user.sp = context->kernel_sp = ADDRESS(stacks[cpu] + STACK - 8);
    context->user.cs = KERNEL_CS;
    context->user.ss = context->user.ds = context->user.es = context->kernel_ss = KERNEL_SS;
    context->user.flags = 2;
#ifdef __x86_64__
    context->control[3] = root << 12;
#else
    context->control[3] = root << 12 | root >> 20;
    context->event_cs = context->failsafe_cs = KERNEL_CS;
#endif
}

static void rest_for_ever(void)
{
    for (;;)
        hypercall(CALL_SCHED_OP, SCHEDOP_BLOCK, 0, 0, 0);
}

#endif

void cpu_main(void)
{
    __atomic_add_fetch(&have_run, 1, __ATOMIC_SEQ_CST);
    rest_for_ever();
}

static void bring_up(u32 cpu)
{
    static struct context context;
    if (!(initialised >> cpu & 1)) {
        fill(&context, cpu);
        sword result = hypercall(CALL_VCPU_OP, VCPUOP_INITIALISE, cpu, ADDRESS(&context), 0);
        if (result) {
            print("cpus: cannot initialise %u (%ld)\n", cpu, result);
            return;
        }
        initialised |= 1u << cpu;
    }
    if (hypercall(CALL_VCPU_OP, VCPUOP_UP, cpu, 0, 0) == 0)
        up |= 1u << cpu;
}

static void take_down(u32 cpu)
{
    if (hypercall(CALL_VCPU_OP, VCPUOP_DOWN, cpu, 0, 0) == 0)
        up &= ~(1u << cpu);
}

void cpus_follow(void)
{
    char path[32], wish[16];
    for (u32 cpu = 1; cpu < CPUS; cpu++) {
        format(path, sizeof(path), "cpu/%u/availability", cpu);
        if (store_read(path, wish, sizeof(wish)) < 0)
            return;
        int wanted = same(wish, "online"), is_up = up >> cpu & 1;
        if (wanted && !is_up)
            bring_up(cpu);
        else if (!wanted && is_up)
            take_down(cpu);
    }
}

/* What a restored domain's other vCPUs do follows from what was saved. */
void cpus_start(const struct start_info *info)
{
    start = info;
    up |= 1;
}

void run_cpus(char *rest)
{
    u32 count = 0;
    (void)rest;
    for (u32 bits = up; bits; bits &= bits - 1)
        count++;
    print("cpus: %u up, %u have run\n", count, have_run);
}
