/*
 * A 9pfs front-end of one message at a time, by one pair of rings of order 1: reads and writes whole small files.
 * Reference: public/io/9pfs.h; docs/misc/9pfs.pandoc; diod, 9P2000.L protocol.
 */
#include "contract.h"

#define HALF PAGE_SIZE
#define MESSAGE 4096
#define NO_FID 0xffffffffu
enum { LERROR = 7, LOPEN = 12, LCREATE = 14, VERSION = 100, ATTACH = 104, WALK = 110, READ = 116, WRITE = 118, CLUNK = 120 };
enum { ROOT = 1, FILE = 2 };
enum { WRITES = 01101 };

struct interface {
    volatile u32 in_cons, in_prod;
    u8 pad1[56];
    volatile u32 out_cons, out_prod;
    u8 pad2[56];
    u32 order;
    u32 refs[2];
};

static char interface_page[PAGE_SIZE] PAGE, in_page[PAGE_SIZE] PAGE, out_page[PAGE_SIZE] PAGE;
static struct interface *const rings = (struct interface *)interface_page;
static struct device device;
static int connected;
static u8 message[MESSAGE];
static u32 length;

void folder_forget(void)
{
    connected = 0;
}

static void put(const void *bytes, u32 count)
{
    copy(message + length, bytes, count);
    length += count;
}

static void put8(u8 value) { put(&value, 1); }
static void put16(u16 value) { put(&value, 2); }
static void put32(u32 value) { put(&value, 4); }

static void put64(u64 value)
{
    put(&value, 8);
}

static void put_text(const char *text)
{
    put16((u16)length_of(text));
    put(text, (u32)length_of(text));
}

static void begin(u8 type)
{
    length = 0;
    put32(0);
    put8(type);
    put16(type == VERSION ? 0xffff : 1);
}

static u32 word_at(u32 place)
{
    u32 value;
    copy(&value, message + place, 4);
    return value;
}

/* Sends what was put together and takes the answer; 0, or the error number. */
static int ask(void)
{
    copy(message, &length, 4);
    for (u32 i = 0; i < length; i++)
        out_page[(rings->out_prod + i) % HALF] = (char)message[i];
    __sync_synchronize();
    rings->out_prod += length;
    __sync_synchronize();
    port_notify(device.port);
    u32 from = rings->in_cons;
    while (rings->in_prod == from)
        wait_for_port(device.port);
    barrier();
    u32 size = rings->in_prod - from;
    for (u32 i = 0; i < size && i < MESSAGE; i++)
        message[i] = (u8)in_page[(from + i) % HALF];
    __sync_synchronize();
    rings->in_cons = from + size;
    port_notify(device.port);
    return message[4] == LERROR ? (int)word_at(7) : 0;
}

static int publish(void)
{
    u8 *at = (u8 *)interface_page;
    for (u32 i = 0; i < PAGE_SIZE; i++)
        at[i] = 0;
    if (device_find(&device, "9pfs") || device_await(&device, "2"))
        return -1;
    if (grant_page(REF_FOLDER, device.back_domain, interface_page) || grant_page(REF_FOLDER_IN, device.back_domain, in_page) ||
        grant_page(REF_FOLDER_OUT, device.back_domain, out_page))
        return -1;
    rings->order = 1;
    rings->refs[0] = REF_FOLDER_IN;
    rings->refs[1] = REF_FOLDER_OUT;
    device_write(&device, "version", "1");
    device_write(&device, "num-rings", "1");
    device_write_number(&device, "ring-ref0", REF_FOLDER);
    device_write_number(&device, "event-channel-0", device.port);
    device_write(&device, "state", "3");
    if (device_await(&device, "4"))
        return -1;
    device_write(&device, "state", "4");
    return 0;
}

static int connect(void)
{
    if (connected)
        return 0;
    if (publish())
        return -1;
    begin(VERSION);
    put32(MESSAGE);
    put_text("9P2000.L");
    if (ask())
        return -1;
    begin(ATTACH);
    put32(ROOT);
    put32(NO_FID);
    put_text("root");
    put_text("");
    put32(0);
    if (ask())
        return -1;
    connected = 1;
    return 0;
}

/* FILE stands for a name in the folder, or for the folder itself. */
static int walk(const char *name)
{
    begin(WALK);
    put32(ROOT);
    put32(FILE);
    put16(*name ? 1 : 0);
    if (*name)
        put_text(name);
    return ask();
}

static void clunk(void)
{
    begin(CLUNK);
    put32(FILE);
    ask();
}

static int write_file(const char *name, const char *text)
{
    int status = walk("");
    if (status)
        return status;
    begin(LCREATE);
    put32(FILE);
    put_text(name);
    put32(WRITES);
    put32(0644);
    put32(0);
    status = ask();
    if (!status) {
        begin(WRITE);
        put32(FILE);
        put64(0);
        put32((u32)length_of(text));
        put(text, (u32)length_of(text));
        status = ask();
    }
    clunk();
    return status;
}

static int read_file(const char *name, char *to, u32 room)
{
    int status = walk(name);
    if (status)
        return status;
    begin(LOPEN);
    put32(FILE);
    put32(0);
    status = ask();
    if (!status) {
        begin(READ);
        put32(FILE);
        put64(0);
        put32(room - 1);
        status = ask();
    }
    if (!status) {
        copy(to, message + 11, word_at(7));
        to[word_at(7)] = 0;
    }
    clunk();
    return status;
}

void run_folder(char *rest)
{
    char *what = word_of(&rest), *name = word_of(&rest), text[256];
    if (connect()) {
        print("folder: none\n");
        return;
    }
    if (same(what, "write")) {
        print("folder: wrote, status %d\n", write_file(name, rest));
        return;
    }
    text[0] = 0;
    int status = read_file(name, text, sizeof(text));
    print("folder: status %d: %s\n", status, text);
}
