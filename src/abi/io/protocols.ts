/**
 * Names of a guest's ring layout, in a front-end's node `protocol`.
 *
 * Reference: xen/include/public/io/protocols.h.
 */
/** Names of ring layouts. */
export const IO_PROTO_ABI = { X86_32: 'x86_32-abi', X86_64: 'x86_64-abi', ARM: 'arm-abi' } as const
