/*
 * Events: two-level event channels, the shared page, time.
 *
 * The kernel runs with events masked and lets them in while it blocks, so that nothing here needs a lock. An upcall
 * only notes which ports have fired.
 */
#include "mini.h"

#define PORTS 4096

static char shared_page[PAGE_SIZE] __attribute__((aligned(4096), section(".bss.pages")));
struct shared_info *const shared = (struct shared_info *)shared_page;

static u64 fired[PORTS / 64];
static u64 upcall_count;

static struct vcpu_info *self(void)
{
    return &shared->vcpu[0];
}

void forbid_events(void)
{
    self()->upcall_mask = 1;
    barrier();
}

static void map_shared(const struct start_info *info)
{
    if (!map_page(shared_page, info->shared_info / PAGE_SIZE, PTE_DATA))
        return;
    print("mini: cannot map the shared page\n");
    shut_down(SHUTDOWN_CRASH);
}

static void forget_ports(void)
{
    for (int i = 0; i < PORTS / 64; i++) {
        shared->mask[i] = ~0ul;
        fired[i] = 0;
    }
}

void events_start(const struct start_info *info)
{
    map_shared(info);
    forbid_events();
    forget_ports();
    struct callback_register event = { CALLBACKTYPE_EVENT, 0, ADDRESS(event_entry) };
    struct callback_register failsafe = { CALLBACKTYPE_FAILSAFE, CALLBACKF_MASK_EVENTS, ADDRESS(failsafe_entry) };
    hypercall(CALL_CALLBACK_OP, CALLBACKOP_REGISTER, ADDRESS(&event), 0, 0);
    hypercall(CALL_CALLBACK_OP, CALLBACKOP_REGISTER, ADDRESS(&failsafe), 0, 0);
}

/* Events must be forbidden: without the shared page nobody may come in. A saved page table may name own frames only. */
void events_suspend(void)
{
    map_page(shared_page, frame_of(shared_page), PTE_DATA);
}

/* Handlers are part of what was saved, ports are not. */
void events_resume(const struct start_info *info, int cancelled)
{
    map_shared(info);
    forbid_events();
    if (!cancelled)
        forget_ports();
}

/* The upcall, events masked: takes every pending port down and notes it. */
void on_event(void)
{
    upcall_count++;
    do {
        self()->upcall_pending = 0;
        u64 words = __atomic_exchange_n(&self()->pending_sel, 0, __ATOMIC_SEQ_CST);
        for (; words; words &= words - 1) {
            u64 i = (u64)__builtin_ctzl(words);
            u64 bits = shared->pending[i] & ~shared->mask[i];
            __atomic_and_fetch(&shared->pending[i], ~bits, __ATOMIC_SEQ_CST);
            fired[i] |= bits;
        }
    } while (self()->upcall_pending);
}

u64 upcalls(void)
{
    return upcall_count;
}

/* Whether the port has fired since it was asked last. */
int port_fired(u32 port)
{
    u64 bit = 1ul << port % 64;
    int yes = (fired[port / 64] & bit) != 0;
    fired[port / 64] &= ~bit;
    return yes;
}

/* Lets events in; one that is already waiting comes on the way back from the next hypercall. */
void allow_events(void)
{
    self()->upcall_mask = 0;
    barrier();
    if (self()->upcall_pending)
        hypercall(CALL_XEN_VERSION, 0, 0, 0, 0);
}

static int any_fired(void)
{
    u64 any = 0;
    for (int i = 0; i < PORTS / 64; i++)
        any |= fired[i];
    return any != 0;
}

static void block(void)
{
    hypercall(CALL_SCHED_OP, SCHEDOP_BLOCK, 0, 0, 0); /* lets events in; returns at once if one is waiting */
    forbid_events();
}

/* Returns when some port has fired; whoever is interested takes it with port_fired. */
void wait_for_event(void)
{
    while (!any_fired())
        block();
}

void wait_for_port(u32 port)
{
    while (!port_fired(port))
        block();
}

void port_open(u32 port)
{
    struct evtchn_port argument = { port };
    hypercall(CALL_EVENT_CHANNEL_OP, EVTCHNOP_UNMASK, ADDRESS(&argument), 0, 0);
}

void port_notify(u32 port)
{
    struct evtchn_port argument = { port };
    hypercall(CALL_EVENT_CHANNEL_OP, EVTCHNOP_SEND, ADDRESS(&argument), 0, 0);
}

void port_close(u32 port)
{
    struct evtchn_port argument = { port };
    __atomic_or_fetch(&shared->mask[port / 64], 1ul << port % 64, __ATOMIC_SEQ_CST);
    hypercall(CALL_EVENT_CHANNEL_OP, EVTCHNOP_CLOSE, ADDRESS(&argument), 0, 0);
}

int port_bind_timer(void)
{
    struct evtchn_bind_virq argument = { VIRQ_TIMER, 0, 0 };
    s64 result = hypercall(CALL_EVENT_CHANNEL_OP, EVTCHNOP_BIND_VIRQ, ADDRESS(&argument), 0, 0);
    if (result < 0)
        return (int)result;
    port_open(argument.port);
    return (int)argument.port;
}

s64 port_bind(u16 domain, u32 remote)
{
    struct evtchn_bind_interdomain argument = { domain, remote, 0 };
    s64 result = hypercall(CALL_EVENT_CHANNEL_OP, EVTCHNOP_BIND_INTERDOMAIN, ADDRESS(&argument), 0, 0);
    return result < 0 ? result : argument.local_port;
}

s64 port_alloc(u16 domain)
{
    struct evtchn_alloc_unbound argument = { DOMID_SELF, domain, 0 };
    s64 result = hypercall(CALL_EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, ADDRESS(&argument), 0, 0);
    return result < 0 ? result : argument.port;
}

static u64 time_stamp(void)
{
    u32 low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (u64)high << 32 | low;
}

/* Nanoseconds since the host started: read between two equal, even versions. */
u64 system_time(void)
{
    volatile struct vcpu_time_info *time = &self()->time;
    for (;;) {
        u32 version = time->version;
        barrier();
        u64 ticks = time_stamp() - time->tsc_timestamp;
        ticks = time->tsc_shift >= 0 ? ticks << time->tsc_shift : ticks >> -time->tsc_shift;
        u64 now = time->system_time + (u64)(((unsigned __int128)ticks * time->tsc_to_system_mul) >> 32);
        barrier();
        if (!(version & 1) && version == time->version)
            return now;
    }
}

void set_timer(u64 deadline)
{
    hypercall(CALL_SET_TIMER_OP, deadline, 0, 0, 0);
}
