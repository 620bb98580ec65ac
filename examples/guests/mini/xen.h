/*
 * The part of Xen's public interface that this kernel uses: numbers, layouts, and how to call. One text for the three kinds of
 * guests, whose words have 64 bits (KIND_PV64, KIND_PVH) or 32 (KIND_PV32). Declarations of our own, so that the kernel
 * builds without Xen's headers.
 *
 * Reference: xen/include/public.
 */
#ifndef MINI_XEN_H
#define MINI_XEN_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned long word;
typedef signed long sword;

#define WORD_BITS (8 * sizeof(word))

/* Hypercalls. */
enum {
    CALL_SET_TRAP_TABLE = 0, CALL_MMU_UPDATE = 1, CALL_MEMORY_OP = 12, CALL_MULTICALL = 13,
    CALL_UPDATE_VA_MAPPING = 14, CALL_SET_TIMER_OP = 15, CALL_XEN_VERSION = 17, CALL_CONSOLE_IO = 18,
    CALL_GRANT_TABLE_OP = 20, CALL_VCPU_OP = 24, CALL_SCHED_OP = 29, CALL_CALLBACK_OP = 30, CALL_EVENT_CHANNEL_OP = 32,
    CALL_HVM_OP = 34,
};

#define DOMID_SELF 0x7ff0

/* start_info.flags */
#define SIF_INITDOMAIN 2
#define SIF_MOD_START_PFN 8
#define SIF_VIRT_P2M_4TOOLS 16

struct start_info {
    char magic[32];
    word nr_pages;
    word shared_info; /* machine address */
    u32 flags;
    word store_mfn;
    u32 store_evtchn;
    word console_mfn;
    u32 console_evtchn;
    word pt_base;
    word nr_pt_frames;
    word mfn_list;
    word mod_start;
    word mod_len;
    char cmd_line[1024];
    word first_p2m_pfn;
    word nr_p2m_frames;
};

struct vcpu_time_info {
    u32 version, pad;
    u64 tsc_timestamp;
    u64 system_time;
    u32 tsc_to_system_mul;
    signed char tsc_shift;
    u8 flags, pad1[2];
};

struct vcpu_info {
    u8 upcall_pending;
    u8 upcall_mask;
    word pending_sel;
    word cr2, pad[sizeof(word) == 8 ? 1 : 5];
    struct vcpu_time_info time;
};

struct shared_info {
    struct vcpu_info vcpu[32];
    word pending[WORD_BITS];
    word mask[WORD_BITS];
    u32 wc_version, wc_sec, wc_nsec;
#ifdef __x86_64__
    u32 wc_sec_hi;
#endif
    word max_pfn, pfn_to_mfn_frame_list_list, nmi_reason, p2m_cr3, p2m_vaddr, p2m_generation;
#ifndef __x86_64__
    u32 wc_sec_hi;
#endif
};

struct trap_info {
    u8 vector, flags;
    u16 cs;
    word address;
};

/* callback_op */
enum { CALLBACKOP_REGISTER = 0 };
enum { CALLBACKTYPE_EVENT = 0, CALLBACKTYPE_FAILSAFE = 1 };
#define CALLBACKF_MASK_EVENTS 1
struct callback_register {
    u16 type, flags;
#ifndef __x86_64__
    word cs;
#endif
    word address;
};

/* sched_op */
enum { SCHEDOP_YIELD = 0, SCHEDOP_BLOCK = 1, SCHEDOP_SHUTDOWN = 2, SCHEDOP_WATCHDOG = 6 }; /* suspending, the third argument is start_info's frame */
enum { SHUTDOWN_POWEROFF = 0, SHUTDOWN_REBOOT = 1, SHUTDOWN_SUSPEND = 2, SHUTDOWN_CRASH = 3 };

/* event_channel_op */
enum {
    EVTCHNOP_BIND_INTERDOMAIN = 0, EVTCHNOP_BIND_VIRQ = 1, EVTCHNOP_CLOSE = 3, EVTCHNOP_SEND = 4,
    EVTCHNOP_ALLOC_UNBOUND = 6, EVTCHNOP_UNMASK = 9,
};
#define VIRQ_TIMER 0
struct evtchn_alloc_unbound {
    u16 dom, remote_dom;
    u32 port;
};
struct evtchn_bind_interdomain {
    u16 remote_dom;
    u32 remote_port, local_port;
};
struct evtchn_bind_virq {
    u32 virq, vcpu, port;
};
struct evtchn_port {
    u32 port;
};

/* memory_op */
enum { XENMEM_DECREASE_RESERVATION = 1, XENMEM_POPULATE_PHYSMAP = 6, XENMEM_ADD_TO_PHYSMAP = 7 };
struct memory_reservation {
    word *extents;
    word nr_extents;
    u32 order, flags;
    u16 domid;
};

/* Page tables. */
#define PAGE_SIZE 4096ul
#define PTE_PRESENT 1ul
#define PTE_FRAME 0x000ffffffffff000ull
#define PTE_TABLE 0x67ul     /* present, writable, user, accessed, dirty: what an entry that names a table holds */
#define PTE_DATA 0x63ul      /* present, writable, accessed, dirty */
#define PTE_READ_ONLY 0x61ul
#define UVMF_INVLPG 2
#define INVALID_MFN (~0ul)
struct mmu_update {
    u64 pointer, value;
};

struct multicall_entry {
    word op, result, args[6];
};

/* grant_table_op */
enum { GNTTABOP_MAP_GRANT_REF = 0, GNTTABOP_UNMAP_GRANT_REF = 1, GNTTABOP_SETUP_TABLE = 2 };
#define GNTMAP_HOST_MAP 2
#define GTF_PERMIT_ACCESS 1
#define GTF_IN_USE 0x18 /* reading or writing */
#define GNTTAB_RESERVED 8
struct grant_entry {
    u16 flags, domid;
    u32 frame;
};
struct gnttab_setup_table {
    u16 dom;
    u32 nr_frames;
    short status;
    word *frame_list;
};
struct gnttab_map_grant_ref {
    u64 host_addr;
    u32 flags, ref;
    u16 dom;
    short status;
    u32 handle;
    u64 dev_bus_addr;
};
struct gnttab_unmap_grant_ref {
    u64 host_addr, dev_bus_addr;
    u32 handle;
    short status;
};

/* The console's page. */
struct console_page {
    char in[1024], out[2048];
    volatile u32 in_cons, in_prod, out_cons, out_prod;
};

/* XenStore's page and messages. */
struct store_page {
    char req[1024], rsp[1024];
    volatile u32 req_cons, req_prod, rsp_cons, rsp_prod;
    u32 features, connection, error;
};
enum {
    XS_DIRECTORY = 1, XS_READ = 2, XS_WATCH = 4, XS_TRANSACTION_START = 6, XS_TRANSACTION_END = 7, XS_WRITE = 11,
    XS_WATCH_EVENT = 15, XS_ERROR = 16, XS_RESET_WATCHES = 21,
};
struct store_header {
    u32 type, request, transaction, length;
};

#include "kind.h"

#endif
