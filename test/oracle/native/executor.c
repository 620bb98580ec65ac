/*
 * Runs instruction sequences on the processor underneath, one case after another, and reports the whole state that each
 * leaves behind: registers, flags, FXSAVE image, upper halves of vectors, changed memory, and the exception that ended it.
 *
 * How: a case is entered by rewriting the context of a signal handler and returning from it, with the trap flag set, so
 * that one instruction runs and the next signal (SIGTRAP, or a fault's) brings the state back. Nothing is ever executed
 * but single instructions below 4 GiB, where nothing but the test regions is mapped, so code may be random. A seccomp filter turns system
 * calls from there into SIGSYS. Should a case kill or hang the worker process all the same, its parent notes that and
 * starts another one behind it.
 *
 * Standard input: a batch header, then cases. Standard output: results of varying length, in order.
 * See ../wire.ts for both layouts. Build: gcc -O1 -fno-stack-protector -fcf-protection=none -mfsgsbase.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE 4096UL
#define MAX_PATCHES 48
#define PATCH_BYTES 48
#define MAX_CHANGES 1100
#define MAX_TRAPS 20000
#define FX_BYTES 512
#define UPPER_BYTES 256
/* Of an XSAVE area: where its header and the upper halves of vector registers lie. */
#define XSAVE_HEADER 512
#define XSAVE_UPPER 576
#define X87_AND_SSE 3
#define AVX 4
/* Of a signal's context: the stack segment is to be taken as it stands there. */
#define UC_STRICT_SS 4

enum { GPR_COUNT = 16 };
enum { END_STEPS = 0x100, END_SYSCALL = 0x101, END_LEFT = 0x102, END_TRAPS = 0x103, END_KILLED = 0x104 };

struct region {
  uint64_t address;
  uint32_t pages, protection;
  uint8_t *live, *before, *pristine;
};

static struct region regions[] = {
  { .address = 0x10000000, .pages = 2, .protection = PROT_READ | PROT_EXEC },
  { .address = 0x18000000, .pages = 2, .protection = PROT_READ | PROT_WRITE | PROT_EXEC },
  { .address = 0x20000000, .pages = 3, .protection = PROT_READ | PROT_WRITE },
  { .address = 0x20003000, .pages = 1, .protection = PROT_READ },
};
enum { REGIONS = sizeof regions / sizeof regions[0] };

enum { DESCRIPTORS = 16 };

struct header {
  uint32_t cases, data_seed;
  /* Descriptors as the processor has them; all zeros: not there. */
  uint32_t ldt[DESCRIPTORS][2];
};

struct patch {
  uint32_t address, length;
  uint8_t bytes[PATCH_BYTES];
};

struct test_case {
  uint64_t general[GPR_COUNT];
  uint64_t rip, flags, fs_base, gs_base;
  uint32_t steps, patches;
  uint8_t fx[FX_BYTES];
  struct patch patch[MAX_PATCHES];
  /* ES, CS, SS, DS, FS, GS */
  uint16_t selector[6];
  /* Where the case goes on behind an exception; 0: it ends with it. */
  uint32_t handler;
  uint8_t upper[UPPER_BYTES];
};

struct change {
  uint32_t address, pad, low, high;
};

struct result {
  uint32_t end, error;
  uint64_t cr2, general[GPR_COUNT], rip, flags, fs_base, gs_base;
  uint16_t selector[6];
  uint16_t steps, traps;
  uint8_t fx[FX_BYTES];
  uint8_t upper[UPPER_BYTES];
  /* Exceptions that the case has gone on behind, summed up: see note_fault. */
  uint32_t changes, faults;
};

struct shared {
  volatile uint32_t next, result_bytes;
};

