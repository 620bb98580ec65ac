/* What a kind of guest has of its own in Xen's interface: how to call, and where things are. */
#ifndef MINI_KIND_H
#define MINI_KIND_H

/* Four arguments at most are used here. */
#if defined(KIND_PV64)

#define KERNEL_CS 0xe033
#define MACHINE_TO_PHYSICAL ((volatile word *)0xffff800000000000ul)
#define TABLE_LEVELS 4

/* Xen may change rcx and r11; the argument registers it may change, too. */
static inline sword hypercall(word number, word a, word b, word c, word d)
{
    sword result;
    register word r10 __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "=a"(result), "+D"(a), "+S"(b), "+d"(c), "+r"(r10)
                     : "a"(number)
                     : "rcx", "r11", "r8", "r9", "memory");
    return result;
}

#elif defined(KIND_PV32)

#define KERNEL_CS 0xe019
#define MACHINE_TO_PHYSICAL ((volatile word *)0xf5800000ul)
#define TABLE_LEVELS 3

static inline sword hypercall(word number, word a, word b, word c, word d)
{
    sword result;
    __asm__ volatile("int $0x82"
                     : "=a"(result), "+b"(a), "+c"(b), "+d"(c), "+S"(d)
                     : "0"(number)
                     : "edi", "memory");
    return result;
}

#elif defined(KIND_PVH)

enum { HVMOP_SET_PARAM = 0, HVMOP_GET_PARAM = 1 };
enum { HVM_PARAM_CALLBACK_IRQ = 0, HVM_PARAM_STORE_PFN = 1, HVM_PARAM_STORE_EVTCHN = 2, HVM_PARAM_CONSOLE_PFN = 17, HVM_PARAM_CONSOLE_EVTCHN = 18 };
#define CALLBACK_BY_VECTOR (2ul << 56)
struct hvm_param {
    u16 domid;
    u32 index;
    u64 value;
};

enum { XENMAPSPACE_SHARED_INFO = 0, XENMAPSPACE_GRANT_TABLE = 1 };
struct add_to_physmap {
    u16 domid, size;
    u32 space;
    word index, frame;
};

#define HVM_START_MAGIC 0x336ec578
#define HVM_MEMMAP_RAM 1
struct hvm_start_info {
    u32 magic, version, flags, nr_modules;
    u64 modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr;
    u32 memmap_entries, reserved;
};
struct hvm_module {
    u64 paddr, size, cmdline_paddr, reserved;
};
struct hvm_memmap_entry {
    u64 addr, size;
    u32 type, reserved;
};

/* Xen fills this page: 32 bytes a call, with the instruction that the processor at hand has for it. */
extern char hypercall_page[];

static inline sword hypercall(word number, word a, word b, word c, word d)
{
    sword result;
    register word r10 __asm__("r10") = d;
    __asm__ volatile("call *%%rax"
                     : "=a"(result), "+D"(a), "+S"(b), "+d"(c), "+r"(r10)
                     : "0"(hypercall_page + number * 32)
                     : "rcx", "r11", "r8", "r9", "memory");
    return result;
}

#else
#error "KIND_PV64, KIND_PV32 or KIND_PVH"
#endif

#endif
