/**
 * Page tables as the architecture walks them, read by nobody's code but this: two levels, three, or four.
 * Reference: Intel SDM volume 3, 4.2 to 4.5.
 */

/** What a walk follows from. */
export interface Paging {
  readonly levels: 0 | 2 | 3 | 4
  readonly root: number
  readonly largePages: boolean
  readonly noExecute: boolean
  readonly protectsWrites: boolean
}

/** Where an address leads. */
export interface PageLeaf {
  readonly physical: number
  readonly writable: boolean
  readonly executable: boolean
  readonly dirty: boolean
}

/** By the registers of a processor. */
export function paging({ cr0, cr3, cr4, efer }: { readonly cr0: number; readonly cr3: number; readonly cr4: number; readonly efer: number }): Paging {
  const isOn = cr0 >>> 31 === 1
  const [isLong, isWide] = [(efer & 0x400) !== 0, (cr4 & 0x20) !== 0]
  const levels = !isOn ? 0 : isLong ? 4 : isWide ? 3 : 2
  return {
    levels, root: (cr3 & (levels === 3 ? ~31 : ~4095)) >>> 0, largePages: isWide || isLong || (cr4 & 0x10) !== 0, noExecute: (efer & 0x800) !== 0,
    protectsWrites: (cr0 & 0x1_0000) !== 0,
  }
}

/** The walk to a linear address; `read` gives a word of guest-physical memory. */
export function walk({ levels, root, largePages, noExecute }: Paging, address: number, read: (physical: number) => number | undefined): PageLeaf | undefined {
  const linear = levels === 4 ? BigInt.asUintN(48, BigInt(address)) : BigInt.asUintN(32, BigInt(address))
  if (levels === 0) return { physical: Number(linear), writable: true, executable: true, dirty: true }
  const [bits, size] = levels === 2 ? [10, 4] : [9, 8]
  let [table, writable, executable] = [root, true, true]
  for (let level: number = levels; ; level -= 1) {
    const shift = 12 + bits * (level - 1)
    const at = table + Number((linear >> BigInt(shift)) & BigInt(2 ** bits - 1)) * size
    const low = read(at)
    const high = size === 8 ? read(at + 4) : 0
    if (low === undefined || high === undefined || (low & 1) === 0) return undefined
    const isTop = levels === 3 && level === 3
    if (!isTop) writable &&= (low & 2) !== 0
    if (!isTop && noExecute && high >>> 31 === 1) executable = false
    const isLeaf = level === 1 || (!isTop && level < 4 && largePages && (low & 0x80) !== 0)
    const base = ((low & ~4095) >>> 0) + (high & 0x000f_ffff) * 2 ** 32
    if (isLeaf) {
      const within = 2 ** shift
      return { physical: Math.floor(base / within) * within + Number(linear % BigInt(within)), writable, executable, dirty: (low & 0x40) !== 0 }
    }
    table = base
  }
}
