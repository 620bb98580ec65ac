/* Commands typed at the console, or given on the kernel's command line as run=COMMAND;COMMAND;... */
#include "mini.h"

#define NANOSECONDS_PER_MILLISECOND 1000000u
#define TICK (100 * NANOSECONDS_PER_MILLISECOND)
#define BOOT_TICKS 3

static const struct command commands[];
static const struct start_info *start;
static char typed[256];
static word typed_length;
static word ticks, ticks_wanted;
static word hot_kilobytes, hot_rounds;

static u64 milliseconds(void)
{
    u32 rest;
    return divide(system_time(), NANOSECONDS_PER_MILLISECOND, &rest);
}

/* One tick every 100 ms until enough have come; then the timer is left alone, so that the domain can sleep. */
static void arm(word count)
{
    ticks = 0;
    ticks_wanted = count;
    if (count)
        set_timer(system_time() + TICK);
}

/* A restored domain's timer is not armed. */
void shell_resume(void)
{
    if (hot_kilobytes)
        set_timer(system_time() + NANOSECONDS_PER_MILLISECOND);
    else if (ticks < ticks_wanted)
        set_timer(system_time() + TICK);
}

void shell_timer(void)
{
    if (hot_kilobytes) {
        memory_write(hot_kilobytes, ++hot_rounds);
        set_timer(system_time() + NANOSECONDS_PER_MILLISECOND);
        return;
    }
    if (ticks >= ticks_wanted)
        return;
    ticks++;
    print("tick %lu at %llu ms\n", ticks, milliseconds());
    if (ticks < ticks_wanted)
        set_timer(system_time() + TICK);
}

static void print_help(const struct command *command)
{
    for (; command->name; command++)
        print("%s\n", command->help);
}

static void run_help(char *rest)
{
    (void)rest;
    print_help(commands);
    if (more_commands)
        print_help(more_commands);
}

static void run_echo(char *rest)
{
    print("%s\n", rest);
}

static void run_info(char *rest)
{
    (void)rest;
    report_start(start);
}

static void run_mem(char *rest)
{
    (void)rest;
    memory_report();
}

static void run_balloon(char *rest)
{
    memory_set_target(number_of(word_of(&rest)));
}

static void run_ticks(char *rest)
{
    arm(number_of(word_of(&rest)));
}

static void run_time(char *rest)
{
    (void)rest;
    print("time: %llu ns\n", system_time());
}

/* Never blocks: shows that events interrupt a kernel that computes. */
static void run_spin(char *rest)
{
    u64 end = system_time() + (u64)number_of(word_of(&rest)) * NANOSECONDS_PER_MILLISECOND;
    word before = upcalls(), rounds = 0;
    word seen = before;
    set_timer(system_time() + 10 * NANOSECONDS_PER_MILLISECOND);
    allow_events();
    for (; system_time() < end; rounds++) {
        if (*(volatile word *)&seen != upcalls()) {
            seen = upcalls();
            set_timer(system_time() + 10 * NANOSECONDS_PER_MILLISECOND);
        }
    }
    forbid_events();
    set_timer(0);
    print("spin: %lu rounds, %lu upcalls\n", rounds, upcalls() - before);
}

/* Keeps memory changing, for whoever copies it; stopped, says whether everything was where it had been written. */
static void run_hot(char *rest)
{
    word wrong = memory_differs(hot_kilobytes, hot_rounds);
    if (hot_kilobytes)
        print("hot: %lu rounds, %lu pages wrong\n", hot_rounds, wrong);
    hot_rounds = 1;
    hot_kilobytes = number_of(word_of(&rest));
    if (!hot_kilobytes)
        return;
    print("hot: %lu pages\n", memory_write(hot_kilobytes, hot_rounds));
    set_timer(system_time() + NANOSECONDS_PER_MILLISECOND);
}

static void run_ls(char *rest)
{
    char names[512];
    int length = store_list(word_of(&rest), names, sizeof(names));
    if (length < 0)
        print("ls: %s\n", names);
    for (char *name = names; length > 0 && name < names + length && *name; name += length_of(name) + 1)
        print("%s\n", name);
}

static void run_read(char *rest)
{
    char value[256];
    int length = store_read(word_of(&rest), value, sizeof(value));
    print(length < 0 ? "read: %s\n" : "%s\n", value);
}