static const int greg_of[GPR_COUNT] = {
  REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
  REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

static struct shared *shared;
static struct header header;
static const struct test_case *cases;
static uint8_t *output;

/* State of the worker, reached only through RIP-relative addresses while the FS base belongs to a case. */
uint64_t own_fs_base, next_fs_base, next_gs_base;
/* As in a case; CS and SS are not used. */
uint16_t next_selector[6];
static uint64_t seen_fs_base, seen_gs_base;
static ucontext_t home;
static struct _libc_fpstate home_fp;
static uint32_t current, steps_done, traps_done, faults_seen;
static uint16_t running_code;
static uint64_t instruction_at;
static int started, has_avx;

static void fill_pristine(struct region *r, uint32_t seed)
{
  if (r->protection & PROT_EXEC) {
    memset(r->pristine, 0x90, r->pages * PAGE);
    return;
  }
  uint32_t state = seed ^ (uint32_t)r->address;
  uint32_t *words = (uint32_t *)r->pristine;
  for (size_t i = 0; i < r->pages * PAGE / 4; i++) {
    state = state * 1664525u + 1013904223u;
    words[i] = state ^ (state >> 15);
  }
}

static void make_region(struct region *r, uint32_t seed)
{
  size_t size = r->pages * PAGE;
  int file = memfd_create("region", 0);
  if (file < 0 || ftruncate(file, size) != 0) exit(3);
  r->live = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file, 0);
  void *at = mmap((void *)r->address, size, r->protection, MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE, file, 0);
  if (r->live == MAP_FAILED || at != (void *)r->address) exit(3);
  close(file);
  r->before = malloc(size);
  r->pristine = malloc(size);
  fill_pristine(r, seed);
  memcpy(r->live, r->pristine, size);
  memcpy(r->before, r->pristine, size);
}

static struct region *region_of(uint64_t address)
{
  for (int i = 0; i < REGIONS; i++)
    if (address - regions[i].address < regions[i].pages * PAGE) return &regions[i];
  return NULL;
}

/* Base of a code segment; those of the system are flat. */
static uint32_t base_of(uint16_t selector)
{
  const uint32_t *d = header.ldt[selector >> 3 & (DESCRIPTORS - 1)];
  return (selector & 4) == 0 ? 0 : d[0] >> 16 | (d[1] & 0xff) << 16 | (d[1] & 0xff000000);
}

static void apply_patches(const struct test_case *c)
{
  for (uint32_t i = 0; i < c->patches && i < MAX_PATCHES; i++) {
    const struct patch *p = &c->patch[i];
    struct region *r = region_of(p->address);
    if (r == NULL || p->length > PATCH_BYTES || p->address - r->address + p->length > r->pages * PAGE) continue;
    memcpy(r->live + (p->address - r->address), p->bytes, p->length);
    memcpy(r->before + (p->address - r->address), p->bytes, p->length);
  }
}

static void undo_patches(const struct test_case *c)
{
  for (uint32_t i = 0; i < c->patches && i < MAX_PATCHES; i++) {
    const struct patch *p = &c->patch[i];
    struct region *r = region_of(p->address);
    if (r == NULL || p->length > PATCH_BYTES || p->address - r->address + p->length > r->pages * PAGE) continue;
    size_t offset = p->address - r->address;
    memcpy(r->live + offset, r->pristine + offset, p->length);
    memcpy(r->before + offset, r->pristine + offset, p->length);
  }
}

/* Writes what differs from before the case behind the result and puts memory back. */
static uint32_t collect_changes(struct change *to)
{
  uint32_t count = 0;
  for (int i = 0; i < REGIONS; i++) {
    struct region *r = &regions[i];
    if ((r->protection & PROT_WRITE) == 0) continue;
    for (size_t page = 0; page < r->pages; page++) {
      uint64_t *live = (uint64_t *)(r->live + page * PAGE), *before = (uint64_t *)(r->before + page * PAGE);
      if (memcmp(live, before, PAGE) == 0) continue;
      for (size_t w = 0; w < PAGE / 8; w++) {
        if (live[w] == before[w]) continue;
        if (count < MAX_CHANGES)
          to[count++] = (struct change){ r->address + page * PAGE + w * 8, 0, live[w], live[w] >> 32 };
        live[w] = before[w];
      }
    }
  }
  return count;
}

