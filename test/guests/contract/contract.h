/* What the contract of guests asks for beside mini's own parts: the same C for every kind of guest. */
#ifndef CONTRACT_H
#define CONTRACT_H

#include "mini.h"

/* Numbers of grants; the first is mini's own. */
enum { REF_DISK_RING = GNTTAB_RESERVED + 1, REF_DISK_DATA, REF_FOLDER, REF_FOLDER_IN, REF_FOLDER_OUT, REF_TRANSMIT, REF_SENT, REF_RECEIVE, REF_RECEIVED };
#define RECEIVE_PAGES 8

/* The part of a shared ring that both sides count in. */
struct indexes {
    volatile u32 req_prod, req_event, rsp_prod, rsp_event;
    u8 pad[48];
};

/* xenbus.c: the handshake of a front-end with its back-end. */
struct device {
    const char *type;
    char front[48], back[96];
    u16 back_domain;
    u32 port;
};
int device_find(struct device *device, const char *type);
void device_write(const struct device *device, const char *name, const char *value);
void device_write_number(const struct device *device, const char *name, word value);
int device_await(const struct device *device, const char *state);
void ring_push(struct indexes *at, u32 end, u32 port);

/* disk.c, folder.c, net.c, serve.c, cpus.c, hostile.c */
void disk_forget(void);
int disk_open(void);
int disk_put(u64 sector, const void *bytes);
void run_disk(char *rest);
void folder_forget(void);
void run_folder(char *rest);
void net_forget(void);
int net_open(void);
u8 *net_frame(void);
void net_transmit(u32 size);
void run_net(char *rest);
void net_pump(void);
void serve_request(const u8 *frame);
void serve_resume(void);
void run_serve(char *rest);
void cpus_start(const struct start_info *info);
void cpus_follow(void);
void run_cpus(char *rest);
void run_hostile(char *rest);

#endif
