/*
 * What afl-fuzz takes for an instrumented program: it hands each input to a program that executes it in a guest, and gives back which edges that
 * took and whether something went wrong. Only a native program can attach the memory in which afl-fuzz wants the map.
 *
 *   gcc -O2 -o forkserver forkserver.c
 *   afl-fuzz -i seeds -o out -t 10000 -- ./forkserver npx tsx examples/afl/netfront.ts
 *
 *   afl-fuzz -- 198: run, 199: pid, status --> this program -- stdin: length, input; stdout: status, map --> the program named
 *
 * Reference: AFL's technical details, "The fork server"; AFL++'s docs/custom_mutators and include/config.h.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#define RUN 198
#define TELL 199
#define MAP_BYTES 65536
#define INPUT_BYTES (1 << 20)

static unsigned char input[INPUT_BYTES], map[MAP_BYTES];
static int to_guest, from_guest;
static pid_t guest;

static int read_all(int fd, void *into, size_t bytes)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t got = read(fd, (char *)into + done, bytes - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return 0;
        done += (size_t)got;
    }
    return 1;
}

static int write_all(int fd, const void *from, size_t bytes)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t put = write(fd, (const char *)from + done, bytes - done);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return 0;
        done += (size_t)put;
    }
    return 1;
}

/* Starts the program that has the guest, and waits until it says that it is ready. */
static void start(char **command)
{
    int in[2], out[2];
    uint32_t ready;

    if (pipe(in) != 0 || pipe(out) != 0)
        exit(1);
    guest = fork();
    if (guest < 0)
        exit(1);
    if (guest == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[0]), close(in[1]), close(out[0]), close(out[1]), close(RUN), close(TELL);
        execvp(command[0], command);
        _exit(127);
    }
    close(in[0]), close(out[1]);
    to_guest = in[1];
    from_guest = out[0];
    if (!read_all(from_guest, &ready, sizeof ready)) {
        fprintf(stderr, "%s has ended before it was ready\n", command[0]);
        exit(1);
    }
}

/* The program is gone, or was killed as it took too long: its status, and a new one in its place. */
static int start_again(char **command)
{
    int status = 0;
    close(to_guest), close(from_guest);
    waitpid(guest, &status, 0);
    start(command);
    return status;
}

static uint32_t read_input(void)
{
    ssize_t got;
    uint32_t bytes = 0;
    lseek(0, 0, SEEK_SET);
    while (bytes < INPUT_BYTES && (got = read(0, input + bytes, INPUT_BYTES - bytes)) > 0)
        bytes += (uint32_t)got;
    return bytes;
}

int main(int argc, char **argv)
{
    const char *id = getenv("__AFL_SHM_ID");
    unsigned char *edges = id == NULL ? map : shmat(atoi(id), NULL, 0);
    uint32_t word = 0;

    if (argc < 2 || edges == (void *)-1)
        return 1;
    signal(SIGPIPE, SIG_IGN);
    start(argv + 1);
    if (!write_all(TELL, &word, sizeof word)) {
        fprintf(stderr, "run this by afl-fuzz\n");
        return 1;
    }
    while (read_all(RUN, &word, sizeof word)) {
        uint32_t bytes = read_input(), failed = 0;
        int status = 0;
        if (!write_all(TELL, &guest, sizeof word))
            break;
        if (write_all(to_guest, &bytes, sizeof bytes) && write_all(to_guest, input, bytes) && read_all(from_guest, &failed, sizeof failed) && read_all(from_guest, map, MAP_BYTES)) {
            memcpy(edges, map, MAP_BYTES);
            status = failed ? SIGABRT : 0;
        } else
            status = start_again(argv + 1);
        if (!write_all(TELL, &status, sizeof status))
            break;
    }
    kill(guest, SIGKILL);
    return 0;
}
