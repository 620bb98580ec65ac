/*
 * A 32-bit program for Linux, without a library: system calls by INT 80, thread-local storage through GS, a child with a
 * handler for its fault, instructions that 64-bit code has no more. Says what it found, a line each.
 * Build: gcc -m32 -static -nostdlib -ffreestanding -fno-pic -no-pie -fno-stack-protector.
 */
typedef unsigned int u32;

static int call(int number, int a, int b, int c)
{
  int result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
  return result;
}

static int length(const char *text)
{
  int count = 0;
  while (text[count]) count++;
  return count;
}

static void say(const char *name, u32 value)
{
  char line[80];
  int at = 0;
  for (const char *c = name; *c; c++) line[at++] = *c;
  line[at++] = ' ';
  char digits[12];
  int count = 0;
  do digits[count++] = '0' + value % 10; while (value /= 10);
  while (count) line[at++] = digits[--count];
  line[at++] = '\n';
  call(4, 1, (int)line, at);
}

struct user_desc { u32 entry, base, limit, flags; };
static u32 storage[4] = { 11, 22, 33, 44 };

static u32 thread_local_word(void)
{
  struct user_desc d = { -1, (u32)storage, 0xfffff, 0x51 };
  if (call(243, (int)&d, 0, 0) != 0) return 0;
  u32 value;
  __asm__ volatile("mov %1, %%gs\n mov %%gs:8, %0" : "=r"(value) : "r"(d.entry * 8 + 3));
  return value;
}

/* The signal's number lies on the stack, as functions of this kind get their arguments. */
static void on_fault(int number)
{
  call(1, number + 1, 0, 0);
}

struct old_action { void (*handler)(int); u32 mask, flags; void (*restorer)(void); };

/* Exit code of a child that reads where nothing is: what its handler ends with. */
static u32 faulting_child(void)
{
  struct old_action action = { on_fault, 0, 0, 0 };
  u32 child = call(2, 0, 0, 0), status = 0;
  if (child == 0) {
    call(67, 11, (int)&action, 0);
    __asm__ volatile("mov 16, %%eax" : : : "eax");
    call(1, 0, 0, 0);
  }
  call(7, child, (int)&status, 0);
  return status >> 8;
}

static u32 fib(u32 n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

static u32 decimal(void)
{
  u32 value = 0x19;
  __asm__("add $0x28, %%al\n daa" : "+a"(value));
  return value;
}

static u32 floats(void)
{
  double x = 2;
  for (int i = 0; i < 20; i++) x = x * 1.5;
  return (u32)x;
}

/*
 * Whether the kernel's own entry for 32-bit programs tells the same process number as INT 80: it is SYSCALL on AMD's
 * processors, SYSENTER on Intel's. Its address is in the auxiliary vector, behind arguments and environment.
 */
static u32 same_by_own_entry(u32 *stack)
{
  enum { AT_SYSINFO = 32, GETPID = 20 };
  u32 *at = stack + 1 + stack[0] + 1, process;
  while (*at++) {}
  for (; at[0]; at += 2) {
    if (at[0] != AT_SYSINFO) continue;
    __asm__ volatile("call *%2" : "=a"(process) : "a"(GETPID), "r"(at[1]) : "memory", "ecx", "edx");
    return process == (u32)call(GETPID, 0, 0, 0);
  }
  return 2;
}

/* What a program begins with: its arguments lie where the stack points. */
__asm__(".globl _start\n_start:\n  mov %esp, %eax\n  push %eax\n  call begin\n");

void begin(u32 *stack)
{
  unsigned short cs;
  __asm__("mov %%cs, %0" : "=r"(cs));
  say("code selector", cs);
  say("fib", fib(20));
  say("decimal", decimal());
  say("floats", floats());
  say("thread", thread_local_word());
  say("child", faulting_child());
  say("own entry", same_by_own_entry(stack));
  const char *end = "bye\n";
  call(4, 1, (int)end, length(end));
  call(1, 7, 0, 0);
}
