/*
 * A 32-bit PV kernel with PAE, without a library: console, XenStore, events, timer, grants. It reads lines from its console
 * and carries them out; `offer` and `peer` keep to the form of examples/guests/mini, so that either answers the other.
 * Build: gcc -m32 -static -nostdlib -ffreestanding -fno-pic -no-pie -fno-stack-protector -mgeneral-regs-only, with its text
 * at 0xc0100000.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define BASE 0xc0000000u
#define M2P ((volatile u32 *)0xf5800000u)
#define KERNEL_CS 0xe019
#define PAGE __attribute__((aligned(4096)))
#define HALF 2048
#define DOMID_SELF 0x7ff0
enum { MEMORY_OP = 12, UPDATE_VA_MAPPING = 14, SET_TIMER_OP = 15, GRANT_TABLE_OP = 20, SCHED_OP = 29, EVENT_CHANNEL_OP = 32, SET_CALLBACKS = 4 };

__asm__(".section .note.Xen,\"a\",@note\n"
  ".macro number type value\n .long 4,4,\\type\n .asciz \"Xen\"\n .long \\value\n.endm\n"
  "number 1 start\nnumber 3 0xc0000000\nnumber 4 0xc0000000\nnumber 2 hypercall_page\n"
  ".long 4,4,9\n.asciz \"Xen\"\n.asciz \"yes\"\n .long 4,8,5\n.asciz \"Xen\"\n.asciz \"xen-3.0\"\n"
  ".text\n.globl start\nstart: push %esi\n call main\n"
  "event_entry: pusha\n call upcall\n popa\n push %eax\n mov $23,%eax\n int $0x82\n");
extern void event_entry(void);

struct start_info { char magic[32]; u32 nr_pages, shared_info, flags, store_mfn, store_port, console_mfn, console_port, pt_base, nr_pt_frames, mfn_list; };
struct vcpu_info { u8 pending, mask, pad[2]; u32 selector, cr2, rest[13]; };
struct shared_info { struct vcpu_info vcpus[32]; u32 pending[32], masked[32], clock[3], max_pfn, list_of_lists; };
struct console_ring { char in[1024], out[2048]; u32 in_cons, in_prod, out_cons, out_prod; };
struct store_ring { char req[1024], rsp[1024]; u32 req_cons, req_prod, rsp_cons, rsp_prod; };

char hypercall_page[4096] PAGE;
static u32 lists[1024] PAGE, list_of_lists[1024] PAGE;
static char shared_page[4096] PAGE, table_page[4096] PAGE, offered[4096] PAGE, mapped[4096] PAGE;
static volatile struct shared_info *const shared = (void *)shared_page;
static volatile struct console_ring *console;
static volatile struct store_ring *store;
static struct start_info *info;
static volatile u32 upcalls, fired[32];

/* By the page, whose stubs make the interrupt. */
static int call(int number, u32 a, u32 b, u32 c, u32 d)
{
  int result;
  __asm__ volatile("call *%%eax" : "=a"(result), "+b"(a), "+c"(b), "+d"(c), "+S"(d) : "0"(hypercall_page + number * 32) : "memory", "edi");
  return result;
}

static void notify(u32 port) { call(EVENT_CHANNEL_OP, 4, (u32)&port, 0, 0); }
static void block(void) { call(SCHED_OP, 1, 0, 0, 0); }
/* Waits until something holds; no event comes between the look and the sleep, which allows them again. */
#define WAIT_FOR(holds) do { shared->vcpus[0].mask = 1; if (holds) { shared->vcpus[0].mask = 0; break; } block(); } while (1)
static void *page_of(u32 mfn) { return (void *)(BASE + M2P[mfn] * 4096); }
static u32 frame_of(void *address) { return ((u32 *)info->mfn_list)[((u32)address - BASE) >> 12]; }
static int map(void *address, u32 mfn) { return call(UPDATE_VA_MAPPING, (u32)address, (mfn << 12) | 0x63, mfn >> 20, 2); }

void upcall(void)
{
  shared->vcpus[0].pending = 0;
  u32 words = __atomic_exchange_n(&shared->vcpus[0].selector, 0, __ATOMIC_SEQ_CST);
  for (u32 i = 0; i < 32; i++) if (words >> i & 1) fired[i] |= __atomic_exchange_n(&shared->pending[i], 0, __ATOMIC_SEQ_CST);
  upcalls++;
}