static void emit(const ucontext_t *uc, uint32_t end, const uint16_t *selectors)
{
  struct result *out = (struct result *)(output + shared->result_bytes);
  const greg_t *g = uc->uc_mcontext.gregs;
  memset(out, 0, sizeof *out);
  out->end = end;
  if (end < 32) {
    out->error = g[REG_ERR];
    if (end == 14) out->cr2 = g[REG_CR2];
  }
  for (int i = 0; i < GPR_COUNT; i++) out->general[i] = g[greg_of[i]];
  out->rip = g[REG_RIP];
  out->flags = g[REG_EFL];
  out->fs_base = seen_fs_base;
  out->gs_base = seen_gs_base;
  memcpy(out->selector, selectors, sizeof out->selector);
  out->steps = steps_done;
  out->traps = traps_done;
  out->faults = faults_seen;
  const uint8_t *fp = (const uint8_t *)uc->uc_mcontext.fpregs;
  memcpy(out->fx, fp, 416);
  if (has_avx && (*(const uint64_t *)(fp + XSAVE_HEADER) & AVX)) memcpy(out->upper, fp + XSAVE_UPPER, UPPER_BYTES);
  out->changes = collect_changes((struct change *)(out + 1));
  undo_patches(&cases[current]);
  shared->result_bytes += sizeof *out + out->changes * sizeof(struct change);
}

/* Makes the handler's context that of the next case. The last one goes back to where the worker began. */
static void enter_next(ucontext_t *uc)
{
  uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
  current = shared->next;
  if (current == header.cases) {
    memcpy(fp, &home_fp, FX_BYTES);
    memcpy(uc->uc_mcontext.gregs, home.uc_mcontext.gregs, sizeof home.uc_mcontext.gregs);
    next_fs_base = own_fs_base;
    next_gs_base = 0;
    memset(next_selector, 0, sizeof next_selector);
    return;
  }
  const struct test_case *c = &cases[current];
  greg_t *g = uc->uc_mcontext.gregs;
  apply_patches(c);
  memcpy(g, home.uc_mcontext.gregs, sizeof home.uc_mcontext.gregs);
  for (int i = 0; i < GPR_COUNT; i++) g[greg_of[i]] = c->general[i];
  g[REG_RIP] = c->rip;
  g[REG_EFL] = c->flags | 0x100;
  g[REG_CSGSFS] = c->selector[1] | (uint64_t)c->selector[2] << 48;
  uc->uc_flags |= UC_STRICT_SS;
  memcpy(next_selector, c->selector, sizeof next_selector);
  running_code = c->selector[1];
  memcpy(fp, c->fx, 416);
  /* Header of the XSAVE area: x87, SSE and AVX are to be loaded, everything else starts fresh. */
  *(uint64_t *)(fp + XSAVE_HEADER) = has_avx ? X87_AND_SSE | AVX : X87_AND_SSE;
  if (has_avx) memcpy(fp + XSAVE_UPPER, c->upper, UPPER_BYTES);
  next_fs_base = c->fs_base;
  next_gs_base = c->gs_base;
  instruction_at = c->rip;
  steps_done = 0;
  traps_done = 0;
  faults_seen = 0;
}

/*
 * Whether the instruction in memory is a string instruction with a repeat prefix, which traps once an iteration, or a gather,
 * which may trap behind each element.
 */
static int repeats(uint64_t address)
{
  struct region *r = region_of(address);
  int repeat = 0;
  if (r == NULL) return 0;
  for (int i = 0; i < 15; i++, address++) {
    if (region_of(address) != r) return 0;
    uint8_t byte = r->live[address - r->address];
    if (byte == 0xc4 && address - r->address + 3 < r->pages * PAGE) {
      const uint8_t *vex = r->live + (address - r->address);
      return (vex[1] & 31) == 2 && (vex[3] & 0xfc) == 0x90;
    }
    if (byte == 0xf2 || byte == 0xf3) repeat = 1;
    else if ((byte & 0xf0) == 0x40 || (byte & 0xfe) == 0x66 || (byte & 0xfe) == 0x64 || (byte & 0xe7) == 0x26 || byte == 0xf0) continue;
    else return repeat && ((byte & 0xfc) == 0x6c || (byte & 0xfc) == 0xa4 || (byte >= 0xaa && byte <= 0xaf));
  }
  return 0;
}

static uint32_t advance(const ucontext_t *uc, int *ended)
{
  uint64_t rip = uc->uc_mcontext.gregs[REG_RIP];
  *ended = 0;
  traps_done++;
  /* A whole program counts repetitions, as our processor does. */
  if (cases[current].handler == 0 && rip == instruction_at && repeats(rip + base_of(running_code))) {
    if (traps_done < MAX_TRAPS) return 0;
    *ended = 1;
    return END_TRAPS;
  }
  steps_done++;
  if (steps_done >= cases[current].steps) *ended = 1;
  else if (rip >> 32 != 0) {
    /* Only there could the worker's own code lie. Below are the test regions and addresses that fault. */
    *ended = 1;
    return END_LEFT;
  }
  instruction_at = rip;
  running_code = (uint16_t)uc->uc_mcontext.gregs[REG_CSGSFS];
  return END_STEPS;
}

