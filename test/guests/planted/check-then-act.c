/* Whoever finds a place free takes it: between finding and taking, the other finds it free as well. */
#include "planted.h"

#define PLACES 3000
static volatile int owner[PLACES];
static volatile int taken;

static void *take(void *cpu) {
  meet((int)(long)cpu);
  for (int i = 0; i < PLACES; i += 1) {
#ifdef FIXED
    int free = 0;
    if (__atomic_compare_exchange_n(&owner[i], &free, (int)(long)cpu + 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) __atomic_add_fetch(&taken, 1, __ATOMIC_SEQ_CST);
#else
    if (owner[i] == 0) {
      owner[i] = (int)(long)cpu + 1;
      __atomic_add_fetch(&taken, 1, __ATOMIC_SEQ_CST);
    }
#endif
    work(10);
  }
  return NULL;
}

int main(void) {
  both(take, take);
  return verdict(taken == PLACES);
}
