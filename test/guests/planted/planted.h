/*
 * What the planted programs share: two threads on two processors that begin at once, and one word in the end. Each program is
 * right when it is built with FIXED, and has one mistake otherwise, which a usual schedule does not show.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile int waiting;

/* Runs on a processor of its own, once both are there. */
__attribute__((unused)) static void meet(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof set, &set);
  __atomic_add_fetch(&waiting, 1, __ATOMIC_SEQ_CST);
  while (__atomic_load_n(&waiting, __ATOMIC_SEQ_CST) < 2) sched_yield();
}

/* Something that takes about four instructions a round and reaches nobody. */
__attribute__((unused)) static void work(int rounds) {
  for (volatile int i = 0; i < rounds; i += 1) continue;
}

__attribute__((unused)) static void both(void *(*one)(void *), void *(*other)(void *)) {
  pthread_t first, second;
  pthread_create(&first, NULL, one, (void *)0);
  pthread_create(&second, NULL, other, (void *)1);
  pthread_join(first, NULL);
  pthread_join(second, NULL);
}

__attribute__((unused)) static int verdict(int is_right) {
  puts(is_right ? "planted: fine" : "planted: wrong");
  return 0;
}

static void too_late(int signal) {
  (void)signal;
  static const char text[] = "planted: wrong\n";
  if (write(1, text, sizeof text - 1) < 0) _exit(1);
  _exit(0);
}

/* Ends the program as wrong where it hangs. */
__attribute__((unused)) static void watch(void) {
  signal(SIGALRM, too_late);
  alarm(2);
}
