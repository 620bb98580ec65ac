/* Whoever waits looks before it locks: what is said in between wakes nobody. */
#include "planted.h"

#define ROUNDS 400
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t said = PTHREAD_COND_INITIALIZER;
static volatile int ready[ROUNDS];

static void *waits(void *cpu) {
  meet((int)(long)cpu);
  for (int i = 0; i < ROUNDS; i += 1) {
#ifdef FIXED
    pthread_mutex_lock(&lock);
    while (!ready[i]) pthread_cond_wait(&said, &lock);
    pthread_mutex_unlock(&lock);
#else
    if (ready[i]) continue;
    work(800);
    pthread_mutex_lock(&lock);
    pthread_cond_wait(&said, &lock);
    pthread_mutex_unlock(&lock);
#endif
  }
  return NULL;
}

static void *says(void *cpu) {
  meet((int)(long)cpu);
  for (int i = 0; i < ROUNDS; i += 1) {
    work(100);
    pthread_mutex_lock(&lock);
    ready[i] = 1;
    pthread_cond_signal(&said);
    pthread_mutex_unlock(&lock);
  }
  return NULL;
}

int main(void) {
  watch();
  both(waits, says);
  return verdict(1);
}
