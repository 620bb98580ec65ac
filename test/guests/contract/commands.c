/* Commands that mini's shell has in addition, and what else is watched. */
#include "contract.h"

/* Never asked for a sign of life: the domain ends by the first that is missed. */
static void run_watchdog(char *rest)
{
    struct {
        u32 id, timeout;
    } watchdog = { 0, (u32)number_of(word_of(&rest)) };
    sword result = hypercall(CALL_SCHED_OP, SCHEDOP_WATCHDOG, ADDRESS(&watchdog), 0, 0);
    print("watchdog: %ld\n", result);
}

#define SHUTDOWN_SOFT_RESET 5

static struct start_info *started;

/* Where the rings are, a kernel of this kind asks; others have no soft reset. */
static void find_rings(void)
{
#ifdef KIND_PVH
    u32 indexes[2] = { HVM_PARAM_STORE_EVTCHN, HVM_PARAM_CONSOLE_EVTCHN };
    u32 *places[2] = { &started->store_evtchn, &started->console_evtchn };
    for (int i = 0; i < 2; i++) {
        struct hvm_param param = { DOMID_SELF, indexes[i], 0 };
        hypercall(CALL_HVM_OP, HVMOP_GET_PARAM, ADDRESS(&param), 0, 0);
        *places[i] = (u32)param.value;
    }
#endif
}

/* As a kernel does that begins another one in its own place: it goes on here, and nothing is left but memory. */
static void run_soft_reset(char *rest)
{
    u32 reason = SHUTDOWN_SOFT_RESET;
    (void)rest;
    peer_suspend();
    events_suspend();
    sword result = hypercall(CALL_SCHED_OP, SCHEDOP_SHUTDOWN, ADDRESS(&reason), 0, 0);
    find_rings();
    events_resume(started, 0);
    memory_describe();
    console_resume(started, 0);
    store_resume(started, 0);
    peer_resume(0);
    store_watch("control/shutdown");
    store_watch("memory/target");
    more_start(started);
    print("mini: reset with %ld\n", result);
}

const struct command more_commands[] = {
    { "disk", "disk write SECTOR TEXT, disk read SECTOR", run_disk },
    { "folder", "folder write NAME TEXT, folder read NAME", run_folder },
    { "net", "net open, net send TEXT; what comes is printed", run_net },
    { "serve", "serve                answers requests, with a journal on the disk", run_serve },
    { "cpus", "cpus                 how many vCPUs have run code", run_cpus },
    { "watchdog", "watchdog SECONDS     ends the domain then", run_watchdog },
    { "softreset", "softreset            begins anew, with memory kept", run_soft_reset },
    { "hostile", "hostile SEED         executes random bytes", run_hostile },
    { 0, 0, 0 },
};

/* Also after a restore, when all connections are gone. */
void more_start(const struct start_info *info)
{
    started = (struct start_info *)info;
    disk_forget();
    folder_forget();
    net_forget();
    cpus_start(info);
    store_watch("cpu");
    serve_resume();
}

void more_watch(const char *path)
{
    if (same(path, "cpu"))
        cpus_follow();
}

void more_events(void)
{
    net_pump();
}
