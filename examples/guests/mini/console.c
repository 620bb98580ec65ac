/*
 * The console: the hypervisor's own until the ring is mapped (and in the initial domain, which has no ring), then the
 * ring in the console's page. Bytes are put into the ring at out_prod; the other side follows with out_cons.
 */
#include "mini.h"
#include "text.h"

#define CONSOLEIO_WRITE 0

static struct console_page *ring;
static u32 port;
static char line[128];
static u32 used;
static int hurried;

void console_start(const struct start_info *info)
{
    if (info->flags & SIF_INITDOMAIN || !info->console_mfn)
        return;
    ring = address_of_frame(info->console_mfn);
    port = info->console_evtchn;
}

/* From now on the other side's events wake us. */
void console_attach(void)
{
    if (ring)
        port_open(port);
}

/* The page has come along; its port is another one. */
void console_resume(const struct start_info *info, int cancelled)
{
    port = info->console_evtchn;
    if (!cancelled)
        console_attach();
}

u32 console_port(void)
{
    return port;
}

static void emergency(const char *text, word length)
{
    hypercall(CALL_CONSOLE_IO, CONSOLEIO_WRITE, length, ADDRESS(text), 0);
}

/* A crashing kernel does not wait for long: what has not been read by then is overwritten. */
static void wait_for_room(void)
{
    for (u32 tries = 0; ring->out_prod - ring->out_cons >= sizeof(ring->out) && tries < 100; tries += (u32)hurried) {
        port_notify(port);
        if (hurried)
            hypercall(CALL_SCHED_OP, SCHEDOP_YIELD, 0, 0, 0);
        else
            wait_for_port(port);
    }
}

void console_hurry(void)
{
    hurried = 1;
}

static void flush(void)
{
    if (!ring) {
        emergency(line, used);
        used = 0;
        return;
    }
    for (u32 i = 0; i < used; i++) {
        wait_for_room();
        ring->out[ring->out_prod % sizeof(ring->out)] = line[i];
        barrier();
        ring->out_prod++;
    }
    if (used)
        port_notify(port);
    used = 0;
}

static void put(void *where, char c)
{
    (void)where;
    if (c == '\n')
        put(where, '\r');
    line[used++] = c;
    if (used == sizeof(line))
        flush();
}

void print(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    format_to(put, 0, format, arguments);
    va_end(arguments);
    flush();
}

/* The next character typed, or -1. */
int console_read(void)
{
    if (!ring || ring->in_cons == ring->in_prod)
        return -1;
    barrier();
    int c = (u8)ring->in[ring->in_cons % sizeof(ring->in)];
    barrier();
    ring->in_cons++;
    if (ring->in_cons == ring->in_prod)
        port_notify(port);
    return c;
}
