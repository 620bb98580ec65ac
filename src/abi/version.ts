/**
 * What a guest can ask about the hypervisor it runs on.
 *
 * Reference: xen/include/public/version.h.
 */
import { bytes, structure, u32, ulong } from './structure.ts'

/** Operations of xen_version. */
export const XENVER = {
  version: 0, extraversion: 1, compile_info: 2, capabilities: 3, changeset: 4, platform_parameters: 5,
  get_features: 6, pagesize: 7, guest_handle: 8, commandline: 9, build_id: 10,
} as const

/** Bytes of the answer to XENVER.extraversion. */
export const XEN_EXTRAVERSION_LEN = 16

/** Bytes of the answer to XENVER.capabilities. */
export const XEN_CAPABILITIES_INFO_LEN = 1024

/** Bytes of the answer to XENVER.changeset. */
export const XEN_CHANGESET_INFO_LEN = 64

/** Bytes of the answer to XENVER.commandline. */
export const XEN_COMMANDLINE_LEN = 1024

/** Bytes of a domain's UUID. */
export const XEN_DOMAIN_HANDLE_LEN = 16

/** Who built the hypervisor, when, with what. */
export const XenCompileInfo = /* @__PURE__ */ structure({
  compiler: bytes(64), compileBy: bytes(16), compileDomain: bytes(32), compileDate: bytes(32),
})

/** First address that belongs to Xen. */
export const XenPlatformParameters = /* @__PURE__ */ structure({ virtStart: ulong })

/** One word of feature bits. */
export const XenFeatureInfo = /* @__PURE__ */ structure({ submapIdx: u32, submap: u32 })

/** Head of the answer to XENVER.build_id; the bytes follow. */
export const XenBuildId = /* @__PURE__ */ structure({ len: u32 })
