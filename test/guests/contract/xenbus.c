/*
 * A front-end's part of the handshake that all devices share.
 * Reference: public/io/xenbus.h.
 */
#include "contract.h"

#define LOOKS 10000

static int read_below(const struct device *device, const char *name, char *to, word size)
{
    char path[128];
    format(path, sizeof(path), "%s/%s", device->front, name);
    return store_read(path, to, size);
}

/* The first device of a type, with a port to its back-end. */
int device_find(struct device *device, const char *type)
{
    char names[64], domain[16];
    format(names, sizeof(names), "device/%s", type);
    char first[64];
    if (store_list(names, first, sizeof(first)) <= 0 || !*first)
        return -1;
    format(device->front, sizeof(device->front), "device/%s/%s", type, first);
    if (read_below(device, "backend", device->back, sizeof(device->back)) < 0)
        return -1;
    if (read_below(device, "backend-id", domain, sizeof(domain)) < 0)
        return -1;
    device->type = type;
    device->back_domain = (u16)number_of(domain);
    sword port = port_alloc(device->back_domain);
    if (port < 0)
        return -1;
    device->port = (u32)port;
    port_open(device->port);
    return 0;
}

void device_write(const struct device *device, const char *name, const char *value)
{
    char path[128];
    format(path, sizeof(path), "%s/%s", device->front, name);
    store_write(path, value);
}

void device_write_number(const struct device *device, const char *name, word value)
{
    char text[24];
    format(text, sizeof(text), "%lu", value);
    device_write(device, name, text);
}

/* Waits until the back-end has come to a state; each look waits for XenStore's answer. */
int device_await(const struct device *device, const char *state)
{
    char path[128], found[16];
    format(path, sizeof(path), "%s/state", device->back);
    for (u32 look = 0; look < LOOKS; look++)
        if (store_read(path, found, sizeof(found)) > 0 && same(found, state))
            return 0;
    print("%s: the back-end does not come to state %s\n", device->type, state);
    return -1;
}

/* Shows the other side our requests up to `end`, and tells it if it wants to be told. */
void ring_push(struct indexes *at, u32 end, u32 port)
{
    u32 old = at->req_prod;
    barrier();
    at->req_prod = end;
    __sync_synchronize();
    if (end - at->req_event < end - old)
        port_notify(port);
}
