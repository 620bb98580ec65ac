/**
 * Numbers of the saved-domain stream, layer by layer:
 *
 *   xl header and JSON configuration | libxl container, version 2 | libxc image, version 3, inside LIBXC_CONTEXT
 *
 * What is written of x86 guests, PV and PVH; what is read is checked against the same tables.
 * Reference: xen/docs/specs/libxl-migration-stream.pandoc, libxc-migration-stream.pandoc; tools/xl/xl.h (struct
 * save_file_header).
 */

/** First 32 bytes of a file that `xl save` writes. */
export const XL_MAGIC = 'Xen saved domain, xl format\n \0 \r'
/** Bytes of the xl header before its optional data. */
export const XL_HEADER_SIZE = 48
/** Written in host order, so that a reader sees whether the orders agree. */
export const XL_BYTE_ORDER = 0x01020304
/** Flags that a reader must understand. */
export const XL_MANDATORY = { CONFIG_IS_JSON: 1, STREAM_V2: 2 } as const
/** Longest configuration we accept: libxl writes a few kilobytes. */
export const MAX_CONFIG_SIZE = 1 << 20

/** "LibxlFmt". */
export const LIBXL_IDENT = 0x4c6962786c466d74n
/** The only version of the container. */
export const LIBXL_VERSION = 2
/** Options of the container's header. */
export const LIBXL_OPTION = { BIG_ENDIAN: 1, LEGACY: 2 } as const
/** Records of the container. */
export const LIBXL_RECORD = {
  END: 0, LIBXC_CONTEXT: 1, EMULATOR_XENSTORE_DATA: 2, EMULATOR_CONTEXT: 3, CHECKPOINT_END: 4, CHECKPOINT_STATE: 5,
} as const

/** All ones: no older image begins so. */
export const IMAGE_MARKER = 0xffff_ffff_ffff_ffffn
/** "XENF". */
export const IMAGE_IDENT = 0x58454e46
/** Version we write. */
export const IMAGE_VERSION = 3
/** Domain types in the image's domain header: that of a PV guest, or of one with a machine of its own. */
export const IMAGE_DOMAIN = { pv: 1, hvm: 2 } as const
/** Whose image it is. */
export type ImageKind = keyof typeof IMAGE_DOMAIN

/** Records of the image. Missing numbers are reserved. */
export const IMAGE_RECORD = {
  END: 0x00, PAGE_DATA: 0x01, X86_PV_INFO: 0x02, X86_PV_P2M_FRAMES: 0x03, X86_PV_VCPU_BASIC: 0x04,
  X86_PV_VCPU_EXTENDED: 0x05, X86_PV_VCPU_XSAVE: 0x06, SHARED_INFO: 0x07, X86_TSC_INFO: 0x08, HVM_CONTEXT: 0x09,
  HVM_PARAMS: 0x0a, TOOLSTACK: 0x0b, X86_PV_VCPU_MSRS: 0x0c, VERIFY: 0x0d, CHECKPOINT: 0x0e,
  CHECKPOINT_DIRTY_PFN_LIST: 0x0f, STATIC_DATA_END: 0x10, X86_CPUID_POLICY: 0x11, X86_MSR_POLICY: 0x12,
} as const

/** A record with this bit may be skipped by a reader that does not know it. */
export const RECORD_OPTIONAL = 0x8000_0000
/**
 * Longest body of a record that is taken: 16 MiB. The format allows 128 MiB; libxc's longest is one of 1,024 pages, which
 * take 4 MiB. Stops a hostile length from claiming memory before anybody knows who sends.
 */
export const MAX_RECORD_SIZE = 16 << 20
/** Pages that libxc puts into one PAGE_DATA record. */
export const MAX_BATCH_PAGES = 1024

/** Page types in PAGE_DATA, already shifted out of bits 63..60. */
export const PAGE_TYPE = {
  NORMAL: 0x0, L1: 0x1, L2: 0x2, L3: 0x3, L4: 0x4, PINNED_L1: 0x9, PINNED_L2: 0xa, PINNED_L3: 0xb, PINNED_L4: 0xc,
  BROKEN: 0xd, ALLOCATE_ONLY: 0xe, INVALID: 0xf,
} as const
/** Page type that is a page table; its level is `type & 7`. */
export const PAGE_TYPE_PINNED = 0x8

/** Types 5 to 8 are reserved. */
export const isPageType = (type: number): boolean => type >= 0 && type <= 0xf && (type < 5 || type > 8)
/** BROKEN, ALLOCATE_ONLY and INVALID pages carry no contents. */
export const hasContents = (type: number): boolean => type < PAGE_TYPE.BROKEN
