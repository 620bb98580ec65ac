/*
 * XenStore: requests and answers as messages in the two byte rings of the store's page, one request at a time. Watch
 * events that come in between are kept, each token once: whoever is told looks the value up anyway.
 */
#include "mini.h"

#define RING 1024
#define TOKENS 4
#define TOKEN_SIZE 32

struct text {
    const char *at;
    word length;
};

static struct store_page *page;
static u32 port;
static u32 last_request;
static char waiting[TOKENS][TOKEN_SIZE];

void store_start(const struct start_info *info)
{
    if (info->flags & SIF_INITDOMAIN || !info->store_mfn)
        return;
    page = address_of_frame(info->store_mfn);
    port = info->store_evtchn;
    if (page)
        port_open(port);
}

static void send(const void *from, word count)
{
    for (word i = 0; i < count; i++) {
        while (page->req_prod - page->req_cons >= RING) {
            port_notify(port);
            wait_for_port(port);
        }
        page->req[page->req_prod % RING] = ((const char *)from)[i];
        barrier();
        page->req_prod++;
    }
}

/* Takes `count` bytes; those beyond `size` are thrown away. */
static void receive(void *to, word count, word size)
{
    for (word i = 0; i < count; i++) {
        while (page->rsp_prod == page->rsp_cons) {
            port_notify(port);
            wait_for_port(port);
        }
        barrier();
        if (i < size)
            ((char *)to)[i] = page->rsp[page->rsp_cons % RING];
        barrier();
        page->rsp_cons++;
    }
}

/* A watch event's payload is path, zero, token, zero. */
static void keep_token(const char *payload, word length)
{
    word start = length_of(payload) + 1;
    if (start >= length || length_of(payload + start) >= TOKEN_SIZE)
        return;
    for (int i = 0; i < TOKENS; i++) {
        if (waiting[i][0] && !same(waiting[i], payload + start))
            continue;
        copy(waiting[i], payload + start, length_of(payload + start) + 1);
        return;
    }
}

/* Takes one message; a watch event is kept, an answer goes to `to`, ended with a zero. Says which it was. */
static int receive_message(struct store_header *header, char *to, word size)
{
    static char payload[512];
    receive(header, sizeof(*header), sizeof(*header));
    int event = header->type == XS_WATCH_EVENT;
    char *at = event ? payload : to;
    word room = event ? sizeof(payload) : size;
    receive(at, header->length, room - 1);
    at[header->length < room - 1 ? header->length : room - 1] = 0;
    port_notify(port);
    if (event)
        keep_token(payload, header->length);
    return event;
}

/* Sends a request and waits for its answer; its length, or -1 and the error's name in `to`. */
static int ask(u32 type, u32 transaction, struct text first, struct text second, char *to, word size)
{
    struct store_header header = { type, ++last_request, transaction, (u32)(first.length + second.length) };
    to[0] = 0;
    if (!page)
        return -1;
    send(&header, sizeof(header));
    send(first.at, first.length);
    send(second.at, second.length);
    port_notify(port);
    while (receive_message(&header, to, size) || header.request != last_request)
        ;
    return header.type == XS_ERROR ? -1 : (int)header.length;
}

/* A text with the zero that ends it, as paths are sent; `bare` is without, as values are. */
static struct text ended(const char *text)
{
    return (struct text){ text, length_of(text) + 1 };
}

static struct text bare(const char *text)
{
    return (struct text){ text, length_of(text) };
}

static const struct text nothing = { "", 0 };

int store_read(const char *path, char *to, word size)
{
    return ask(XS_READ, 0, ended(path), nothing, to, size);
}

/* Names end with a zero each. */
int store_list(const char *path, char *to, word size)
{
    return ask(XS_DIRECTORY, 0, ended(path), nothing, to, size);
}

int store_write(const char *path, const char *value)
{
    char answer[16];
    return ask(XS_WRITE, 0, ended(path), bare(value), answer, sizeof(answer));
}

/* The path is its own token. */
int store_watch(const char *path)
{
    char answer[16];
    return ask(XS_WATCH, 0, ended(path), ended(path), answer, sizeof(answer));
}

/* The token of a watch that has fired; 0 when there is none. */
int store_next_watch(char *token, word size)
{
    struct store_header header;
    char stray[16];
    while (page && page->rsp_prod != page->rsp_cons)
        receive_message(&header, stray, sizeof(stray));
    for (int i = 0; i < TOKENS; i++) {
        if (!waiting[i][0])
            continue;
        format(token, size, "%s", waiting[i]);
        waiting[i][0] = 0;
        return 1;
    }
    return 0;
}

/* Reads a value and empties the node, in one transaction; the length of the value, or -1. */
int store_take(const char *path, char *to, word size)
{
    char answer[16];
    for (;;) {
        if (ask(XS_TRANSACTION_START, 0, ended(""), nothing, answer, sizeof(answer)) < 0)
            return -1;
        u32 transaction = (u32)number_of(answer);
        int length = ask(XS_READ, transaction, ended(path), nothing, to, size);
        if (length > 0)
            ask(XS_WRITE, transaction, ended(path), nothing, answer, sizeof(answer));
        if (ask(XS_TRANSACTION_END, transaction, ended(length > 0 ? "T" : "F"), nothing, answer, sizeof(answer)) >= 0)
            return length;
        if (!same(answer, "EAGAIN"))
            return -1;
    }
}

/* Watches have to be set again after a restore; whatever the old store had still to say is void. */
void store_resume(const struct start_info *info, int cancelled)
{
    char answer[16];
    if (cancelled || !page)
        return;
    port = info->store_evtchn;
    page->rsp_cons = page->rsp_prod;
    for (int i = 0; i < TOKENS; i++)
        waiting[i][0] = 0;
    port_open(port);
    ask(XS_RESET_WATCHES, 0, ended(""), nothing, answer, sizeof(answer));
}
