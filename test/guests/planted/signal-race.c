/* A signal's handler changes what the thread that it interrupts is changing. */
#include "planted.h"

#define SIGNALS 150
static volatile long counter;
static volatile long handled;
static volatile int over;
static volatile pthread_t target;

static void add(long amount) {
#ifdef FIXED
  __atomic_add_fetch(&counter, amount, __ATOMIC_SEQ_CST);
#else
  long seen = counter;
  counter = seen + amount;
#endif
}

static void handler(int signal) {
  (void)signal;
  handled += 1;
  add(1);
}

static volatile long own;

static void *counts(void *cpu) {
  target = pthread_self();
  meet((int)(long)cpu);
  while (!over) {
    add(1);
    own += 1;
    work(20);
  }
  return NULL;
}

static void *signals(void *cpu) {
  meet((int)(long)cpu);
  for (int i = 0; i < SIGNALS; i += 1) {
    pthread_kill(target, SIGUSR1);
    work(200);
  }
  over = 1;
  return NULL;
}

int main(void) {
  signal(SIGUSR1, handler);
  both(counts, signals);
  return verdict(counter == own + handled);
}
