/* A process of two threads for debuggers: one counts every ten milliseconds, the other waits. It exits with 3 once somebody has set `stop`. */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

volatile int counter, stop;

__attribute__((noinline)) int tick(int count, const char *name)
{
    counter += count;
    return name[0] + counter;
}

static void *worker(void *name)
{
    while (!stop) {
        tick(1, name);
        usleep(10000);
    }
    exit(3);
}

int main(int argc, char **argv)
{
    pthread_t thread;
    pthread_create(&thread, NULL, worker, argc > 1 ? argv[1] : "nameless");
    for (;;) pause();
}
