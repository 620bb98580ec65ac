/*
 * Lets Debian's xenstored run without Xen: answers the few calls that it makes to the hypervisor's libraries as a
 * host with domains 0 to 7 would, and gives it a page and a port for domain 0. Preloaded; see xenstored-peer.ts.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xenctrl.h>
#include <xenevtchn.h>
#include <xengnttab.h>

#define LAST_DOMAIN 7

static int handle;

/* A file in memory with the given text, or an empty page. */
static int memory_file(const char *text)
{
    int fd = memfd_create("xenstored-shim", 0);

    if (fd < 0)
        return -1;
    if (!text)
        return ftruncate(fd, 4096) ? -1 : fd;
    if (write(fd, text, strlen(text)) < 0)
        return -1;
    lseek(fd, 0, SEEK_SET);
    return fd;
}

static int open_any(const char *path, int flags, mode_t mode)
{
    static int (*next)(const char *, int, ...);

    if (strstr(path, "xsd_port"))
        return memory_file("1");
    if (strstr(path, "xsd_kva"))
        return memory_file(NULL);
    if (!next)
        next = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    return next(path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list rest;
    mode_t mode = 0;

    if (flags & O_CREAT) {
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
    }
    return open_any(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list rest;
    mode_t mode = 0;

    if (flags & O_CREAT) {
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
    }
    return open_any(path, flags, mode);
}

xc_interface *xc_interface_open(xentoollog_logger *a, xentoollog_logger *b, unsigned flags)
{
    return (xc_interface *)&handle;
}

int xc_interface_close(xc_interface *xch)
{
    return 0;
}

int xc_domain_getinfo(xc_interface *xch, uint32_t first, unsigned int max, xc_dominfo_t *info)
{
    if (first > LAST_DOMAIN || max == 0)
        return 0;
    memset(info, 0, sizeof(*info));
    info->domid = first;
    info->running = 1;
    return 1;
}

xengnttab_handle *xengnttab_open(struct xentoollog_logger *logger, unsigned flags)
{
    return (xengnttab_handle *)&handle;
}

int xengnttab_close(xengnttab_handle *xgt)
{
    return 0;
}

int xengnttab_set_max_grants(xengnttab_handle *xgt, uint32_t count)
{
    return 0;
}

void *xengnttab_map_grant_ref(xengnttab_handle *xgt, uint32_t domid, uint32_t ref, int prot)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_SHARED, -1, 0);

    return page == MAP_FAILED ? NULL : page;
}

int xengnttab_unmap(xengnttab_handle *xgt, void *address, uint32_t count)
{
    return munmap(address, 4096 * count);
}

xenevtchn_handle *xenevtchn_open(struct xentoollog_logger *logger, unsigned int flags)
{
    handle = eventfd(0, EFD_NONBLOCK);
    return (xenevtchn_handle *)&handle;
}

xenevtchn_handle *xenevtchn_fdopen(struct xentoollog_logger *logger, int fd, unsigned int flags)
{
    return xenevtchn_open(logger, flags);
}

int xenevtchn_fd(xenevtchn_handle *xce)
{
    return handle;
}

int xenevtchn_notify(xenevtchn_handle *xce, evtchn_port_t port)
{
    return 0;
}

xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle *xce, uint32_t domid, evtchn_port_t port)
{
    return 10 + domid;
}

xenevtchn_port_or_error_t xenevtchn_bind_virq(xenevtchn_handle *xce, unsigned int virq)
{
    return 1;
}

int xenevtchn_unbind(xenevtchn_handle *xce, evtchn_port_t port)
{
    return 0;
}

xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle *xce)
{
    return -1;
}

int xenevtchn_unmask(xenevtchn_handle *xce, evtchn_port_t port)
{
    return 0;
}
