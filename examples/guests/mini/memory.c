/*
 * Memory: every page is mapped at VIRTUAL_BASE + its number. Xen maps the first megabytes; the tables for the rest are
 * made here, of pages that Xen has mapped but nobody uses. The balloon takes pages from the top.
 *
 * | kernel, module, p2m, start_info, rings, page tables, boot stack | new page tables -> ... | ... <- balloon |
 * 0                                                                 first_free                                pages
 */
#include "mini.h"

#define BATCH 256
#define LISTS 4 /* pages of frame numbers of the p2m, of 1 GiB of memory each */
#define ENTRIES 512
#define MAP_LIMIT 0x40000ul /* pages that one level-2 table reaches: 1 GiB */

u64 *p2m;
static u64 pages, first_free, present;
static u64 *root;
static u64 tables_first, tables_count;
static u64 made_first, made_count;
static u64 lists_of_lists[ENTRIES] __attribute__((aligned(4096), section(".bss.pages")));
static u64 lists[LISTS][ENTRIES] __attribute__((aligned(4096), section(".bss.pages")));
static int linear;

static u64 number_of_page(const void *address)
{
    return (ADDRESS(address) - ADDRESS(_text)) / PAGE_SIZE;
}

static void *page_at(u64 number)
{
    return _text + number * PAGE_SIZE;
}

/* The machine frame of an address of ours. */
u64 frame_of(const void *address)
{
    return p2m[number_of_page(address)];
}

/* Where the page with that machine frame is mapped; 0 if it is not among the pages from `first`. */
static void *find_frame(u64 mfn, u64 first, u64 count)
{
    for (u64 i = first; i < first + count; i++)
        if (p2m[i] == mfn)
            return page_at(i);
    return 0;
}

void *address_of_frame(u64 mfn)
{
    return find_frame(mfn, 0, pages);
}

/* The number of the page with that machine frame. */
u64 page_of_frame(u64 mfn)
{
    return number_of_page(address_of_frame(mfn));
}

int map_page(void *address, u64 mfn, u64 flags)
{
    return (int)hypercall(CALL_UPDATE_VA_MAPPING, ADDRESS(address), mfn * PAGE_SIZE | flags, UVMF_INVLPG, 0);
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
    for (int at = 4; at > level && table; at--) {
        u64 entry = *entry_of(table, at, address);
        if (!(entry & PTE_PRESENT))
            return 0;
        u64 mfn = (entry & PTE_FRAME) / PAGE_SIZE;
        u64 *next = find_frame(mfn, tables_first, tables_count);
        table = next ? next : find_frame(mfn, made_first, made_count);
    }
    return table;
}

static int is_mapped(const void *address)
{
    u64 *table = table_of(1, address);
    return table && *entry_of(table, 1, address) & PTE_PRESENT;
}

/* Makes the level-1 table that reaches the address: filled with the pages it is for, made read-only, hooked in. */
static int make_table(u64 first_page)
{
    void *address = page_at(first_page);
    u64 *upper = table_of(2, address);
    u64 number = first_free;
    u64 *table = page_at(number);
    if (!upper || !is_mapped(table))
        return -1;
    for (u64 i = 0; i < ENTRIES; i++) {
        u64 page = first_page + i;
        table[i] = page < pages ? p2m[page] * PAGE_SIZE | PTE_DATA : 0;
    }
    if (map_page(table, p2m[number], PTE_READ_ONLY))
        return -1;
    u64 *entry = entry_of(upper, 2, address);
    struct mmu_update update = {
        frame_of(upper) * PAGE_SIZE + ADDRESS(entry) % PAGE_SIZE, p2m[number] * PAGE_SIZE | PTE_TABLE,
    };
    if (hypercall(CALL_MMU_UPDATE, ADDRESS(&update), 1, 0, DOMID_SELF))
        return -1;
    first_free++;
    made_count++;
    return 0;
}

/* Maps all pages, as far as one level-2 table reaches. */
static void map_all(void)
{
    u64 limit = pages < MAP_LIMIT ? pages : MAP_LIMIT;
    for (u64 page = first_free; page < limit; page++) {
        int failed = 0;
        if (!table_of(1, page_at(page))) {
            failed = page % ENTRIES || make_table(page);
            page += ENTRIES - 1;
        } else if (!is_mapped(page_at(page))) {
            failed = map_page(page_at(page), p2m[page], PTE_DATA);
        }
        if (failed) {
            print("mini: cannot map page %lu\n", page);
            return;
        }
    }
}

/* Nothing up to the page that holds this byte is free. */
static void reserve(const void *last)
{
    if (last && number_of_page(last) >= first_free)
        first_free = number_of_page(last) + 1;
}

/* From now on frames can be told from pages and the other way round. */
void memory_start(const struct start_info *info)
{
    p2m = (u64 *)info->mfn_list;
    pages = present = info->nr_pages;
    root = (u64 *)info->pt_base;
    tables_first = number_of_page(root);
    tables_count = info->nr_pt_frames;
    linear = (info->flags & SIF_VIRT_P2M_4TOOLS) != 0;
}

/*
 * Tells the toolstack where the p2m is, so that it can save this domain: as a list at a virtual address if it can
 * walk our page tables, otherwise by frame numbers: of the pages of lists, and in these of the p2m's pages.
 */
