/* How many entries Xen's macros give the rings of block devices with so many pages, and where each entry stands; NARROW: those of 32-bit guests. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#define xen_mb() ((void)0)
#define xen_rmb() ((void)0)
#define xen_wmb() ((void)0)
#include <xen/xen.h>
#include <xen/grant_table.h>
#include <xen/io/ring.h>
#ifdef NARROW
#pragma pack(push, 4)
#define __i386__
#endif
#include <xen/io/blkif.h>

int main(void)
{
    for (int order = 0; order <= 4; order++)
        printf("%u %zu %zu\n", (unsigned)__CONST_RING_SIZE(blkif, 4096 << order), offsetof(struct blkif_sring, ring), sizeof(union blkif_sring_entry));
    return 0;
}