static void put(char c)
{
  WAIT_FOR(console->out_prod - console->out_cons < 2048);
  console->out[console->out_prod & 2047] = c;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  console->out_prod++;
}
static void text(const char *from) { while (*from) put(*from++); }
static void number(u32 value) { if (value > 9) number(value / 10); put((char)('0' + value % 10)); }
static void line(const char *end) { text(end); put('\n'); notify(info->console_port); }

static void exchange(char *bytes, u32 count, int out)
{
  while (count) {
    if (out ? store->req_prod - store->req_cons == 1024 : store->rsp_prod == store->rsp_cons) notify(info->store_port);
    WAIT_FOR(out ? store->req_prod - store->req_cons < 1024 : store->rsp_prod != store->rsp_cons);
    if (out) store->req[store->req_prod++ & 1023] = *bytes++; else *bytes++ = store->rsp[store->rsp_cons++ & 1023];
    count--;
  }
}

/* One request of the store with a path and a value, which may be absent; the answer's bytes. */
static u32 ask(u32 type, const char *path, const char *value, char *answer)
{
  u32 length = 0, more = 0;
  while (path[length]) length++;
  if (value) while (value[more]) more++;
  u32 header[4] = { type, 1, 0, length + 1 + more };
  exchange((char *)header, 16, 1);
  exchange((char *)path, length + 1, 1);
  if (value) exchange((char *)value, more, 1);
  notify(info->store_port);
  exchange((char *)header, 16, 0);
  exchange(answer, header[3], 0);
  notify(info->store_port);
  answer[header[3]] = 0;
  return header[0];
}

static u32 word(char **rest)
{
  u32 value = 0;
  while (**rest == ' ') (*rest)++;
  while (**rest >= '0' && **rest <= '9') value = value * 10 + (u32)(*(*rest)++ - '0');
  while (**rest == ' ') (*rest)++;
  return value;
}

static void offer(char *rest)
{
  struct { u16 dom, pad; u32 frames; short status, pad2; u32 *list; } setup = { DOMID_SELF, 0, 1, 0, 0, 0 };
  struct { u16 dom, remote; u32 port; } alloc = { DOMID_SELF, (u16)word(&rest), 0 };
  u32 frame = 0;
  char own[16];
  setup.list = &frame;
  if (call(GRANT_TABLE_OP, 2, (u32)&setup, 1, 0) || setup.status || map(table_page, frame)) return line("no grant table");
  call(EVENT_CHANNEL_OP, 6, (u32)&alloc, 0, 0);
  u32 at = 0;
  while (rest[at]) { offered[at] = rest[at]; at++; }
  offered[at] = offered[HALF] = 0;
  volatile struct { u16 flags, domid; u32 frame; } *entry = (void *)(table_page + 8 * 8);
  entry->domid = alloc.remote;
  entry->frame = frame_of(offered);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  entry->flags = 1;
  shared->masked[alloc.port >> 5] &= ~(1u << (alloc.port & 31));
  ask(2, "domid", 0, own);
  text("offer: peer "); text(own); put(' '); number(alloc.port); text(" 8"); line("");
  WAIT_FOR(fired[alloc.port >> 5] >> (alloc.port & 31) & 1);
  text("offer: answer: "); line(offered + HALF);
}

static void peer(char *rest)
{
  struct { u64 address; u32 flags, ref; u16 dom; short status; u32 handle; u64 bus; } m = { (u32)mapped, 2, 0, 0, 0, 0, 0 };
  struct { u64 address, bus; u32 handle; short status, pad; } u = { (u32)mapped, 0, 0, 0, 0 };
  struct { u16 remote, pad; u32 remote_port, port; } bind = { 0, 0, 0, 0 };
  u32 own = frame_of(mapped);
  m.dom = bind.remote = (u16)word(&rest);
  bind.remote_port = word(&rest);
  m.ref = word(&rest);
  if (call(GRANT_TABLE_OP, 0, (u32)&m, 1, 0) || m.status) return line("peer: cannot map");
  text("peer: wrote: "); line(mapped);
  const char *answer = "pae has read it";
  for (u32 i = 0; i < 16; i++) mapped[HALF + i] = answer[i];
  if (call(EVENT_CHANNEL_OP, 0, (u32)&bind, 0, 0) == 0) notify(bind.port);
  u.handle = m.handle;
  call(GRANT_TABLE_OP, 1, (u32)&u, 1, 0);
  map(mapped, own);
  text("peer: answered, status "); number((u32)-u.status); line("");
}

