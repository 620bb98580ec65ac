/**
 * Lengths of instructions with VEX or EVEX prefixes, none of which the processor offers: their opcode is always
 * followed by ModRM (but for VZEROUPPER and VZEROALL), and an immediate goes by the map and a few opcodes. So a walk
 * over code stays in step without a table of them.
 * Reference: Intel SDM volume 2, sections 2.3 and 2.7.
 */

/** Opcodes of map 0F that an immediate follows. */
const IMMEDIATE_0F = new Set([0x70, 0x71, 0x72, 0x73, 0xc2, 0xc4, 0xc5, 0xc6])
const ZERO_UPPER = 0x77

/** Bytes of ModRM, SIB and displacement at an offset; -1 when they are not all there. */
function addressBytes(bytes: Uint8Array, at: number): number {
  if (at >= bytes.length) return -1
  const modrm = bytes[at]!
  const mod = modrm >> 6
  if (mod === 3) return 1
  const hasSib = (modrm & 7) === 4
  if (hasSib && at + 1 >= bytes.length) return -1
  const base = hasSib ? bytes[at + 1]! & 7 : modrm & 7
  const displacement = mod === 1 ? 1 : mod === 2 || base === 5 ? 4 : 0
  return 1 + (hasSib ? 1 : 0) + displacement
}

/** Bytes of the VEX or EVEX prefix at an offset, and the map that it selects. */
function prefixAt(bytes: Uint8Array, at: number, codeSize: number): { bytes: number; map: number } | undefined {
  const next = bytes[at + 1] ?? 0
  // In shorter code they are LES, LDS and BOUND with a memory operand.
  if (codeSize !== 64 && next < 0xc0) return undefined
  if (bytes[at] === 0xc5) return { bytes: 2, map: 1 }
  if (bytes[at] === 0xc4) return { bytes: 3, map: next & 31 }
  return bytes[at] === 0x62 ? { bytes: 4, map: next & 7 } : undefined
}

/** Length of the instruction at an offset, 0 when it has no such prefix or is not all there. */
export function extensionLength(bytes: Uint8Array, offset: number, codeSize: 16 | 32 | 64): number {
  let at = offset
  // Segment and address prefixes may stand before.
  while ([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x67].includes(bytes[at] ?? 0)) at += 1
  const prefix = prefixAt(bytes, at, codeSize)
  if (prefix === undefined || prefix.map < 1 || prefix.map > 6 || prefix.map === 4) return 0
  at += prefix.bytes
  const opcode = bytes[at]
  if (opcode === undefined) return 0
  at += 1
  if (prefix.map === 1 && opcode === ZERO_UPPER) return at - offset
  const operand = addressBytes(bytes, at)
  if (operand < 0) return 0
  const immediate = prefix.map === 3 || (prefix.map === 1 && IMMEDIATE_0F.has(opcode)) ? 1 : 0
  at += operand + immediate
  return at <= bytes.length && at - offset <= 15 ? at - offset : 0
}
