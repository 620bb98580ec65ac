/* There is no C library for i386 here, and what Xen's headers want of it is in stdint.h. */