static void timer(void)
{
  struct { u32 virq, vcpu, port; } bind = { 0, 0, 0 };
  call(EVENT_CHANNEL_OP, 1, (u32)&bind, 0, 0);
  shared->masked[bind.port >> 5] &= ~(1u << (bind.port & 31));
  /* A time that has been is told at once. */
  call(SET_TIMER_OP, 1, 0, 0, 0);
  WAIT_FOR(fired[bind.port >> 5] >> (bind.port & 31) & 1);
  line("timer: it came");
}

/* Where the list of frames lies, for who saves this kernel. */
static void describe(void)
{
  for (u32 i = 0; i * 1024 < info->nr_pages; i++) lists[i] = frame_of((void *)(info->mfn_list + i * 4096));
  list_of_lists[0] = frame_of(lists);
  shared->list_of_lists = frame_of(list_of_lists);
  shared->max_pfn = info->nr_pages;
}

static void listen(u32 port) { shared->masked[port >> 5] &= ~(1u << (port & 31)); }

/* Has itself saved: nothing may name a machine's frame meanwhile but page tables and the list of frames. */
static void suspend(void)
{
  char wish[64];
  u32 reason = 2, own = frame_of(shared_page);
  ask(11, "control/feature-suspend", "1", wish);
  do ask(2, "control/shutdown", 0, wish); while (wish[0] != 's');
  ask(11, "control/shutdown", "", wish);
  describe();
  shared->vcpus[0].mask = 1;
  info->store_mfn = M2P[info->store_mfn];
  info->console_mfn = M2P[info->console_mfn];
  map(shared_page, own);
  int cancelled = call(SCHED_OP, 2, (u32)&reason, frame_of(info), 0);
  if (cancelled) {
    info->store_mfn = ((u32 *)info->mfn_list)[info->store_mfn];
    info->console_mfn = ((u32 *)info->mfn_list)[info->console_mfn];
  }
  map(shared_page, info->shared_info >> 12);
  describe();
  listen(info->console_port);
  listen(info->store_port);
  shared->vcpus[0].mask = 0;
  line(cancelled ? "suspend: was cancelled" : "suspend: is back");
}

static int begins(const char *line, const char *with) { while (*with) if (*line++ != *with++) return 0; return 1; }

static void carry_out(char *input)
{
  char answer[1100];
  if (begins(input, "read ")) { ask(2, input + 5, 0, answer); text("read: "); line(answer); }
  else if (begins(input, "write ")) { ask(11, "data", input + 6, answer); text("write: "); line(answer); }
  else if (begins(input, "offer ")) offer(input + 6);
  else if (begins(input, "peer ")) peer(input + 5);
  else if (begins(input, "timer")) timer();
  else if (begins(input, "describe")) { describe(); line("describe: done"); }
  else if (begins(input, "suspend")) suspend();
  else if (begins(input, "fault")) *(volatile u32 *)0x1000 = 1;
  else if (begins(input, "off")) { u32 reason = 0; call(SCHED_OP, 2, (u32)&reason, 0, 0); }
  else line("what?");
}

void main(struct start_info *start)
{
  char input[256];
  u32 at = 0;
  info = start;
  console = page_of(start->console_mfn);
  store = page_of(start->store_mfn);
  map(shared_page, start->shared_info >> 12);
  call(SET_CALLBACKS, KERNEL_CS, (u32)event_entry, KERNEL_CS, (u32)event_entry);
  listen(start->console_port);
  listen(start->store_port);
  shared->vcpus[0].mask = 0;
  text("pae: "); text(start->magic); text(", "); number(start->nr_pages); line(" pages");
  for (;;) {
    while (console->in_cons != console->in_prod) {
      char c = console->in[console->in_cons++ & 1023];
      if (c != '\r' && c != '\n') { if (at < sizeof(input) - 1) input[at++] = c; continue; }
      input[at] = 0;
      at = 0;
      carry_out(input);
    }
    notify(info->console_port);
    WAIT_FOR(console->in_cons != console->in_prod);
  }
}
