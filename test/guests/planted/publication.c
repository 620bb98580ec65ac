/* A pointer that is published before what it points to is there. */
#include "planted.h"

#define ROUNDS 3000
struct thing { volatile int value; };
static struct thing things[ROUNDS];
static struct thing *volatile published;
static volatile int wrong;

static void *writes(void *cpu) {
  meet((int)(long)cpu);
  for (int i = 0; i < ROUNDS; i += 1) {
#ifdef FIXED
    things[i].value = i + 1;
    published = &things[i];
#else
    published = &things[i];
    things[i].value = i + 1;
#endif
    work(10);
  }
  return NULL;
}

static void *reads(void *cpu) {
  meet((int)(long)cpu);
  for (int i = 0; i < 2 * ROUNDS; i += 1) {
    struct thing *seen = published;
    if (seen != NULL && seen->value == 0) wrong = 1;
    work(4);
  }
  return NULL;
}

int main(void) {
  both(writes, reads);
  return verdict(!wrong);
}
