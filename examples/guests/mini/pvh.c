/*
 * What a PVH guest has of its own: it owns ring 0 and its page tables (start-pvh.S maps the first 4 GiB one to one), frames are
 * the pages that it numbers itself, events come as an interrupt, and what PV guests read in start_info it asks for.
 */
#include "mini.h"

#define MEMORY_END 0x100000000ull /* of what is mapped */
#define EVENT_VECTOR 0x30
#define VECTORS 20
#define ENTRY_SIZE 16
#define GATE 0x8e00ull
#define CODE_SELECTOR 8

void event_entry(void);
extern char trap_entries[];

static struct start_info start;
static word used;

word page_of(const void *address)
{
    return ADDRESS(address) / PAGE_SIZE;
}

void *page_at(word page)
{
    return (void *)(page * PAGE_SIZE);
}

word page_frame(word page)
{
    return page;
}

void page_set_frame(word page, word frame)
{
    (void)page;
    (void)frame;
}

word page_of_frame(word frame)
{
    return frame;
}

/* Xen's table of frames is not shown to a guest of this kind. */
int frame_agrees(word page)
{
    (void)page;
    return 1;
}

void pages_start(const struct start_info *info)
{
    (void)info;
}

word pages_used(const struct start_info *info)
{
    (void)info;
    return used;
}

word pages_map(word first, word end)
{
    (void)end;
    return first;
}

void pages_remap(word first, word count)
{
    (void)first;
    (void)count;
}

void pages_describe(word count)
{
    (void)count;
}

static sword reserve(word operation, void *address)
{
    word page = page_of(address);
    struct memory_reservation request = { &page, 1, 0, 0, DOMID_SELF };
    return hypercall(CALL_MEMORY_OP, operation, ADDRESS(&request), 0, 0);
}

/* A grant is mapped where no memory is: the page's own memory is given back meanwhile. */
void page_lend(void *address)
{
    reserve(XENMEM_DECREASE_RESERVATION, address);
}

void page_take_back(void *address)
{
    reserve(XENMEM_POPULATE_PHYSMAP, address);
}

static int place(u32 space, const void *page)
{
    struct add_to_physmap request = { DOMID_SELF, 0, space, 0, page_of(page) };
    return (int)hypercall(CALL_MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, ADDRESS(&request), 0, 0);
}

int share_info(void *page, const struct start_info *info)
{
    (void)info;
    return place(XENMAPSPACE_SHARED_INFO, page);
}

int share_grant_table(void *page, word frame)
{
    (void)frame;
    return place(XENMAPSPACE_GRANT_TABLE, page);
}

/* Xen leaves out what is its own when it saves a domain. */
void unshare(void *page)
{
    (void)page;
}

static word parameter(u32 index)
{
    struct hvm_param param = { DOMID_SELF, index, 0 };
    return hypercall(CALL_HVM_OP, HVMOP_GET_PARAM, ADDRESS(&param), 0, 0) ? 0 : param.value;
}

/* A restored domain has to ask for it again. */
void upcalls_start(void)
{
    struct hvm_param param = { DOMID_SELF, HVM_PARAM_CALLBACK_IRQ, CALLBACK_BY_VECTOR | EVENT_VECTOR };
    hypercall(CALL_HVM_OP, HVMOP_SET_PARAM, ADDRESS(&param), 0, 0);
}

void forbid_events(void)
{
    __asm__ volatile("cli" ::: "memory");
}

void allow_events(void)
{
    __asm__ volatile("sti" ::: "memory");
}

/* No interrupt comes between the first two. */
void block(void)
{
    __asm__ volatile("sti\n\thlt\n\tcli" ::: "memory");
}

struct gate {
    u64 low, high;
};

static struct gate gate_to(word address)
{
    return (struct gate){ (address & 0xffff) | CODE_SELECTOR << 16 | GATE << 32 | (address >> 16 & 0xffff) << 48, address >> 32 };
}

void traps_start(void)
{
    static struct gate table[EVENT_VECTOR + 1];
    static struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) register_value;
    for (word i = 0; i < VECTORS; i++)
        table[i] = gate_to(ADDRESS(trap_entries) + i * ENTRY_SIZE);
    table[EVENT_VECTOR] = gate_to(ADDRESS(event_entry));
    register_value.limit = sizeof(table) - 1;
    register_value.base = ADDRESS(table);
    __asm__ volatile("lidt %0" : : "m"(register_value));
}

word fault_address(void)
{
    word address;
    __asm__ volatile("mov %%cr2, %0" : "=r"(address));
    return address;
}

static void ask_for_rings(struct start_info *info)
{
    info->store_mfn = parameter(HVM_PARAM_STORE_PFN);
    info->store_evtchn = (u32)parameter(HVM_PARAM_STORE_EVTCHN);
    info->console_mfn = parameter(HVM_PARAM_CONSOLE_PFN);
    info->console_evtchn = (u32)parameter(HVM_PARAM_CONSOLE_EVTCHN);
}

/* Says whether it went on at its old place. */
int sleep_until_resumed(struct start_info *info)
{
    u32 reason = SHUTDOWN_SUSPEND;
    sword result = hypercall(CALL_SCHED_OP, SCHEDOP_SHUTDOWN, ADDRESS(&reason), 0, 0);
    ask_for_rings(info);
    return result != 0;
}

static void enable_hypercalls(void)
{
    u32 pages, msr = 0x40000002;
    word page = ADDRESS(hypercall_page);
    __asm__ volatile("cpuid" : "=a"(pages), "=b"(msr) : "a"(msr) : "ecx", "edx");
    __asm__ volatile("wrmsr" : : "a"((u32)page), "d"((u32)(page >> 32)), "c"(msr) : "memory");
}

static word max(word a, word b)
{
    return a > b ? a : b;
}

/* Makes of what the loader left what the other kinds find; what lies behind the kernel is then free, but for a module. */
__attribute__((noreturn)) void pvh_main(const struct hvm_start_info *given)
{
    enable_hypercalls();
    format(start.magic, sizeof(start.magic), "hvm-3.0-x86_64");
    const struct hvm_memmap_entry *map = (const void *)given->memmap_paddr;
    for (u32 i = 0; i < given->memmap_entries; i++)
        if (map[i].type == HVM_MEMMAP_RAM && map[i].addr < MEMORY_END)
            start.nr_pages = max(start.nr_pages, (word)(map[i].addr + map[i].size) / PAGE_SIZE);
    if (given->cmdline_paddr)
        format(start.cmd_line, sizeof(start.cmd_line), "%s", (const char *)given->cmdline_paddr);
    used = page_of(_end); /* whole pages */
    if (given->nr_modules) {
        const struct hvm_module *module = (const void *)given->modlist_paddr;
        start.mod_start = module->paddr;
        start.mod_len = module->size;
        used = max(used, page_of((void *)(start.mod_start + start.mod_len - 1)) + 1);
    }
    ask_for_rings(&start);
    kernel_main(&start);
}
