/*
 * Answers numbered requests: carries the next number out, once, with a token that no other run of it would draw and a line in its
 * journal on the disk; what was carried out last it answers as before. What is said on the wire is in test/support/remus/request-server.ts.
 */
#include "contract.h"

#define HEADER 14
#define WORD 4
#define SECTORS 64
#define SECTOR_SIZE 512
enum { ANSWER = 1, GAP = 2, HERE = 3 };

static const u8 own[6] = { 0, 0x16, 0x3e, 0, 0, 1 }, everybody[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
static u8 line[SECTOR_SIZE];
static u32 last, token;
static int serving;

static u32 word_at(const u8 *bytes)
{
    return (u32)bytes[0] << 24 | (u32)bytes[1] << 16 | (u32)bytes[2] << 8 | bytes[3];
}

static void put_word(u8 *bytes, u32 value)
{
    for (int i = 0; i < WORD; i++)
        bytes[i] = (u8)(value >> (24 - 8 * i));
}

static void say(const u8 *to, u32 kind, u32 number, u32 value)
{
    u8 *frame = net_frame();
    copy(frame, to, sizeof(own));
    copy(frame + sizeof(own), own, sizeof(own));
    frame[12] = 0x88;
    frame[13] = 0xb6;
    put_word(frame + HEADER, number);
    put_word(frame + HEADER + WORD, kind);
    put_word(frame + HEADER + 2 * WORD, value);
    net_transmit(HEADER + 3 * WORD);
}

static void carry_out(u32 number)
{
    token = (u32)system_time() * 2654435761u;
    put_word(line, number);
    put_word(line + WORD, token);
    int status = disk_put(number % SECTORS, line);
    if (status)
        print("serve: the disk says %d\n", status);
    last = number;
}

void serve_request(const u8 *frame)
{
    u8 client[sizeof(own)];
    u32 number = word_at(frame + HEADER);
    if (!serving)
        return;
    copy(client, frame + sizeof(own), sizeof(own));
    if (number > last + 1)
        say(client, GAP, number, last);
    if (number == last + 1)
        carry_out(number);
    if (number == last)
        say(client, ANSWER, number, token);
}

/* Opens disk and network; bridges learn where it is. */
static void open(void)
{
    if (disk_open() || net_open())
        print("serve: no disk or no network\n");
    else
        say(everybody, HERE, last, 0);
}

/* Behind a restore. */
void serve_resume(void)
{
    if (serving)
        open();
}

void run_serve(char *rest)
{
    (void)rest;
    serving = 1;
    open();
    print("serves requests\n");
}
