/*
 * What PV guests of both widths have of their own: page tables that Xen checks, the list from page to frame (p2m), handlers
 * that Xen calls, a mask for events in the shared page.
 *
 * Xen maps the first megabytes at VIRTUAL_BASE; the tables for the rest are made here, of pages that Xen has mapped but nobody
 * uses:
 * | kernel, module, p2m, start_info, rings, page tables, boot stack | new page tables -> ... |
 */
#include "mini.h"

#define ENTRIES 512
#define BATCH 256
#define FRAMES_PER_PAGE (PAGE_SIZE / sizeof(word))
#define LISTS 4 /* pages of frame numbers of the p2m, each for more memory than is mapped */

void event_entry(void);
void failsafe_entry(void);
extern char trap_entries[];

char shared_page[PAGE_SIZE] PAGE, table_page[PAGE_SIZE] PAGE;

static word *p2m;
static word pages;
static u64 *root;
static word tables_first, tables_count;
static word made_first, made_count;
static word lists_of_lists[FRAMES_PER_PAGE] PAGE;
static word lists[LISTS][FRAMES_PER_PAGE] PAGE;
static int linear;

word page_of(const void *address)
{
    return (ADDRESS(address) - ADDRESS(_text)) / PAGE_SIZE;
}

void *page_at(word page)
{
    return _text + page * PAGE_SIZE;
}

word page_frame(word page)
{
    return p2m[page];
}

void page_set_frame(word page, word frame)
{
    p2m[page] = frame;
}

static word find_frame(word mfn, word first, word count)
{
    for (word i = first; i < first + count; i++)
        if (p2m[i] == mfn)
            return i;
    return INVALID_MFN;
}

word page_of_frame(word frame)
{
    return find_frame(frame, 0, pages);
}

int frame_agrees(word page)
{
    return MACHINE_TO_PHYSICAL[p2m[page]] == page;
}

static int map_page(const void *address, word mfn, u32 flags)
{
    u64 entry = (u64)mfn * PAGE_SIZE | flags;
#ifdef __x86_64__
    return (int)hypercall(CALL_UPDATE_VA_MAPPING, ADDRESS(address), entry, UVMF_INVLPG, 0);
#else
    return (int)hypercall(CALL_UPDATE_VA_MAPPING, ADDRESS(address), (word)entry, (word)(entry >> 32), UVMF_INVLPG);
#endif
}

/* The entry of `table` (at `level`) that the address goes through. */
static u64 *entry_of(u64 *table, int level, const void *address)
{
    return &table[ADDRESS(address) >> (12 + 9 * (level - 1)) & (ENTRIES - 1)];
}

/* The level-`level` table that maps the address; 0 if there is none. */
static u64 *table_of(int level, const void *address)
{
    u64 *table = root;
    for (int at = TABLE_LEVELS; at > level; at--) {
        u64 entry = *entry_of(table, at, address);
        if (!(entry & PTE_PRESENT))
            return 0;
        word mfn = (word)((entry & PTE_FRAME) / PAGE_SIZE);
        word page = find_frame(mfn, tables_first, tables_count);
        if (page == INVALID_MFN)
            page = find_frame(mfn, made_first, made_count);
        if (page == INVALID_MFN)
            return 0;
        table = page_at(page);
    }
    return table;
}

static int is_mapped(const void *address)
{
    u64 *table = table_of(1, address);
    return table && *entry_of(table, 1, address) & PTE_PRESENT;
}

/* Makes the level-1 table that reaches the address, in page `number`: filled, made read-only, hooked in. */
static int make_table(word first_page, word number)
{
    void *address = page_at(first_page);
    u64 *upper = table_of(2, address);
    u64 *table = page_at(number);
    if (!upper || !is_mapped(table))
        return -1;
    for (word i = 0; i < ENTRIES; i++) {
        word page = first_page + i;
        table[i] = page < pages ? (u64)p2m[page] * PAGE_SIZE | PTE_DATA : 0;
    }
    if (map_page(table, p2m[number], PTE_READ_ONLY))
        return -1;
    u64 *entry = entry_of(upper, 2, address);
    struct mmu_update update = {
        (u64)page_frame(page_of(upper)) * PAGE_SIZE + ADDRESS(entry) % PAGE_SIZE, (u64)p2m[number] * PAGE_SIZE | PTE_TABLE,
    };
    if (hypercall(CALL_MMU_UPDATE, ADDRESS(&update), 1, 0, DOMID_SELF))
        return -1;
    made_count++;
    return 0;
}

