/*
 * A stack without locks, of nodes that are used again: compare-and-swap sees the same node on top and does not see that it was away. With a
 * count of changes beside the node it does.
 */
#include "planted.h"

#define NODES 3
#define ROUNDS 600
#ifdef FIXED
#define TAG(top) (((top) + (1ul << 32)) & ~0xfffffffful)
#else
#define TAG(top) 0ul
#endif

static volatile unsigned long top;
static volatile unsigned next[NODES + 1];
static volatile int used[NODES + 1];
static volatile int wrong;

static unsigned pop(void) {
  for (;;) {
    unsigned long seen = top;
    unsigned node = (unsigned)seen;
    if (node == 0) return 0;
    unsigned below = next[node];
    work(4);
    if (__atomic_compare_exchange_n(&top, &seen, TAG(seen) | below, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) return node;
  }
}

static void push(unsigned node) {
  for (;;) {
    unsigned long seen = top;
    next[node] = (unsigned)seen;
    if (__atomic_compare_exchange_n(&top, &seen, TAG(seen) | node, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) return;
  }
}

static void use(unsigned node) {
  if (node != 0 && __atomic_add_fetch(&used[node], 1, __ATOMIC_SEQ_CST) != 1) wrong = 1;
}

static void give(unsigned node) {
  if (node == 0) return;
  __atomic_sub_fetch(&used[node], 1, __ATOMIC_SEQ_CST);
  push(node);
}

static void *play(void *cpu) {
  meet((int)(long)cpu);
  for (int i = 0; i < ROUNDS && !wrong; i += 1) {
    unsigned first = pop();
    use(first);
    unsigned second = pop();
    use(second);
    /* In the other order than they came. */
    give(first);
    work(4);
    give(second);
  }
  return NULL;
}

int main(void) {
  watch();
  for (unsigned node = 1; node <= NODES; node += 1) push(node);
  both(play, play);
  return verdict(!wrong);
}