/* Sums up which exceptions came where, in order, for a case with a handler; false once there are too many of them. */
static int note_fault(const ucontext_t *uc)
{
  const greg_t *g = uc->uc_mcontext.gregs;
  faults_seen = (faults_seen ^ (uint32_t)g[REG_RIP] ^ (uint32_t)g[REG_TRAPNO] << 24) * 16777619u;
  return ++traps_done < MAX_TRAPS;
}

/* Lets the case go on where `next` says, in the state that it has. */
static void resume(ucontext_t *uc, const uint16_t *selectors, uint64_t next)
{
  uc->uc_mcontext.gregs[REG_RIP] = next;
  uc->uc_mcontext.gregs[REG_EFL] |= 0x100;
  instruction_at = next;
  running_code = selectors[1];
  next_fs_base = seen_fs_base;
  next_gs_base = seen_gs_base;
  memcpy(next_selector, selectors, sizeof next_selector);
}

void on_signal(int number, siginfo_t *info, ucontext_t *uc, const uint16_t *selectors)
{
  greg_t *g = uc->uc_mcontext.gregs;
  (void)info;
  if (!started) {
    started = 1;
    memcpy(&home, uc, sizeof home);
    memcpy(&home_fp, uc->uc_mcontext.fpregs, FX_BYTES);
    home.uc_mcontext.gregs[REG_RIP] += 2; /* behind UD2 */
    enter_next(uc);
    return;
  }
  uint16_t all[6];
  memcpy(all, selectors, sizeof all);
  all[1] = (uint16_t)g[REG_CSGSFS];
  all[2] = (uint16_t)(g[REG_CSGSFS] >> 48);
  uint32_t end = g[REG_TRAPNO];
  if (number == SIGSYS) end = END_SYSCALL;
  else if (number == SIGTRAP && end == 1) {
    int ended;
    uint32_t reason = advance(uc, &ended);
    if (!ended) {
      resume(uc, all, instruction_at);
      return;
    }
    end = reason;
  } else if (cases[current].handler != 0 && end < 32 && note_fault(uc)) {
    resume(uc, all, cases[current].handler);
    return;
  }
  emit(uc, end, all);
  shared->next = current + 1;
  enter_next(uc);
}

void remember_bases(uint64_t fs, uint64_t gs)
{
  seen_fs_base = fs;
  seen_gs_base = gs;
}

/*
 * Entry of every signal: notes segment state, clears the flags AC, NT and ID (which a return from the handler would keep), takes the worker's FS base back, and
 * gives the next case its bases before returning. Selectors are noted in the order ES, CS, SS, DS, FS, GS.
 */
__asm__(
  ".globl signal_entry\n"
  "signal_entry:\n"
  "  push %rbx\n  push %r12\n  sub $24, %rsp\n"
  "  mov %es, %ax\n  mov %ax, 0(%rsp)\n"
  "  mov %ds, %ax\n  mov %ax, 6(%rsp)\n"
  "  mov %fs, %ax\n  mov %ax, 8(%rsp)\n"
  "  mov %gs, %ax\n  mov %ax, 10(%rsp)\n"
  "  mov %rdi, %rbx\n  mov %rsi, %r12\n  mov %rdx, %rcx\n"
  "  pushfq\n  andl $~0x244000, (%rsp)\n  popfq\n"
  "  push %rcx\n"
  "  rdfsbase %rdi\n  rdgsbase %rsi\n"
  "  xor %eax, %eax\n  mov %ax, %ds\n  mov %ax, %es\n  mov %ax, %fs\n  mov %ax, %gs\n"
  "  mov own_fs_base(%rip), %rax\n  wrfsbase %rax\n"
  "  call remember_bases\n"
  "  pop %rdx\n"
  "  mov %rbx, %rdi\n  mov %r12, %rsi\n  mov %rsp, %rcx\n"
  "  call on_signal\n"
  "  mov next_selector(%rip), %ax\n  mov %ax, %es\n  mov 6+next_selector(%rip), %ax\n  mov %ax, %ds\n"
  "  mov 8+next_selector(%rip), %ax\n  mov %ax, %fs\n  mov 10+next_selector(%rip), %ax\n  mov %ax, %gs\n"
  "  mov next_fs_base(%rip), %rax\n  wrfsbase %rax\n"
  "  mov next_gs_base(%rip), %rax\n  wrgsbase %rax\n"
  "  add $24, %rsp\n  pop %r12\n  pop %rbx\n  ret\n");
