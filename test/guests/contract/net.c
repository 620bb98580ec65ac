/*
 * A network front-end: sends frames that hold a text to everybody, prints the text of those that come. Requests go to serve.c.
 * Reference: public/io/netif.h.
 */
#include "contract.h"

#define SLOTS 256
#define HEADER 14
#define LEAST 60

struct transmit_request {
    u32 ref;
    u16 offset, flags, id, size;
};
struct receive_request {
    u16 id, pad;
    u32 ref;
};
struct receive_response {
    u16 id, offset, flags;
    short status;
};
struct transmit_ring {
    struct indexes at;
    struct transmit_request slot[SLOTS];
};
struct receive_ring {
    struct indexes at;
    union {
        struct receive_request request;
        struct receive_response response;
    } slot[SLOTS];
};

static char transmit_page[PAGE_SIZE] PAGE, receive_page[PAGE_SIZE] PAGE, sent_page[PAGE_SIZE] PAGE;
static char received_pages[RECEIVE_PAGES][PAGE_SIZE] PAGE;
static struct transmit_ring *const transmit = (struct transmit_ring *)transmit_page;
static struct receive_ring *const receiving = (struct receive_ring *)receive_page;
static struct device device;
static u32 sent, asked, taken;
static int connected;

void net_forget(void)
{
    connected = 0;
}

static void offer(u16 id)
{
    receiving->slot[asked++ % SLOTS].request = (struct receive_request){ id, 0, (u32)REF_RECEIVED + id };
}

static int grant_all(void)
{
    u16 domain = device.back_domain;
    if (grant_page(REF_TRANSMIT, domain, transmit_page) || grant_page(REF_RECEIVE, domain, receive_page) || grant_page(REF_SENT, domain, sent_page))
        return -1;
    for (u32 i = 0; i < RECEIVE_PAGES; i++)
        grant_page(REF_RECEIVED + i, domain, received_pages[i]);
    return 0;
}

int net_open(void)
{
    if (connected)
        return 0;
    sent = asked = taken = 0;
    transmit->at.req_prod = transmit->at.rsp_prod = receiving->at.req_prod = receiving->at.rsp_prod = 0;
    transmit->at.req_event = transmit->at.rsp_event = receiving->at.req_event = receiving->at.rsp_event = 1;
    if (device_find(&device, "vif") || device_await(&device, "2") || grant_all())
        return -1;
    device_write_number(&device, "tx-ring-ref", REF_TRANSMIT);
    device_write_number(&device, "rx-ring-ref", REF_RECEIVE);
    device_write_number(&device, "event-channel", device.port);
    device_write_number(&device, "request-rx-copy", 1);
    device_write(&device, "state", "4");
    if (device_await(&device, "4"))
        return -1;
    for (u16 i = 0; i < RECEIVE_PAGES; i++)
        offer(i);
    ring_push(&receiving->at, asked, device.port);
    connected = 1;
    return 0;
}

/* Where the frame is written that is sent next. */
u8 *net_frame(void)
{
    return (u8 *)sent_page;
}

/* Sends it, and waits until it has been taken. */
void net_transmit(u32 size)
{
    for (; size < LEAST; size++)
        sent_page[size] = 0;
    transmit->slot[sent % SLOTS] = (struct transmit_request){ REF_SENT, 0, 0, 0, (u16)size };
    transmit->at.rsp_event = sent + 1;
    ring_push(&transmit->at, ++sent, device.port);
    while (transmit->at.rsp_prod != sent)
        wait_for_port(device.port);
}

static void send(const char *text)
{
    u8 *frame = net_frame();
    for (u32 i = 0; i < HEADER; i++)
        frame[i] = i < 6 ? 0xff : 0;
    frame[6] = 2;
    frame[12] = 0x88;
    frame[13] = 0xb5;
    net_transmit(HEADER + (u32)format(sent_page + HEADER, 256, "%s", text) + 1);
    print("net: sent\n");
}

/* Prints what has come, or has it served, and asks for more. */
void net_pump(void)
{
    if (!connected)
        return;
    port_fired(device.port);
    do {
        for (; taken != receiving->at.rsp_prod; taken++) {
            barrier();
            struct receive_response response = receiving->slot[taken % SLOTS].response;
            u16 id = response.id % RECEIVE_PAGES;
            const u8 *frame = (const u8 *)received_pages[id] + response.offset % 2048;
            if (response.status > HEADER && frame[12] == 0x88 && frame[13] == 0xb5)
                print("net: got %s\n", (const char *)frame + HEADER);
            else if (response.status >= LEAST && frame[12] == 0x88 && frame[13] == 0xb6)
                serve_request(frame);
            offer(id);
        }
        receiving->at.rsp_event = taken + 1;
        ring_push(&receiving->at, asked, device.port);
        __sync_synchronize();
    } while (taken != receiving->at.rsp_prod);
}

void run_net(char *rest)
{
    char *what = word_of(&rest);
    if (net_open()) {
        print("net: none\n");
        return;
    }
    if (same(what, "send"))
        send(rest);
    else
        print("net: open\n");
    net_pump();
}
