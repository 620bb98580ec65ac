/*
 * A small network front-end on mini's parts: two of these, on one bridge, send each other numbered frames as fast as they come,
 * and say what has arrived, what was lost and what came twice. Meanwhile each has a transaction open in XenStore, which it
 * commits at the end.
 *
 * Tokens keep the bridge's queues short: each sends WINDOW frames, then one for each that it receives.
 *
 * Reference: public/io/netif.h, ring.h.
 */
#include "mini.h"
/* A transaction step by step is what store.c keeps to itself. */
#include "store.c"

#define FRAMES 600
#define WINDOW 16
#define SLOTS 256
#define PAGES 64
#define FRAME_SIZE 60
#define STATE_INITWAIT "2"
#define STATE_CONNECTED "4"

enum { REF_TRANSMIT = GNTTAB_RESERVED, REF_RECEIVE, REF_SENT, REF_PAGES };

struct indexes {
    volatile u32 req_prod, req_event, rsp_prod, rsp_event;
    u8 pad[48];
};
struct transmit_request {
    u32 gref;
    u16 offset, flags, id, size;
};
struct transmit_page {
    struct indexes at;
    struct transmit_request slots[SLOTS];
};
struct receive_request {
    u16 id, pad;
    u32 gref;
};
struct receive_response {
    u16 id, offset, flags;
    short status;
};
struct receive_page {
    struct indexes at;
    union {
        struct receive_request request;
        struct receive_response response;
    } slots[SLOTS];
};

static char transmit_bytes[PAGE_SIZE] PAGE, receive_bytes[PAGE_SIZE] PAGE;
static char sent_page[PAGE_SIZE] PAGE, pages[PAGES][PAGE_SIZE] PAGE;
static struct transmit_page *const transmit = (struct transmit_page *)transmit_bytes;
static struct receive_page *const receiving = (struct receive_page *)receive_bytes;

static u32 timer, ring_port, asked, done, taken, sent, received, expected, lost, doubled;

__attribute__((noreturn)) static void fail(const char *what)
{
    print("netfront: %s\n", what);
    shut_down(SHUTDOWN_CRASH);
}

static void grant(u32 ref, const void *page)
{
    volatile struct grant_entry *entry = (struct grant_entry *)table_page + ref;
    entry->domid = 0;
    entry->frame = (u32)frame_of(page);
    barrier();
    entry->flags = GTF_PERMIT_ACCESS;
}

static void grant_all(void)
{
    word frame = 0;
    struct gnttab_setup_table setup = { DOMID_SELF, 1, 0, &frame };
    sword result = hypercall(CALL_GRANT_TABLE_OP, GNTTABOP_SETUP_TABLE, ADDRESS(&setup), 1, 0);
    if (result || setup.status || share_grant_table(table_page, frame))
        fail("no grant table");
    grant(REF_TRANSMIT, transmit_bytes);
    grant(REF_RECEIVE, receive_bytes);
    grant(REF_SENT, sent_page);
    for (u32 i = 0; i < PAGES; i++)
        grant(REF_PAGES + i, pages[i]);
}

/* Waits until a node has a value; looks once a millisecond. */
static void await_value(const char *path, const char *value)
{
    char found[64];
    while (store_read(path, found, sizeof(found)) < 0 || !same(found, value)) {
        set_timer(system_time() + 1000000);
        wait_for_port(timer);
    }
}

static void write_number(const char *name, word value)
{
    char path[64], text[24];
    format(path, sizeof(path), "device/vif/0/%s", name);
    format(text, sizeof(text), "%lu", value);
    store_write(path, text);
}

static void connect(void)
{
    char back_end[96], path[128];
    if (store_read("device/vif/0/backend", back_end, sizeof(back_end)) < 0)
        fail("no interface");
    format(path, sizeof(path), "%s/state", back_end);
    await_value(path, STATE_INITWAIT);
    ring_port = (u32)port_alloc(0);
    port_open(ring_port);
    write_number("tx-ring-ref", REF_TRANSMIT);
    write_number("rx-ring-ref", REF_RECEIVE);
    write_number("event-channel", ring_port);
    write_number("request-rx-copy", 1);
    store_write("device/vif/0/state", STATE_CONNECTED);
    await_value(path, STATE_CONNECTED);
}

