/*
 * Answers OK to every message on a Unix socket without looking at it: what is left is the client and the kernel, and no
 * server can be faster. Polls for 200 us before it sleeps. Usage: idle-server SOCKET
 */
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define HEADER 16
#define PIECE (1 << 20)
#define POLL_NS 200000

static char in[PIECE], out[2 * PIECE];

static int64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Answers what has come. The clients of the benchmark never leave half a message behind. */
static int answer(int fd)
{
    ssize_t got = read(fd, in, sizeof(in));
    size_t at = 0, end = 0;

    if (got <= 0)
        return close(fd);
    while (at + HEADER <= (size_t)got) {
        uint32_t length;

        memcpy(&length, in + at + 12, 4);
        memcpy(out + end, in + at, 12);
        memcpy(out + end + 12, "\3\0\0\0OK", 7);
        end += HEADER + 3;
        at += HEADER + length;
    }
    return write(fd, out, end) < 0;
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct epoll_event event = { .events = EPOLLIN }, ready[64];
    int door = socket(AF_UNIX, SOCK_STREAM, 0), poll = epoll_create1(0);
    int64_t last = 0;

    if (argc != 2)
        return 2;
    strncpy(address.sun_path, argv[1], sizeof(address.sun_path) - 1);
    if (bind(door, (struct sockaddr *)&address, sizeof(address)) || listen(door, 100))
        return 1;
    event.data.fd = door;
    epoll_ctl(poll, EPOLL_CTL_ADD, door, &event);
    for (;;) {
        int count = epoll_wait(poll, ready, 64, now() - last < POLL_NS ? 0 : -1);

        for (int i = 0; i < count; i++) {
            if (ready[i].data.fd == door) {
                event.data.fd = accept(door, NULL, NULL);
                epoll_ctl(poll, EPOLL_CTL_ADD, event.data.fd, &event);
            } else
                answer(ready[i].data.fd);
        }
        if (count > 0)
            last = now();
    }
}
