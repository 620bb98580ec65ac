/*
 * A block front-end of one request at a time: reads and writes a sector that holds a text.
 * Requests lie as the compiler lays them for the kind of guest; the node `protocol` says which that is.
 * Reference: public/io/blkif.h, protocols.h.
 */
#include "contract.h"

#define SECTOR_SIZE 512
#ifdef __x86_64__
#define PROTOCOL "x86_64-abi"
#define SLOTS 32
#else
#define PROTOCOL "x86_32-abi"
#define SLOTS 32
#endif
enum { BLKIF_OP_READ = 0, BLKIF_OP_WRITE = 1 };

struct segment {
    u32 ref;
    u8 first, last;
};
struct request {
    u8 operation, segments;
    u16 handle;
    u64 id, sector;
    struct segment segment[11];
};
struct response {
    u64 id;
    u8 operation;
    short status;
};

struct ring {
    struct indexes at;
    union {
        struct request request;
        struct response response;
    } slot[SLOTS];
};

static char ring_page[PAGE_SIZE] PAGE, data_page[PAGE_SIZE] PAGE;
static struct ring *const ring = (struct ring *)ring_page;
static struct device device;
static u32 sent;
static int connected;

void disk_forget(void)
{
    connected = 0;
}

int disk_open(void)
{
    if (connected)
        return 0;
    sent = 0;
    ring->at.req_prod = ring->at.rsp_prod = 0;
    ring->at.req_event = ring->at.rsp_event = 1;
    if (device_find(&device, "vbd") || device_await(&device, "2"))
        return -1;
    if (grant_page(REF_DISK_RING, device.back_domain, ring_page) || grant_page(REF_DISK_DATA, device.back_domain, data_page))
        return -1;
    device_write_number(&device, "ring-ref", REF_DISK_RING);
    device_write_number(&device, "event-channel", device.port);
    device_write(&device, "protocol", PROTOCOL);
    device_write(&device, "state", "3");
    if (device_await(&device, "4"))
        return -1;
    device_write(&device, "state", "4");
    connected = 1;
    return 0;
}

static int transfer(u8 operation, u64 sector)
{
    struct request *request = &ring->slot[sent % SLOTS].request;
    request->operation = operation;
    request->segments = 1;
    request->handle = 0;
    request->id = sent;
    request->sector = sector;
    request->segment[0] = (struct segment){ REF_DISK_DATA, 0, 0 };
    ring->at.rsp_event = sent + 1;
    ring_push(&ring->at, ++sent, device.port);
    while (ring->at.rsp_prod != sent)
        wait_for_port(device.port);
    barrier();
    return ring->slot[(sent - 1) % SLOTS].response.status;
}

/* Writes a sector; the back-end's status. */
int disk_put(u64 sector, const void *bytes)
{
    copy(data_page, bytes, SECTOR_SIZE);
    return transfer(BLKIF_OP_WRITE, sector);
}

void run_disk(char *rest)
{
    char *what = word_of(&rest);
    u64 sector = number_of(word_of(&rest));
    if (disk_open()) {
        print("disk: none\n");
        return;
    }
    if (same(what, "write")) {
        format(data_page, SECTOR_SIZE, "%s", rest);
        print("disk: wrote, status %d\n", transfer(BLKIF_OP_WRITE, sector));
    } else {
        data_page[0] = 0;
        int status = transfer(BLKIF_OP_READ, sector);
        data_page[SECTOR_SIZE - 1] = 0;
        print("disk: status %d: %s\n", status, data_page);
    }
}
