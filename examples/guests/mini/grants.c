/*
 * One granted page and one event channel with another domain. Both sides keep to one form: the first half of the page
 * holds the offering side's text, the second half the answer, each ended by a zero; an event says "I have written".
 */
#include "mini.h"

#define HALF (PAGE_SIZE / 2)

static char mapped_page[PAGE_SIZE] PAGE, offered_page[PAGE_SIZE] PAGE;
static volatile struct grant_entry *const table = (struct grant_entry *)table_page;
static int table_ready;
static u32 offered_port;

/* Makes the first frame of our grant table seen. */
static int prepare_table(void)
{
    word frame = 0;
    struct gnttab_setup_table setup = { DOMID_SELF, 1, 0, &frame };
    if (table_ready)
        return 0;
    sword result = hypercall(CALL_GRANT_TABLE_OP, GNTTABOP_SETUP_TABLE, ADDRESS(&setup), 1, 0);
    if (result || setup.status || share_grant_table(table_page, frame)) {
        print("mini: no grant table (%ld, %d)\n", result, setup.status);
        return -1;
    }
    table_ready = 1;
    return 0;
}

/* Lets another domain use a page, under a number of ours. */
int grant_page(u32 ref, u16 domain, const void *page)
{
    if (prepare_table())
        return -1;
    table[ref].domid = domain;
    table[ref].frame = (u32)frame_of(page);
    barrier();
    table[ref].flags = GTF_PERMIT_ACCESS;
    return 0;
}

/* The table's frame is Xen's. */
void peer_suspend(void)
{
    if (table_ready)
        unshare(table_page);
    table_ready = 0;
}

/* A restored domain has a new table, and its peer does not know it. */
void peer_resume(int cancelled)
{
    if (!cancelled)
        offered_port = 0;
    if (offered_port)
        prepare_table();
}

/* Copies a text of the other side; it may change under our hands, so it is cut, not trusted to end. */
static void copy_text(char *to, const volatile char *from, word size)
{
    word i = 0;
    while (i + 1 < size && from[i]) {
        to[i] = from[i];
        i++;
    }
    to[i] = 0;
}

/* Reads what the other side has written, answers, and lets go. */
void peer_answer(u16 domain, u32 port, u32 ref)
{
    char text[128];
    struct gnttab_map_grant_ref map = { ADDRESS(mapped_page), GNTMAP_HOST_MAP, ref, domain, 0, 0, 0 };
    page_lend(mapped_page);
    sword result = hypercall(CALL_GRANT_TABLE_OP, GNTTABOP_MAP_GRANT_REF, ADDRESS(&map), 1, 0);
    if (result || map.status) {
        page_take_back(mapped_page);
        print("peer: cannot map grant %u of domain %u (%ld, %d)\n", ref, domain, result, map.status);
        return;
    }
    copy_text(text, mapped_page, sizeof(text));
    print("peer: domain %u wrote: %s\n", domain, text);
    format(mapped_page + HALF, HALF, "mini has read %lu characters", length_of(text));
    sword local = port_bind(domain, port);
    if (local < 0) {
        print("peer: cannot bind port %u of domain %u (%ld)\n", port, domain, local);
    } else {
        port_notify((u32)local);
        port_close((u32)local);
    }
    struct gnttab_unmap_grant_ref unmap = { ADDRESS(mapped_page), 0, map.handle, 0 };
    hypercall(CALL_GRANT_TABLE_OP, GNTTABOP_UNMAP_GRANT_REF, ADDRESS(&unmap), 1, 0);
    page_take_back(mapped_page);
    if (local >= 0)
        print("peer: answered, status %d\n", unmap.status);
}

/* Grants a page with a text to another domain, with a port to answer on; says how the other side calls `peer`. */
void peer_offer(u16 domain, const char *text)
{
    char own[16];
    if (offered_port)
        return;
    sword port = port_alloc(domain);
    if (port < 0) {
        print("offer: no port (%ld)\n", port);
        return;
    }
    format(offered_page, HALF, "%s", text);
    offered_page[HALF] = 0;
    if (grant_page(GNTTAB_RESERVED, domain, offered_page))
        return;
    offered_port = (u32)port;
    port_open(offered_port);
    if (store_read("domid", own, sizeof(own)) < 0)
        format(own, sizeof(own), "?");
    print("offer: peer %s %u %u\n", own, offered_port, GNTTAB_RESERVED);
}

/* The other side has answered: prints it and takes the offer back. A page still mapped there stays granted. */
void peer_check(void)
{
    char text[128];
    if (!offered_port || !port_fired(offered_port))
        return;
    copy_text(text, offered_page + HALF, sizeof(text));
    print("offer: answer: %s\n", text);
    port_close(offered_port);
    offered_port = 0;
    u16 flags = GTF_PERMIT_ACCESS;
    while (table[GNTTAB_RESERVED].flags & GTF_IN_USE)
        hypercall(CALL_SCHED_OP, SCHEDOP_YIELD, 0, 0, 0);
    __atomic_compare_exchange_n(&table[GNTTAB_RESERVED].flags, &flags, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
