/* What the parts of this kernel offer each other. */
#ifndef MINI_H
#define MINI_H

#include "xen.h"

#define ADDRESS(p) ((u64)(p))
#define barrier() __asm__ volatile("" ::: "memory")
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))

/* start.S */
extern char _text[], _end[];
extern u64 boot_stack;
void event_entry(void);
void failsafe_entry(void);

/* text.c */
u64 length_of(const char *text);
int same(const char *a, const char *b);
int starts_with(const char *text, const char *start);
u64 number_of(const char *text);
char *word_of(char **rest);
void copy(void *to, const void *from, u64 count);
int format(char *to, u64 size, const char *format, ...) PRINTF_LIKE(3, 4);

/* console.c */
void console_start(const struct start_info *info);
void console_attach(void);
void console_resume(const struct start_info *info, int cancelled);
u32 console_port(void);
void print(const char *format, ...) PRINTF_LIKE(1, 2);
int console_read(void);
void console_hurry(void);

/* events.c */
extern struct shared_info *const shared;
void events_start(const struct start_info *info);
void events_suspend(void);
void events_resume(const struct start_info *info, int cancelled);
int port_bind_timer(void);
s64 port_bind(u16 domain, u32 remote);
s64 port_alloc(u16 domain);
void port_close(u32 port);
void port_open(u32 port);
void port_notify(u32 port);
int port_fired(u32 port);
void wait_for_event(void);
void wait_for_port(u32 port);
void allow_events(void);
void forbid_events(void);
u64 upcalls(void);
u64 system_time(void);
void set_timer(u64 deadline);

/* traps.c */
void traps_start(void);
void shut_down(u64 reason) __attribute__((noreturn));

/* memory.c */
extern u64 *p2m;
void memory_start(const struct start_info *info);
void memory_map_all(const struct start_info *info);
void memory_describe(void);
void *address_of_frame(u64 mfn);
u64 page_of_frame(u64 mfn);
int map_page(void *address, u64 mfn, u64 flags);
u64 frame_of(const void *address);
u64 memory_pages(void);
void memory_set_target(u64 kilobytes);
void memory_report(void);
u64 memory_write(u64 kilobytes, u64 value);
u64 memory_differs(u64 kilobytes, u64 value);

/* store.c */
void store_start(const struct start_info *info);
void store_resume(const struct start_info *info, int cancelled);
int store_read(const char *path, char *to, u64 size);
int store_write(const char *path, const char *value);
int store_list(const char *path, char *to, u64 size);
int store_watch(const char *path);
int store_next_watch(char *token, u64 size);
int store_take(const char *path, char *to, u64 size);

/* grants.c */
void peer_answer(u16 domain, u32 port, u32 ref);
void peer_offer(u16 domain, const char *text);
void peer_check(void);
void peer_suspend(void);
void peer_resume(int cancelled);

/* shell.c */
void shell_start(const struct start_info *info);
void shell_resume(void);
void shell_input(void);
void shell_timer(void);

/* suspend.c */
int suspend(struct start_info *info);

/* main.c */
void report_start(const struct start_info *info);

#endif
