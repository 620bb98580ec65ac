/*
 * Memory: every page is mapped where it is numbered, those that Xen has not mapped by tables of our own. The balloon takes
 * pages from the top.
 *
 * | kernel, what Xen laid behind it, boot stack | new page tables -> ... | ... <- balloon |
 * 0                                              first_free                              pages
 */
#include "mini.h"

#define BATCH 256
#define MAP_LIMIT 0x40000ul /* pages that are mapped: 1 GiB */

static word pages, first_free, present;

/* What others are told to name an address of ours by. */
word frame_of(const void *address)
{
    return page_frame(page_of(address));
}

void *address_of_frame(word frame)
{
    return page_at(page_of_frame(frame));
}

/* From now on frames can be told from pages and the other way round. */
void memory_start(const struct start_info *info)
{
    pages = present = info->nr_pages;
    pages_start(info);
}

/* Tells the toolstack where our list of frames is, so that it can save this domain. */
void memory_describe(void)
{
    pages_describe(pages);
}

static word smaller(word a, word b)
{
    return a < b ? a : b;
}

/* Maps all memory. */
void memory_map_all(const struct start_info *info)
{
    first_free = pages_map(pages_used(info), smaller(pages, MAP_LIMIT));
}

word memory_pages(void)
{
    return present;
}

static void remap(word first, word count)
{
    if (first < MAP_LIMIT)
        pages_remap(first, smaller(count, MAP_LIMIT - first));
}

/* Gives `count` pages back, the topmost first; says how many Xen took. */
static word inflate(word count)
{
    static word frames[BATCH];
    for (word i = 0; i < count; i++) {
        frames[i] = page_frame(present - 1 - i);
        page_set_frame(present - 1 - i, INVALID_MFN);
    }
    remap(present - count, count);
    struct memory_reservation request = { frames, count, 0, 0, DOMID_SELF };
    sword result = hypercall(CALL_MEMORY_OP, XENMEM_DECREASE_RESERVATION, ADDRESS(&request), 0, 0);
    word done = result < 0 ? 0 : (word)result;
    for (word i = done; i < count; i++)
        page_set_frame(present - 1 - i, frames[i]);
    present -= done;
    if (done < count)
        remap(present - (count - done), count - done);
    return done;
}

/* Asks for pages again, from the lowest missing one. */
static word deflate(word count)
{
    static word frames[BATCH];
    for (word i = 0; i < count; i++)
        frames[i] = present + i;
    struct memory_reservation request = { frames, count, 0, 0, DOMID_SELF };
    sword done = hypercall(CALL_MEMORY_OP, XENMEM_POPULATE_PHYSMAP, ADDRESS(&request), 0, 0);
    if (done <= 0)
        return 0;
    for (word i = 0; i < (word)done; i++)
        page_set_frame(present + i, frames[i]);
    remap(present, (word)done);
    present += (word)done;
    return (word)done;
}

void memory_set_target(word kilobytes)
{
    word target = kilobytes / 4;
    if (target > pages)
        target = pages;
    if (target < first_free)
        target = first_free;
    word before = present;
    while (present > target && inflate(smaller(present - target, BATCH)))
        ;
    while (present < target && deflate(smaller(target - present, BATCH)))
        ;
    if (present != before)
        print("balloon: %lu KiB -> %lu KiB\n", before * 4, present * 4);
}

/* The topmost free pages, `kilobytes` of them if there are as many: the first one's number. */
static word first_of_topmost(word kilobytes)
{
    word end = smaller(present, MAP_LIMIT);
    return end - smaller(kilobytes / 4, end - first_free);
}

/* Writes a value into each of the topmost pages; says how many pages that were. */
word memory_write(word kilobytes, word value)
{
    word first = first_of_topmost(kilobytes), end = smaller(present, MAP_LIMIT);
    for (word page = first; page < end; page++)
        *(volatile word *)page_at(page) = value;
    return end - first;
}

/* Counts those of the topmost pages that do not hold the value. */
word memory_differs(word kilobytes, word value)
{
    word wrong = 0;
    for (word page = first_of_topmost(kilobytes); page < smaller(present, MAP_LIMIT); page++)
        wrong += *(volatile word *)page_at(page) != value;
    return wrong;
}

/* Counts the pages, and those where Xen's table of frames disagrees with ours. */
void memory_report(void)
{
    word wrong = 0;
    for (word page = 0; page < present; page++)
        wrong += !frame_agrees(page);
    print("memory: %lu KiB of %lu KiB, kernel and tables %lu KiB, %lu frames disagree\n", present * 4, pages * 4,
          first_free * 4, wrong);
}