/* Maps the pages from `first` to `end`, as far as one level-2 table reaches; says which is the first that tables left free. */
word pages_map(word first, word end)
{
    made_first = first;
    for (word page = first; page < end; page++) {
        int failed = 0;
        if (!table_of(1, page_at(page))) {
            failed = page % ENTRIES || make_table(page, made_first + made_count);
            page += ENTRIES - 1;
        } else if (!is_mapped(page_at(page))) {
            failed = map_page(page_at(page), p2m[page], PTE_DATA);
        }
        if (failed) {
            print("mini: cannot map page %lu\n", page);
            break;
        }
    }
    return made_first + made_count;
}

/* Changes the mappings of `count` pages from `first` to what the list of frames says, in one multicall. */
void pages_remap(word first, word count)
{
    static struct multicall_entry calls[BATCH];
    for (word i = 0; i < count; i++) {
        struct multicall_entry *call = &calls[i];
        word mfn = p2m[first + i];
        u64 entry = mfn == INVALID_MFN ? 0 : (u64)mfn * PAGE_SIZE | PTE_DATA;
        word *argument = call->args;
        call->op = CALL_UPDATE_VA_MAPPING;
        *argument++ = ADDRESS(page_at(first + i));
        *argument++ = (word)entry;
#ifndef __x86_64__
        *argument++ = (word)(entry >> 32);
#endif
        *argument = UVMF_INVLPG;
    }
    if (count)
        hypercall(CALL_MULTICALL, ADDRESS(calls), count, 0, 0);
}

void pages_start(const struct start_info *info)
{
    p2m = (word *)info->mfn_list;
    pages = info->nr_pages;
    root = (u64 *)info->pt_base;
    tables_first = page_of(root);
    tables_count = info->nr_pt_frames;
    linear = (info->flags & SIF_VIRT_P2M_4TOOLS) != 0;
}

/*
 * Tells the toolstack where the p2m is, so that it can save this domain: as a list at a virtual address if it can
 * walk our page tables, otherwise by frame numbers: of the pages of lists, and in these of the p2m's pages.
 */
void pages_describe(word all)
{
    word count = (all + FRAMES_PER_PAGE - 1) / FRAMES_PER_PAGE;
    if (linear) {
        shared->p2m_vaddr = ADDRESS(p2m);
        shared->p2m_cr3 = frame_of(root) * PAGE_SIZE;
    } else {
        for (word i = 0; i < count && i < LISTS * FRAMES_PER_PAGE; i++) {
            lists[i / FRAMES_PER_PAGE][i % FRAMES_PER_PAGE] = frame_of(&p2m[i * FRAMES_PER_PAGE]);
            lists_of_lists[i / FRAMES_PER_PAGE] = frame_of(lists[i / FRAMES_PER_PAGE]);
        }
        shared->pfn_to_mfn_frame_list_list = frame_of(lists_of_lists);
    }
    barrier();
    if (linear || count <= LISTS * FRAMES_PER_PAGE)
        shared->max_pfn = all;
}

static word behind(word used, const void *last)
{
    return last && page_of(last) >= used ? page_of(last) + 1 : used;
}

/* The first page that nobody uses. */
word pages_used(const struct start_info *info)
{
    word used = page_of(_end); /* whole pages */
    used = behind(used, info);
    used = behind(used, (void *)boot_stack);
    used = behind(used, page_at(tables_first + tables_count - 1));
    used = behind(used, &p2m[pages - 1]);
    if (info->mod_len && !(info->flags & SIF_MOD_START_PFN))
        used = behind(used, (void *)(info->mod_start + info->mod_len - 1));
    if (!(info->flags & SIF_INITDOMAIN)) {
        used = behind(used, address_of_frame(info->store_mfn));
        used = behind(used, address_of_frame(info->console_mfn));
    }
    return used;
}

