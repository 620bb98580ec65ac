/*
 * Answers numbered requests as a process of Linux: `request-server INTERFACE DISK`. It carries the next number out, once, with a token that no other run
 * of it would draw and a line in its journal, which is on the disk before it answers; what was carried out last it answers as before. What is said on the
 * wire is in test/support/remus/request-server.ts.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TYPE 0x88b6
#define SECTORS 64
#define SECTOR_SIZE 512
enum { ANSWER = 1, GAP = 2 };

struct __attribute__((packed)) frame {
    uint8_t to[6], from[6];
    uint16_t type;
    uint32_t number, kind, value;
    uint8_t rest[34];
};

static const uint8_t own[6] = { 0, 0x16, 0x3e, 0, 0, 1 };
static int wire, disk;
static uint32_t last, token;

/* Nobody can be told of an answer that is lost: it is asked for again. */
static void say(const uint8_t *to, uint32_t kind, uint32_t number, uint32_t value)
{
    struct frame frame = { .type = htons(TYPE), .number = htonl(number), .kind = htonl(kind), .value = htonl(value) };
    memcpy(frame.to, to, sizeof(own));
    memcpy(frame.from, own, sizeof(own));
    if (send(wire, &frame, sizeof(frame), 0) < 0)
        perror("send");
}

static int carry_out(uint32_t number)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    token = (uint32_t)now.tv_nsec * 2654435761u + (uint32_t)now.tv_sec;
    uint32_t line[SECTOR_SIZE / sizeof(uint32_t)] = { htonl(number), htonl(token) };
    if (pwrite(disk, line, sizeof(line), (number % SECTORS) * SECTOR_SIZE) != sizeof(line))
        return -1;
    last = number;
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(TYPE), .sll_ifindex = (int)if_nametoindex(argv[1]) };
    wire = socket(AF_PACKET, SOCK_RAW, htons(TYPE));
    disk = open(argv[2], O_RDWR | O_SYNC);
    if (wire < 0 || disk < 0 || bind(wire, (struct sockaddr *)&at, sizeof(at)) < 0) {
        perror("request-server");
        return 1;
    }
    printf("serves requests\n");
    fflush(stdout);
    for (struct frame frame;;) {
        if (recv(wire, &frame, sizeof(frame), 0) < 26)
            continue;
        uint32_t number = ntohl(frame.number);
        if (number > last + 1)
            say(frame.from, GAP, number, last);
        if (number == last + 1 && carry_out(number))
            perror("the journal");
        if (number == last)
            say(frame.from, ANSWER, number, token);
    }
}
