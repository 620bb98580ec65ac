/* Two words that belong together, written one behind the other: whoever reads in between sees half of it. */
#include "planted.h"

#define ROUNDS 4000
static volatile long first, second;
static volatile int wrong;
static pthread_spinlock_t lock;

static void enter(void) {
#ifdef FIXED
  pthread_spin_lock(&lock);
#endif
}

static void leave(void) {
#ifdef FIXED
  pthread_spin_unlock(&lock);
#endif
}

static void *writes(void *cpu) {
  meet((int)(long)cpu);
  for (long i = 1; i <= ROUNDS; i += 1) {
    enter();
    first = i;
    second = i;
    leave();
    work(10);
  }
  return NULL;
}

static void *reads(void *cpu) {
  meet((int)(long)cpu);
  for (int i = 0; i < ROUNDS; i += 1) {
    enter();
    long one = second, other = first;
    leave();
    if (one != other) wrong = 1;
    work(10);
  }
  return NULL;
}

int main(void) {
  pthread_spin_init(&lock, 0);
  both(writes, reads);
  return verdict(!wrong);
}
