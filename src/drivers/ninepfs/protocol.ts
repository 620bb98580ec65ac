/**
 * The 9P protocol as both halves need it: names in XenStore, messages of 9P2000.L, limits.
 *
 *   device/9pfs/ID           tag; version, num-rings, ring-refN, event-channel-N, state    (front-end)
 *   backend/9pfs/DOMAIN/ID   path, security_model; versions, max-rings, max-ring-page-order, state    (back-end)
 *
 * Reference: docs/misc/9pfs.pandoc; Linux, include/net/9p/9p.h, net/9p/trans_xen.c; diod, 9P2000.L protocol; QEMU, hw/9pfs.
 */
import type { FileKind, FileStat } from './file-store.ts'

/** As XenStore's paths have the device. */
export const NINEPFS_TYPE = '9pfs'

/** Versions of the transport that are spoken. */
export const TRANSPORT_VERSION = '1'
/** Rings that a front-end may have; Linux has two. */
export const MAX_RINGS = 8
/**
 * Largest order of a pair of rings: half a MiB, by which Linux's own default message of 128 KiB fits. QEMU offers 9, which costs a guest
 * two free runs of 2 MiB, and whoever takes a moment a look at them.
 */
export const MAX_FOLDER_RING_ORDER = 7

/** The dialect. */
export const DIALECT = '9P2000.L'
/** Longest message that is agreed on, and the shortest. */
export const MAX_MESSAGE = 512 << 10
export const MIN_MESSAGE = 4096
/** size[4] type[1] tag[2]. */
export const HEADER = 7
/** Bytes of a Rread or Rreaddir beside its data. */
export const DATA_HEADER = HEADER + 4
/** What Linux counts for a Twrite beside its data. */
export const IO_HEADER = 24

/** Fids that one front-end may have, and files among them that are open. */
export const FID_LIMIT = 65536
export const OPEN_FILE_LIMIT = 1024
/** Names of a walk. */
export const MAX_WALK = 16
/** Bytes of one name, and of a path: Linux's. */
export const NAME_LIMIT = 255
export const PATH_LIMIT = 4096
/** No fid. */
export const NO_FID = 0xffff_ffff

/** Types of messages; the answer to each is one more. */
export const MESSAGE = {
  LERROR: 6, STATFS: 8, LOPEN: 12, LCREATE: 14, SYMLINK: 16, MKNOD: 18, RENAME: 20, READLINK: 22, GETATTR: 24, SETATTR: 26, XATTRWALK: 30,
  XATTRCREATE: 32, READDIR: 40, FSYNC: 50, LOCK: 52, GETLOCK: 54, LINK: 70, MKDIR: 72, RENAMEAT: 74, UNLINKAT: 76, VERSION: 100, AUTH: 102,
  ATTACH: 104, FLUSH: 108, WALK: 110, READ: 116, WRITE: 118, CLUNK: 120, REMOVE: 122,
} as const

/** Flags of open(2) as the dialect has them: Linux's. */
export const OPEN_FLAG = { WRONLY: 1, RDWR: 2, ACCESS: 3, CREATE: 0o100, EXCLUSIVE: 0o200, TRUNCATE: 0o1000, APPEND: 0o2000, DIRECTORY: 0o200000 } as const
/** Flag of unlinkat(2). */
export const REMOVE_FOLDER = 0x200

/** File types in a mode. */
export const FILE_TYPE = { MASK: 0o170000, FILE: 0o100000, FOLDER: 0o040000, LINK: 0o120000 } as const

/** Fields of a Tsetattr that count. */
export const SETATTR = { MODE: 1, UID: 2, GID: 4, SIZE: 8, ATIME: 0x10, MTIME: 0x20, CTIME: 0x40, ATIME_SET: 0x80, MTIME_SET: 0x100 } as const
/** Fields of an Rgetattr that are there: all but birth, generation and data version. */
export const GETATTR_BASIC = 0x7ff

/** Answers to a Tlock, and the type of no lock. */
export const LOCK = { SUCCESS: 0, UNLOCKED: 2 } as const

const TYPES: Readonly<Record<FileKind, { readonly qid: number; readonly mode: number; readonly entry: number }>> = {
  folder: { qid: 0x80, mode: FILE_TYPE.FOLDER, entry: 4 }, link: { qid: 2, mode: FILE_TYPE.LINK, entry: 10 },
  file: { qid: 0, mode: FILE_TYPE.FILE, entry: 8 }, other: { qid: 0, mode: FILE_TYPE.FILE, entry: 0 },
}

/** What a kind is in qids, modes and entries of folders. */
export const typesOf = (kind: FileKind): (typeof TYPES)[FileKind] => TYPES[kind]

/** A qid's version: another one when the contents have changed. */
export const versionOf = ({ modified, size }: FileStat): number => (modified.nanoseconds ^ (modified.seconds << 3) ^ (size << 8)) >>> 0
