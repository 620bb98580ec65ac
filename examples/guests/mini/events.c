/*
 * Events: two-level event channels, the shared page, time.
 *
 * The kernel runs with events masked and lets them in while it blocks, so that nothing here needs a lock. An upcall
 * only notes which ports have fired.
 */
#include "mini.h"

#define PORTS (WORD_BITS * WORD_BITS)

struct shared_info *const shared = (struct shared_info *)shared_page;

static word fired[WORD_BITS];
static word upcall_count;

static struct vcpu_info *self(void)
{
    return &shared->vcpu[0];
}

static void find_shared(const struct start_info *info)
{
    if (!share_info(shared_page, info))
        return;
    print("mini: cannot map the shared page\n");
    shut_down(SHUTDOWN_CRASH);
}

static void forget_ports(void)
{
    for (word i = 0; i < WORD_BITS; i++) {
        shared->mask[i] = ~0ul;
        fired[i] = 0;
    }
}

void events_start(const struct start_info *info)
{
    find_shared(info);
    forbid_events();
    forget_ports();
    upcalls_start();
}

/* Events must be forbidden: without the shared page nobody may come in. */
void events_suspend(void)
{
    unshare(shared_page);
}

/* Ports are not part of what was saved. */
void events_resume(const struct start_info *info, int cancelled)
{
    find_shared(info);
    forbid_events();
    if (!cancelled)
        forget_ports();
    upcalls_start();
}

/* The upcall, events masked: takes every pending port down and notes it. */
void on_event(void)
{
    upcall_count++;
    do {
        self()->upcall_pending = 0;
        word words = __atomic_exchange_n(&self()->pending_sel, 0, __ATOMIC_SEQ_CST);
        for (; words; words &= words - 1) {
            word i = (word)__builtin_ctzl(words);
            word bits = shared->pending[i] & ~shared->mask[i];
            __atomic_and_fetch(&shared->pending[i], ~bits, __ATOMIC_SEQ_CST);
            fired[i] |= bits;
        }
    } while (self()->upcall_pending);
}

word upcalls(void)
{
    return upcall_count;
}

/* Whether the port has fired since it was asked last. */
int port_fired(u32 port)
{
    word bit = 1ul << port % WORD_BITS;
    int yes = (fired[port / WORD_BITS] & bit) != 0;
    fired[port / WORD_BITS] &= ~bit;
    return yes;
}

static int any_fired(void)
{
    word any = 0;
    for (word i = 0; i < WORD_BITS; i++)
        any |= fired[i];
    return any != 0;
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
    __atomic_or_fetch(&shared->mask[port / WORD_BITS], 1ul << port % WORD_BITS, __ATOMIC_SEQ_CST);
    hypercall(CALL_EVENT_CHANNEL_OP, EVTCHNOP_CLOSE, ADDRESS(&argument), 0, 0);
}

int port_bind_timer(void)
{
    struct evtchn_bind_virq argument = { VIRQ_TIMER, 0, 0 };
    sword result = hypercall(CALL_EVENT_CHANNEL_OP, EVTCHNOP_BIND_VIRQ, ADDRESS(&argument), 0, 0);
    if (result < 0)
        return (int)result;
    port_open(argument.port);
    return (int)argument.port;
}

sword port_bind(u16 domain, u32 remote)
{
    struct evtchn_bind_interdomain argument = { domain, remote, 0 };
    sword result = hypercall(CALL_EVENT_CHANNEL_OP, EVTCHNOP_BIND_INTERDOMAIN, ADDRESS(&argument), 0, 0);
    return result < 0 ? result : (sword)argument.local_port;
}

sword port_alloc(u16 domain)
{
    struct evtchn_alloc_unbound argument = { DOMID_SELF, domain, 0 };
    sword result = hypercall(CALL_EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, ADDRESS(&argument), 0, 0);
    return result < 0 ? result : (sword)argument.port;
}

static u64 time_stamp(void)
{
    u32 low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (u64)high << 32 | low;
}

/* The middle 64 bits of a product: a number times a fraction of 32 bits. */
static u64 scaled(u64 number, u32 fraction)
{
    return (number >> 32) * fraction + ((number & 0xffffffff) * fraction >> 32);
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
        u64 now = time->system_time + scaled(ticks, time->tsc_to_system_mul);
        barrier();
        if (!(version & 1) && version == time->version)
            return now;
    }
}

void set_timer(u64 deadline)
{
#ifdef __x86_64__
    hypercall(CALL_SET_TIMER_OP, deadline, 0, 0, 0);
#else
    hypercall(CALL_SET_TIMER_OP, (word)deadline, (word)(deadline >> 32), 0, 0);
#endif
}
