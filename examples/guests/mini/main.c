/*
 * A small Xen kernel: says what it was started with, then lives on events - the console, XenStore's watches, the
 * timer, a peer - until it is told to end.
 */
#include "mini.h"

static int timer_port;

static void report_version(void)
{
    char extra[16] = "";
    sword version = hypercall(CALL_XEN_VERSION, 0, 0, 0, 0);
    hypercall(CALL_XEN_VERSION, 1, ADDRESS(extra), 0, 0);
    print("on Xen %ld.%ld%s\n", version >> 16, version & 0xffff, extra);
}

void report_start(const struct start_info *info)
{
    print("magic %s, flags %x\n", info->magic, info->flags);
    print("%lu pages, shared_info at machine address %lx\n", info->nr_pages, info->shared_info);
    if (!(info->flags & SIF_INITDOMAIN)) {
        print("xenstore: frame %lx, port %u\n", info->store_mfn, info->store_evtchn);
        print("console: frame %lx, port %u\n", info->console_mfn, info->console_evtchn);
    }
    if (info->mfn_list) {
        print("page tables at %lx, %lu frames\n", info->pt_base, info->nr_pt_frames);
        print("frame list at %lx\n", info->mfn_list);
    }
    if (info->mod_len)
        print("module at %lx, %lu bytes\n", info->mod_start, info->mod_len);
    print("command line: %s\n", info->cmd_line);
}

static void report_name(void)
{
    char name[128], domain[16];
    if (store_read("domid", domain, sizeof(domain)) < 0)
        format(domain, sizeof(domain), "?");
    if (store_read("name", name, sizeof(name)) < 0)
        print("no name: %s\n", name);
    else
        print("domain %s, name: %s\n", domain, name);
}

static void start_timer(void)
{
    timer_port = port_bind_timer();
    if (timer_port < 0)
        print("mini: no timer (%d)\n", timer_port);
}

static void watch(void)
{
    store_watch("control/shutdown");
    store_watch("memory/target");
}

static void advertise(void)
{
    store_write("control/feature-poweroff", "1");
    store_write("control/feature-reboot", "1");
    store_write("control/feature-suspend", "1");
}

static void go_to_sleep(struct start_info *info)
{
    if (suspend(info)) {
        print("mini: suspend was cancelled\n");
        return;
    }
    start_timer();
    print("mini: restored\n");
    report_version();
    report_start(info);
    memory_report();
    report_name();
    advertise();
    watch();
    if (more_start)
        more_start(info);
    shell_resume();
}

/* The toolstack's wish, acknowledged by emptying the node. */
static void obey_shutdown(struct start_info *info)
{
    char wish[32];
    if (store_take("control/shutdown", wish, sizeof(wish)) <= 0)
        return;
    print("mini: asked to %s\n", wish);
    if (same(wish, "poweroff") || same(wish, "halt"))
        shut_down(SHUTDOWN_POWEROFF);
    if (same(wish, "reboot"))
        shut_down(SHUTDOWN_REBOOT);
    if (same(wish, "suspend"))
        go_to_sleep(info);
    else
        print("mini: cannot do that\n");
}

static void obey_target(void)
{
    char target[24];
    if (store_read("memory/target", target, sizeof(target)) > 0)
        memory_set_target(number_of(target));
}

static void serve(struct start_info *info)
{
    char token[32];
    if (port_fired(console_port()))
        shell_input();
    if (port_fired((u32)timer_port))
        shell_timer();
    port_fired(info->store_evtchn);
    while (store_next_watch(token, sizeof(token))) {
        if (same(token, "control/shutdown"))
            obey_shutdown(info);
        else if (same(token, "memory/target"))
            obey_target();
        else if (more_watch)
            more_watch(token);
    }
    peer_check();
    if (more_events)
        more_events();
}

__attribute__((noreturn)) void kernel_main(struct start_info *info)
{
    memory_start(info);
    console_start(info);
    print("mini: a small Xen kernel\n");
    report_version();
    report_start(info);
    traps_start();
    events_start(info);
    console_attach();
    memory_map_all(info);
    memory_report();
    memory_describe();
    start_timer();
    store_start(info);
    report_name();
    advertise();
    watch();
    if (more_start)
        more_start(info);
    shell_start(info);
    for (;;) {
        serve(info);
        wait_for_event();
    }
}