static void run_write(char *rest)
{
    char *path = word_of(&rest);
    print(store_write(path, rest) < 0 ? "write: refused\n" : "written\n");
}

static void run_peer(char *rest)
{
    u16 domain = (u16)number_of(word_of(&rest));
    u32 port = (u32)number_of(word_of(&rest));
    peer_answer(domain, port, (u32)number_of(word_of(&rest)));
}

static void run_offer(char *rest)
{
    u16 domain = (u16)number_of(word_of(&rest));
    peer_offer(domain, rest);
}

static void run_break(char *rest)
{
    (void)rest;
    __asm__ volatile("int3");
    print("break: passed\n");
}

static void run_fault(char *rest)
{
    (void)rest;
    *(volatile u32 *)0x1000 = 1;
}

static void run_crash(char *rest)
{
    (void)rest;
    print("mini: crash\n");
    shut_down(SHUTDOWN_CRASH);
}

static void run_poweroff(char *rest)
{
    (void)rest;
    print("mini: power off\n");
    shut_down(SHUTDOWN_POWEROFF);
}

static void run_reboot(char *rest)
{
    (void)rest;
    print("mini: reboot\n");
    shut_down(SHUTDOWN_REBOOT);
}

static const struct command commands[] = {
    { "help", "help                 this list", run_help },
    { "echo", "echo TEXT            prints the text", run_echo },
    { "info", "info                 what Xen told us at start", run_info },
    { "mem", "mem                  memory, and whether Xen's table of frames agrees", run_mem },
    { "balloon", "balloon KIB          gives memory back, or takes it again", run_balloon },
    { "ticks", "ticks N              prints N ticks, one every 100 ms", run_ticks },
    { "time", "time                 nanoseconds since the host started", run_time },
    { "spin", "spin MS              computes for so long and counts upcalls", run_spin },
    { "hot", "hot KIB              writes so much memory every millisecond, until hot 0", run_hot },
    { "ls", "ls PATH              names below a node of XenStore", run_ls },
    { "read", "read PATH            a node's value", run_read },
    { "write", "write PATH VALUE     sets it", run_write },
    { "offer", "offer DOMAIN TEXT    grants a page with the text, and a port to answer on", run_offer },
    { "peer", "peer DOMAIN PORT REF answers such an offer", run_peer },
    { "break", "break                takes a breakpoint and goes on", run_break },
    { "fault", "fault                writes to an address that is not mapped", run_fault },
    { "crash", "crash                ends the domain as crashed", run_crash },
    { "poweroff", "poweroff             ends the domain", run_poweroff },
    { "reboot", "reboot               ends the domain, to be started again", run_reboot },
    { 0, 0, 0 },
};

static const struct command *find(const struct command *command, const char *name)
{
    for (; command->name; command++)
        if (same(command->name, name))
            return command;
    return 0;
}

static void run(char *text)
{
    char *name = word_of(&text);
    if (!*name)
        return;
    const struct command *command = find(commands, name);
    if (!command && more_commands)
        command = find(more_commands, name);
    if (command)
        command->run(text);
    else
        print("%s: unknown command, try help\n", name);
}

static void prompt(void)
{
    print("mini> ");
}

void shell_start(const struct start_info *info)
{
    start = info;
    arm(BOOT_TICKS);
    for (const char *at = info->cmd_line; *at; at++) {
        if (!starts_with(at, "run=") || (at > info->cmd_line && at[-1] != ' '))
            continue;
        for (at += 4; *at;) {
            word length = 0;
            while (*at && *at != ';' && length + 1 < sizeof(typed))
                typed[length++] = *at++;
            typed[length] = 0;
            at += *at == ';';
            run(typed);
        }
        break;
    }
    prompt();
}

static void type(char c)
{
    if (c == '\r' || c == '\n') {
        print("\n");
        typed[typed_length] = 0;
        typed_length = 0;
        run(typed);
        prompt();
    } else if ((c == '\b' || c == 127) && typed_length) {
        typed_length--;
        print("\b \b");
    } else if (c >= ' ' && c < 127 && typed_length + 1 < sizeof(typed)) {
        typed[typed_length++] = c;
        print("%c", c);
    }
}

void shell_input(void)
{
    for (int c; (c = console_read()) >= 0;)
        type((char)c);
}
