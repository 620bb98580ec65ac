/* What the parts of this kernel offer each other. */
#ifndef MINI_H
#define MINI_H

#include "xen.h"

#define ADDRESS(p) ((word)(p))
#define PAGE __attribute__((aligned(4096), section(".bss.pages")))
#define barrier() __asm__ volatile("" ::: "memory")
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))

/* start-KIND.S */
extern char _text[], _end[];
extern word boot_stack;

/* pv.c or pvh.c: pages and frames. A page is what this kernel numbers, a frame what Xen and others name it by. */
void pages_start(const struct start_info *info);
word pages_used(const struct start_info *info);
word pages_map(word first, word count);
void pages_remap(word first, word count);
void pages_describe(word count);
void *page_at(word page);
word page_of(const void *address);
word page_frame(word page);
void page_set_frame(word page, word frame);
word page_of_frame(word frame);
int frame_agrees(word page);
void page_lend(void *address);
void page_take_back(void *address);
/* Where shared_info and the grant table are to be seen. */
extern char shared_page[PAGE_SIZE], table_page[PAGE_SIZE];
/* The rest of what a kind has of its own: shared pages, how events come in, exceptions, sleep. */
int share_info(void *page, const struct start_info *info);
int share_grant_table(void *page, word frame);
void unshare(void *page);
void upcalls_start(void);
void allow_events(void);
void forbid_events(void);
void block(void);
void traps_start(void);
word fault_address(void);
int sleep_until_resumed(struct start_info *info);

/* text.c */
word length_of(const char *text);
int same(const char *a, const char *b);
int starts_with(const char *text, const char *start);
word number_of(const char *text);
char *word_of(char **rest);
void copy(void *to, const void *from, word count);
u64 divide(u64 value, u32 by, u32 *rest);
int format(char *to, word size, const char *format, ...) PRINTF_LIKE(3, 4);

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
void on_event(void);
int port_bind_timer(void);
sword port_bind(u16 domain, u32 remote);
sword port_alloc(u16 domain);
void port_close(u32 port);
void port_open(u32 port);
void port_notify(u32 port);
int port_fired(u32 port);
void wait_for_event(void);
void wait_for_port(u32 port);
word upcalls(void);
u64 system_time(void);
void set_timer(u64 deadline);

/* traps.c */
void shut_down(word reason) __attribute__((noreturn));

/* memory.c */
void memory_start(const struct start_info *info);
void memory_map_all(const struct start_info *info);
void memory_describe(void);
void *address_of_frame(word frame);
word frame_of(const void *address);
word memory_pages(void);
void memory_set_target(word kilobytes);
void memory_report(void);
word memory_write(word kilobytes, word value);
word memory_differs(word kilobytes, word value);

/* store.c */
void store_start(const struct start_info *info);
void store_resume(const struct start_info *info, int cancelled);
int store_read(const char *path, char *to, word size);
int store_write(const char *path, const char *value);
int store_list(const char *path, char *to, word size);
int store_watch(const char *path);
int store_next_watch(char *token, word size);
int store_take(const char *path, char *to, word size);

/* grants.c */
int grant_page(u32 ref, u16 domain, const void *page);
void peer_answer(u16 domain, u32 port, u32 ref);
void peer_offer(u16 domain, const char *text);
void peer_check(void);
void peer_suspend(void);
void peer_resume(int cancelled);

/* shell.c */
struct command {
    const char *name, *help;
    void (*run)(char *rest);
};
void shell_start(const struct start_info *info);
void shell_resume(void);
void shell_input(void);
void shell_timer(void);

/* suspend.c */
int suspend(struct start_info *info);

/* main.c */
void report_start(const struct start_info *info);
void kernel_main(struct start_info *info) __attribute__((noreturn));

/*
 * What a kernel that is built on these parts may add: commands, what it does once it has started and whenever it has woken
 * up, what else it watches, and what it takes the time for when events have come.
 */
extern const struct command more_commands[] __attribute__((weak));
void more_start(const struct start_info *info) __attribute__((weak));
void more_watch(const char *path) __attribute__((weak));
void more_events(void) __attribute__((weak));

#endif
