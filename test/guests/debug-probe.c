/*
 * Looks at its own debugging as a process of Linux: where the trap flag stops it, what ptrace's single step and the debug
 * registers see, and what an alignment check says. Prints one line for each. The same program on the real processor
 * prints the same lines. Static, so that it runs out of an initial RAM disk.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static char buffer[64] __attribute__((aligned(64)));
static long stops[64];
static int stop_count;
extern char traced[], watched[];

static void on_trap(int number, siginfo_t *info, void *context)
{
  ucontext_t *uc = context;
  (void)number;
  (void)info;
  if (stop_count < 64) stops[stop_count++] = uc->uc_mcontext.gregs[REG_RIP] - (long)traced;
}

/* The trap flag over string instructions, a load of SS, a system call, and POPF that ends it. */
static void own_trap_flag(void)
{
  struct sigaction action = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
  sigaction(SIGTRAP, &action, NULL);
  long pid = 39;
  __asm__ volatile(
    "  sub $128, %%rsp\n"
    "  pushfq\n  orq $0x100, (%%rsp)\n  popfq\n"
    "traced:\n"
    "  nop\n"
    "  mov $3, %%ecx\n  rep stosb\n"
    "  xor %%ecx, %%ecx\n  rep stosb\n"
    "  mov %%ss, %%ecx\n  mov %%ecx, %%ss\n  nop\n  nop\n"
    "  cmp $0, %%ecx\n  jz 1f\n1:\n"
    "  mov $39, %%eax\n  syscall\n"
    "  nop\n"
    "  pushfq\n  andq $~0x100, (%%rsp)\n  popfq\n"
    "  nop\n"
    "  add $128, %%rsp\n"
    : "+a"(pid) : "D"(buffer) : "rcx", "r11", "rdx", "memory", "cc");
  printf("trap flag:");
  for (int i = 0; i < stop_count; i++) printf(" %ld", stops[i]);
  printf("\n");
}

/* What the traced child does: system call 39 is getpid. */
static void child(void)
{
  ptrace(PTRACE_TRACEME, 0, NULL, NULL);
  raise(SIGSTOP);
  __asm__ volatile(
    "watched:\n"
    "  movb $1, 8(%0)\n"
    "  movb 8(%0), %%al\n"
    "  movl $2, 16(%0)\n"
    "  mov $4, %%ecx\n  lea 24(%0), %%rdi\n  rep stosb\n"
    "  mov $39, %%eax\n  syscall\n"
    "  nop\n"
    : : "r"(buffer) : "rax", "rcx", "rdi", "r11", "memory");
  _exit(0);
}

static void set_debug(pid_t pid, int number, uint64_t value)
{
  long offset = offsetof(struct user, u_debugreg) + number * sizeof(uint64_t);
  if (ptrace(PTRACE_POKEUSER, pid, offset, value) != 0) printf("debug register %d: %s\n", number, strerror(errno));
}

/* Runs the child on by `request` until it ends or has stopped `most` times; tells where and what DR6 says. */
static void follow(const char *name, pid_t pid, int request, int most)
{
  printf("%s:", name);
  for (int i = 0; i < most; i++) {
    int status;
    ptrace(request, pid, NULL, NULL);
    waitpid(pid, &status, 0);
    if (!WIFSTOPPED(status)) {
      printf(" ended");
      break;
    }
    struct user_regs_struct regs;
    ptrace(PTRACE_GETREGS, pid, NULL, &regs);
    long dr6 = ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, u_debugreg) + 6 * sizeof(uint64_t), NULL);
    long offset = regs.rip - (long)watched;
    printf(" %ld/%lx/%d", offset >= 0 && offset < 64 ? offset : -1, dr6 & 0xf, WSTOPSIG(status));
  }
  printf("\n");
}

static pid_t start(void)
{
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) child();
  int status;
  waitpid(pid, &status, 0);
  return pid;
}

static void finish(pid_t pid)
{
  int status;
  kill(pid, SIGKILL);
  waitpid(pid, &status, 0);
}

static void breakpoints(void)
{
  pid_t pid = start();
  /* A write of one byte, a read or write of four, and the instruction behind the second. */
  set_debug(pid, 0, (uint64_t)(buffer + 8));
  set_debug(pid, 1, (uint64_t)(buffer + 24));
  set_debug(pid, 2, (uint64_t)watched + 7);
  set_debug(pid, 7, 0x15 | 1 << 16 | 3 << 20 | 3 << 22);
  follow("breakpoints", pid, PTRACE_CONT, 10);
  finish(pid);
}

static void steps(void)
{
  pid_t pid = start();
  set_debug(pid, 2, (uint64_t)watched);
  set_debug(pid, 7, 0x10);
  follow("to the place", pid, PTRACE_CONT, 1);
  follow("steps", pid, PTRACE_SINGLESTEP, 13);
  finish(pid);
}

static void on_bus_error(int number, siginfo_t *info, void *context)
{
  ucontext_t *uc = context;
  /* The C library is not written for checks. */
  __asm__ volatile("pushfq\n andl $~0x40000, (%%rsp)\n popfq\n" : : : "memory", "cc");
  printf("alignment: signal %d, code %d, trap %lld\n", number, info->si_code, (long long)uc->uc_mcontext.gregs[REG_TRAPNO]);
  fflush(stdout);
  uc->uc_mcontext.gregs[REG_EFL] &= ~0x40000L;
}

static void alignment(void)
{
  struct sigaction action = { .sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO };
  sigaction(SIGBUS, &action, NULL);
  uint32_t value;
  __asm__ volatile(
    "  sub $128, %%rsp\n"
    "  pushfq\n  orl $0x40000, (%%rsp)\n  popfq\n"
    "  movl 4(%1), %0\n"
    "  movl 5(%1), %0\n"
    "  add $128, %%rsp\n"
    : "=&r"(value) : "r"(buffer) : "memory", "cc");
}

int main(void)
{
  own_trap_flag();
  breakpoints();
  steps();
  alignment();
  return 0;
}
