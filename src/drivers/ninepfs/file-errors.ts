/** Error numbers of Linux that answers to 9P messages have: x86 Linux's values, which `errno.h` has. Reference: errno(3). */

/** Numbers by their names. */
export const FILE_ERRORS = {
  EPERM: 1, ENOENT: 2, EIO: 5, EBADF: 9, ENOMEM: 12, EACCES: 13, EBUSY: 16, EEXIST: 17, EXDEV: 18, ENOTDIR: 20, EISDIR: 21, EINVAL: 22,
  ENFILE: 23, EMFILE: 24, ETXTBSY: 26, EFBIG: 27, ENOSPC: 28, EROFS: 30, EMLINK: 31, ENAMETOOLONG: 36, ENOTEMPTY: 39, ELOOP: 40, ENODATA: 61,
  EPROTO: 71, EOVERFLOW: 75, EILSEQ: 84, EMSGSIZE: 90, EOPNOTSUPP: 95, ESTALE: 116, EDQUOT: 122,
} as const

/** A name of one. */
export type FileErrorName = keyof typeof FILE_ERRORS