void signal_entry(int, siginfo_t *, void *);

static void install_filter(void)
{
  struct sock_filter filter[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 2),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = { sizeof filter / sizeof filter[0], filter };
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) _exit(4);
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) _exit(4);
}

/* Loads the local descriptor table. Where the system has none, cases that need it cannot be run. */
static void load_descriptors(void)
{
  for (int i = 0; i < DESCRIPTORS; i++) {
    uint32_t low = header.ldt[i][0], high = header.ldt[i][1];
    if ((low | high) == 0) continue;
    struct user_desc d = {
      .entry_number = i, .base_addr = low >> 16 | (high & 0xff) << 16 | (high & 0xff000000),
      .limit = (low & 0xffff) | (high & 0xf0000), .seg_32bit = high >> 22 & 1, .contents = high >> 10 & 3,
      .read_exec_only = (high >> 9 & 1) ^ 1, .limit_in_pages = high >> 23 & 1, .seg_not_present = (high >> 15 & 1) ^ 1,
      .useable = high >> 20 & 1,
    };
    if (syscall(SYS_modify_ldt, 0x11, &d, sizeof d) != 0) _exit(6);
  }
}

static void work(void)
{
  static const int caught[] = { SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGBUS, SIGSYS };
  stack_t stack = { .ss_sp = malloc(1 << 18), .ss_size = 1 << 18 };
  struct sigaction action = { .sa_sigaction = signal_entry, .sa_flags = SA_SIGINFO | SA_ONSTACK };
  for (int i = 0; i < REGIONS; i++) make_region(&regions[i], header.data_seed);
  sigfillset(&action.sa_mask);
  if (sigaltstack(&stack, NULL) != 0) _exit(4);
  for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++) sigaction(caught[i], &action, NULL);
  load_descriptors();
  install_filter();
  __asm__ volatile("rdfsbase %0" : "=r"(own_fs_base));
  __asm__ volatile("ud2" ::: "memory");
  _exit(0);
}

/* Waits for the worker; one that makes no progress for two seconds is killed. */
static int supervise(pid_t worker)
{
  uint32_t seen = shared->next;
  int quiet = 0;
  for (;;) {
    int status;
    pid_t ended = waitpid(worker, &status, WNOHANG);
    if (ended == worker) return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    nanosleep(&(struct timespec){ 0, 2000000 }, NULL);
    quiet = shared->next == seen ? quiet + 1 : 0;
    seen = shared->next;
    if (quiet > 1000) kill(worker, SIGKILL);
  }
}

static void note_killed(void)
{
  struct result *out = (struct result *)(output + shared->result_bytes);
  memset(out, 0, sizeof *out);
  out->end = END_KILLED;
  shared->result_bytes += sizeof *out;
  shared->next++;
}

static void write_all(const uint8_t *from, size_t count)
{
  while (count != 0) {
    ssize_t done = write(1, from, count);
    if (done <= 0) exit(5);
    from += done;
    count -= done;
  }
}

static void *shared_memory(size_t size)
{
  void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) exit(3);
  return at;
}

int main(void)
{
  if (fread(&header, sizeof header, 1, stdin) != 1) return 2;
  struct test_case *all = shared_memory(header.cases * sizeof *all + PAGE);
  if (fread(all, sizeof *all, header.cases, stdin) != header.cases) return 2;
  cases = all;
  has_avx = __builtin_cpu_supports("avx");
  output = shared_memory(header.cases * (sizeof(struct result) + MAX_CHANGES * sizeof(struct change)) + PAGE);
  shared = shared_memory(PAGE);
  while (shared->next < header.cases) {
    pid_t worker = fork();
    if (worker < 0) return 3;
    if (worker == 0) work();
    int code = supervise(worker);
    if (code > 0) return code;
    if (code < 0) note_killed();
  }
  write_all(output, shared->result_bytes);
  return 0;
}
