/* Two threads count in one variable: reading, adding and writing are three instructions. */
#include "planted.h"

#define ROUNDS 3000
static volatile long counter;

static void *count(void *cpu) {
  meet((int)(long)cpu);
  for (int i = 0; i < ROUNDS; i += 1) {
#ifdef FIXED
    __atomic_add_fetch(&counter, 1, __ATOMIC_SEQ_CST);
#else
    long seen = counter;
    counter = seen + 1;
#endif
    work(20);
  }
  return NULL;
}

int main(void) {
  both(count, count);
  return verdict(counter == 2 * ROUNDS);
}
