/* Two locks, taken in one order by one thread and in the other by the other. */
#include "planted.h"

#define ROUNDS 100
static pthread_mutex_t locks[2] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};

static void *takes(void *cpu) {
#ifdef FIXED
  int first = 0;
#else
  int first = (int)(long)cpu;
#endif
  meet((int)(long)cpu);
  for (int i = 0; i < ROUNDS; i += 1) {
    pthread_mutex_lock(&locks[first]);
    pthread_mutex_lock(&locks[1 - first]);
    pthread_mutex_unlock(&locks[1 - first]);
    pthread_mutex_unlock(&locks[first]);
    work(40);
  }
  return NULL;
}

int main(void) {
  watch();
  both(takes, takes);
  return verdict(1);
}