void memory_describe(void)
{
    u64 count = (pages + ENTRIES - 1) / ENTRIES;
    if (linear) {
        shared->p2m_vaddr = ADDRESS(p2m);
        shared->p2m_cr3 = frame_of(root) * PAGE_SIZE;
    } else {
        for (u64 i = 0; i < count && i < LISTS * ENTRIES; i++) {
            lists[i / ENTRIES][i % ENTRIES] = frame_of(&p2m[i * ENTRIES]);
            lists_of_lists[i / ENTRIES] = frame_of(lists[i / ENTRIES]);
        }
        shared->pfn_to_mfn_frame_list_list = frame_of(lists_of_lists);
    }
    barrier();
    if (linear || count <= LISTS * ENTRIES)
        shared->max_pfn = pages;
}

/* Maps all memory. */
void memory_map_all(const struct start_info *info)
{
    reserve((void *)(ADDRESS(_end) - 1));
    reserve(info);
    reserve((void *)boot_stack);
    reserve(page_at(tables_first + tables_count - 1));
    reserve(&p2m[pages - 1]);
    if (info->mod_len && !(info->flags & SIF_MOD_START_PFN))
        reserve((void *)(info->mod_start + info->mod_len - 1));
    if (!(info->flags & SIF_INITDOMAIN)) {
        reserve(address_of_frame(info->store_mfn));
        reserve(address_of_frame(info->console_mfn));
    }
    made_first = first_free;
    map_all();
}

u64 memory_pages(void)
{
    return present;
}

/* Changes the mappings of `count` pages from `first` to what the list of frames says, in one multicall. */
static void remap(u64 first, u64 count)
{
    static struct multicall_entry calls[BATCH];
    u64 used = 0;
    for (u64 page = first; page < first + count && page < MAP_LIMIT; page++) {
        struct multicall_entry *call = &calls[used++];
        call->op = CALL_UPDATE_VA_MAPPING;
        call->args[0] = ADDRESS(page_at(page));
        call->args[1] = p2m[page] == INVALID_MFN ? 0 : p2m[page] * PAGE_SIZE | PTE_DATA;
        call->args[2] = UVMF_INVLPG;
    }
    if (used)
        hypercall(CALL_MULTICALL, ADDRESS(calls), used, 0, 0);
}

static u64 smaller(u64 a, u64 b)
{
    return a < b ? a : b;
}

/* Gives `count` pages back, the topmost first; says how many Xen took. */
static u64 inflate(u64 count)
{
    static u64 frames[BATCH];
    for (u64 i = 0; i < count; i++) {
        frames[i] = p2m[present - 1 - i];
        p2m[present - 1 - i] = INVALID_MFN;
    }
    remap(present - count, count);
    struct memory_reservation request = { frames, count, 0, 0, DOMID_SELF };
    s64 result = hypercall(CALL_MEMORY_OP, XENMEM_DECREASE_RESERVATION, ADDRESS(&request), 0, 0);
    u64 done = result < 0 ? 0 : (u64)result;
    for (u64 i = done; i < count; i++)
        p2m[present - 1 - i] = frames[i];
    present -= done;
    if (done < count)
        remap(present - (count - done), count - done);
    return done;
}

/* Asks for pages again, from the lowest missing one. */
static u64 deflate(u64 count)
{
    static u64 frames[BATCH];
    for (u64 i = 0; i < count; i++)
        frames[i] = present + i;
    struct memory_reservation request = { frames, count, 0, 0, DOMID_SELF };
    s64 done = hypercall(CALL_MEMORY_OP, XENMEM_POPULATE_PHYSMAP, ADDRESS(&request), 0, 0);
    if (done <= 0)
        return 0;
    for (u64 i = 0; i < (u64)done; i++)
        p2m[present + i] = frames[i];
    remap(present, (u64)done);
    present += (u64)done;
    return (u64)done;
}

void memory_set_target(u64 kilobytes)
{
    u64 target = kilobytes / 4;
    if (target > pages)
        target = pages;
    if (target < first_free)
        target = first_free;
    u64 before = present;
    while (present > target && inflate(smaller(present - target, BATCH)))
        ;
    while (present < target && deflate(smaller(target - present, BATCH)))
        ;
    if (present != before)
        print("balloon: %lu KiB -> %lu KiB\n", before * 4, present * 4);
}

/* The topmost free pages, `kilobytes` of them if there are as many: the first one's number. */
static u64 first_of_topmost(u64 kilobytes)
{
    u64 end = smaller(present, MAP_LIMIT);
    return end - smaller(kilobytes / 4, end - first_free);
}

/* Writes a value into each of the topmost pages; says how many pages that were. */
u64 memory_write(u64 kilobytes, u64 value)
{
    u64 first = first_of_topmost(kilobytes), end = smaller(present, MAP_LIMIT);
    for (u64 page = first; page < end; page++)
        *(volatile u64 *)page_at(page) = value;
    return end - first;
}

/* Counts those of the topmost pages that do not hold the value. */
u64 memory_differs(u64 kilobytes, u64 value)
{
    u64 wrong = 0;
    for (u64 page = first_of_topmost(kilobytes); page < smaller(present, MAP_LIMIT); page++)
        wrong += *(volatile u64 *)page_at(page) != value;
    return wrong;
}

/* Counts the pages, and those where Xen's table of frames disagrees with ours. */
void memory_report(void)
{
    u64 wrong = 0;
    for (u64 page = 0; page < present; page++)
        wrong += MACHINE_TO_PHYSICAL[p2m[page]] != page;
    print("memory: %lu KiB of %lu KiB, kernel and tables %lu KiB, %lu frames disagree\n", present * 4, pages * 4,
          first_free * 4, wrong);
}