static void push(struct indexes *at, u32 end)
{
    u32 old = at->req_prod;
    barrier();
    at->req_prod = end;
    __sync_synchronize();
    if (end - at->req_event < end - old)
        port_notify(ring_port);
}

static void offer_page(u16 id)
{
    receiving->slots[asked++ % SLOTS].request = (struct receive_request){ id, 0, REF_PAGES + id };
}

static void send_frame(void)
{
    u32 place = sent % PAGES;
    u8 *frame = (u8 *)sent_page + place * 64;
    for (u32 i = 0; i < FRAME_SIZE; i++)
        frame[i] = i < 6 ? 0xff : 0;
    frame[6] = 2;
    frame[12] = 0x88;
    frame[13] = 0xb5;
    copy(frame + 14, &sent, sizeof(sent));
    transmit->slots[sent % SLOTS] = (struct transmit_request){ REF_SENT, (u16)(place * 64), 0, (u16)place, FRAME_SIZE };
    sent++;
}

static void take_frame(const struct receive_response *response)
{
    u32 number;
    if (response->status != FRAME_SIZE || response->id >= PAGES)
        fail("a frame of another size");
    copy(&number, pages[response->id] + response->offset + 14, sizeof(number));
    if (number < expected)
        doubled++;
    else
        lost += number - expected;
    if (number >= expected)
        expected = number + 1;
    received++;
    if (received % 100 == 0)
        print("netfront: %u\n", received);
}

/* Takes what has come, asks for more, sends one for each; a frame's place is free again once it was answered. */
static void pump(void)
{
    do {
        for (; taken != receiving->at.rsp_prod; taken++) {
            barrier();
            struct receive_response response = receiving->slots[taken % SLOTS].response;
            take_frame(&response);
            offer_page(response.id);
        }
        receiving->at.rsp_event = taken + 1;
        done = transmit->at.rsp_prod;
        transmit->at.rsp_event = done + 1;
        while (sent < FRAMES && sent < WINDOW + received && sent - done < PAGES)
            send_frame();
        push(&receiving->at, asked);
        push(&transmit->at, sent);
        __sync_synchronize();
    } while (taken != receiving->at.rsp_prod);
}

static void exchange(void)
{
    receiving->at.rsp_event = transmit->at.rsp_event = 1;
    for (u16 i = 0; i < PAGES; i++)
        offer_page(i);
    pump();
    while (received < FRAMES || done < FRAMES) {
        wait_for_port(ring_port);
        pump();
    }
}

static u32 begin_transaction(void)
{
    char answer[16];
    if (ask(XS_TRANSACTION_START, 0, ended(""), nothing, answer, sizeof(answer)) < 0)
        fail(answer);
    u32 transaction = (u32)number_of(answer);
    ask(XS_WRITE, transaction, ended("data/begun"), bare("1"), answer, sizeof(answer));
    return transaction;
}

static void commit(u32 transaction)
{
    char answer[16];
    ask(XS_WRITE, transaction, ended("data/ended"), bare("1"), answer, sizeof(answer));
    int length = ask(XS_TRANSACTION_END, transaction, ended("T"), nothing, answer, sizeof(answer));
    print("netfront: commit %s\n", answer);
    if (length < 0)
        fail("the transaction was lost");
}

__attribute__((noreturn)) void kernel_main(struct start_info *info)
{
    memory_start(info);
    console_start(info);
    traps_start();
    events_start(info);
    console_attach();
    memory_map_all(info);
    timer = (u32)port_bind_timer();
    store_start(info);
    grant_all();
    connect();
    print("netfront: connected\n");
    await_value("data/go", "1");
    u32 transaction = begin_transaction();
    exchange();
    commit(transaction);
    print("netfront: %u sent, %u received, %u lost, %u doubled\n", sent, received, lost, doubled);
    for (;;)
        wait_for_event();
}