/* A grant is mapped by the page's entry of the page table, in place of its own frame. */
void page_lend(void *address)
{
    (void)address;
}

void page_take_back(void *address)
{
    map_page(address, frame_of(address), PTE_DATA);
}

int share_info(void *page, const struct start_info *info)
{
    return map_page(page, info->shared_info / PAGE_SIZE, PTE_DATA);
}

int share_grant_table(void *page, word frame)
{
    return map_page(page, frame, PTE_DATA);
}

/* A saved page table may name own frames only. */
void unshare(void *page)
{
    map_page(page, frame_of(page), PTE_DATA);
}

static void register_callback(u16 type, u16 flags, void (*entry)(void))
{
#ifdef __x86_64__
    struct callback_register callback = { type, flags, ADDRESS(entry) };
#else
    struct callback_register callback = { type, flags, KERNEL_CS, ADDRESS(entry) };
#endif
    hypercall(CALL_CALLBACK_OP, CALLBACKOP_REGISTER, ADDRESS(&callback), 0, 0);
}

/* What is registered is saved along with the domain: once is enough. */
void upcalls_start(void)
{
    static int registered;
    if (registered)
        return;
    registered = 1;
    register_callback(CALLBACKTYPE_EVENT, 0, event_entry);
    register_callback(CALLBACKTYPE_FAILSAFE, CALLBACKF_MASK_EVENTS, failsafe_entry);
}

void forbid_events(void)
{
    shared->vcpu[0].upcall_mask = 1;
    barrier();
}

/* Lets events in; one that is already waiting comes on the way back from the next hypercall. */
void allow_events(void)
{
    shared->vcpu[0].upcall_mask = 0;
    barrier();
    if (shared->vcpu[0].upcall_pending)
        hypercall(CALL_XEN_VERSION, 0, 0, 0, 0);
}

/* Lets events in until one has come; returns at once if one is waiting. */
void block(void)
{
    hypercall(CALL_SCHED_OP, SCHEDOP_BLOCK, 0, 0, 0);
    forbid_events();
}

#define VECTORS 20
#define TRAP_MASKS_EVENTS 4
#define ENTRY_SIZE 16

/* Only a program in ring 3 needs a level above 0; the kernel itself may use every vector. */
void traps_start(void)
{
    static struct trap_info table[VECTORS + 1];
    for (int i = 0; i < VECTORS; i++) {
        table[i].vector = (u8)i;
        table[i].flags = TRAP_MASKS_EVENTS;
        table[i].cs = KERNEL_CS;
        table[i].address = ADDRESS(trap_entries) + (word)i * ENTRY_SIZE;
    }
    sword result = hypercall(CALL_SET_TRAP_TABLE, ADDRESS(table), 0, 0, 0);
    if (result)
        print("mini: set_trap_table: %ld\n", result);
}

word fault_address(void)
{
    return shared->vcpu[0].cr2;
}

void on_failsafe(void)
{
    print("mini: failsafe callback\n");
    shut_down(SHUTDOWN_CRASH);
}

/* What names frames is told by pages while the domain is saved. Says whether it went on at its old place. */
int sleep_until_resumed(struct start_info *info)
{
    u32 reason = SHUTDOWN_SUSPEND;
    info->store_mfn = page_of_frame(info->store_mfn);
    info->console_mfn = page_of_frame(info->console_mfn);
    barrier();
    sword result = hypercall(CALL_SCHED_OP, SCHEDOP_SHUTDOWN, ADDRESS(&reason), frame_of(info), 0);
    if (result == 0)
        return 0;
    info->store_mfn = p2m[info->store_mfn];
    info->console_mfn = p2m[info->console_mfn];
    return 1;
}
