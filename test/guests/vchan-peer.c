/*
 * One end of a vchan by Xen's own library, for a Linux guest of tests: vchan-peer server|client DOMID PATH TASK [COUNT] [READ_MIN WRITE_MIN]
 *
 *   echo        blocking: takes packets (four bytes of length, then so many), and sends them back until the other end closes
 *   send        blocking: writes COUNT bytes of a pattern as a stream, and waits until the other end closes
 *   receive     blocking: reads COUNT bytes as a stream
 *   poll        not blocking: takes COUNT bytes and sends them back, with libxenvchan_wait wherever nothing moves
 *   hold        opens, says so, and waits to be killed
 *
 * Each but the last ends with one line: the task, bytes, their hash, and what libxenvchan_is_open says.
 */
#include <libxenvchan.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned char buffer[1 << 20];
static uint32_t hash = 2166136261u;
static size_t total;

static void count(const unsigned char *bytes, size_t length)
{
    for (size_t at = 0; at < length; at++)
        hash = (hash ^ bytes[at]) * 16777619u;
    total += length;
}

static void fail(const char *what)
{
    printf("failed: %s\n", what);
    exit(1);
}

static void echo(struct libxenvchan *vchan)
{
    uint32_t length;

    vchan->blocking = 1;
    while (libxenvchan_recv(vchan, &length, 4) == 4) {
        if (length > sizeof(buffer) || libxenvchan_recv(vchan, buffer, length) != (int)length)
            fail("recv");
        count(buffer, length);
        if (libxenvchan_send(vchan, &length, 4) != 4 || libxenvchan_send(vchan, buffer, length) != (int)length)
            fail("send");
    }
}

static void send_all(struct libxenvchan *vchan, size_t wanted)
{
    vchan->blocking = 1;
    for (size_t piece = 1; total < wanted; piece = (piece * 7) % 5003 + 1) {
        size_t length = piece < wanted - total ? piece : wanted - total;

        for (size_t at = 0; at < length; at++)
            buffer[at] = (unsigned char)((total + at) * 31 + ((total + at) >> 8));
        if (libxenvchan_write(vchan, buffer, length) != (int)length)
            fail("write");
        count(buffer, length);
    }
    while (libxenvchan_is_open(vchan))
        if (libxenvchan_wait(vchan))
            fail("wait");
}

static void receive_all(struct libxenvchan *vchan, size_t wanted)
{
    vchan->blocking = 1;
    for (size_t piece = 1; total < wanted; piece = (piece * 5) % 6007 + 1) {
        int got = libxenvchan_read(vchan, buffer, piece < wanted - total ? piece : wanted - total);

        if (got <= 0)
            fail("read");
        count(buffer, got);
    }
}

static void poll_all(struct libxenvchan *vchan, size_t wanted)
{
    size_t back = 0;

    while (back < wanted) {
        int got = 0, put = 0;

        if (total < wanted && total - back < sizeof(buffer) / 2) {
            int ready = libxenvchan_data_ready(vchan);

            got = libxenvchan_read(vchan, buffer + total - back, 4096);
            if (got < 0 || (ready > 0 && got == 0))
                fail("read");
            count(buffer + total - back, got);
        }
        if (total > back) {
            int space = libxenvchan_buffer_space(vchan);

            put = libxenvchan_write(vchan, buffer, total - back);
            if (put < 0 || (space > 0 && put == 0))
                fail("write");
            memmove(buffer, buffer + put, total - back - put);
            back += put;
        }
        if (got == 0 && put == 0 && libxenvchan_wait(vchan))
            fail("wait");
    }
}

int main(int argc, char **argv)
{
    struct libxenvchan *vchan = NULL;
    size_t wanted = argc > 5 ? strtoul(argv[5], NULL, 0) : 0;
    const char *task = argc > 4 ? argv[4] : "";

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 5)
        fail("arguments");
    if (strcmp(argv[1], "server") == 0) {
        vchan = libxenvchan_server_init(NULL, atoi(argv[2]), argv[3],
                                        argc > 6 ? strtoul(argv[6], NULL, 0) : 0, argc > 7 ? strtoul(argv[7], NULL, 0) : 0);
    } else {
        /* As long as a guest in the same test takes to open its end. */
        for (int tries = 0; tries < 200 && vchan == NULL; tries++) {
            vchan = libxenvchan_client_init(NULL, atoi(argv[2]), argv[3]);
            if (vchan == NULL)
                usleep(50000);
        }
    }
    if (vchan == NULL)
        fail("init");
    printf("opened: %d\n", libxenvchan_is_open(vchan));
    if (strcmp(task, "hold") == 0)
        pause();
    else if (strcmp(task, "echo") == 0)
        echo(vchan);
    else if (strcmp(task, "send") == 0)
        send_all(vchan, wanted);
    else if (strcmp(task, "receive") == 0)
        receive_all(vchan, wanted);
    else if (strcmp(task, "poll") == 0)
        poll_all(vchan, wanted);
    else
        fail("task");
    printf("%s: %zu bytes, hash %08x, open %d\n", task, total, hash, libxenvchan_is_open(vchan));
    libxenvchan_close(vchan);
    return 0;
}
