/**
 * The tables that a bare processor's registers lead to: GDT, LDT, IDT, TSS. Their memory is read and written with the
 * rights of ring 0, whoever runs.
 * Reference: Intel SDM volume 3, sections 2.4, 3.5, 7.2 and 7.7.
 */
import { ATTRIBUTE, PAGE_SHIFT, PAGE_SIZE, RFLAGS, SEGMENT, VECTOR, dplOf, isConforming } from '../../../x86/index.ts'
import { isCanonical, signedFromParts } from '../../../util/index.ts'
import type { SegmentState, TableState } from '../../interface/registers.ts'
import { fail } from '../core/faults.ts'
import type { Core, Views } from '../core/core.ts'
import type { Mode } from '../core/mode.ts'
import type { RegisterFile } from '../core/register-file.ts'
import { STATUS, State } from '../layout/state.ts'

/** Builds the hidden part out of a descriptor. */
export function unpack(selector: number, low: number, high: number): SegmentState {
  const limit = (low & 0xffff) | (high & 0xf_0000)
  return {
    selector,
    baseLow: ((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff00_0000)) >>> 0,
    baseHigh: 0,
    limit: (high & 0x80_0000) !== 0 ? ((limit << PAGE_SHIFT) | (PAGE_SIZE - 1)) >>> 0 : limit,
    attributes: (high >>> 8) & 0xf0ff,
  }
}

/** A segment register that names nothing. */
export const nullSegment = (selector: number): SegmentState =>
  ({ selector, baseLow: 0, baseHigh: 0, limit: 0, attributes: 0 })

/** Runs `body` with the rights of ring 0, as the processor's own accesses are made; breakpoints do not see them. */
export function asSupervisor<T>(core: Views<'registers' | 'mode' | 'debug'>, body: () => T): T {
  const { mode, debug } = core
  if (debug.isImplicit) return body()
  const isUser = core.registers.cpl === 3
  debug.isImplicit = true
  if (isUser) mode.updatePermissions(false)
  try {
    return body()
  } finally {
    debug.isImplicit = false
    if (isUser) mode.updatePermissions()
  }
}

/** Runs `body` with the rights of ring 3 in the middle of the processor's own accesses. */
function asUser(mode: Mode, body: () => void): void {
  mode.updatePermissions(true)
  body()
  mode.updatePermissions(false)
}

/** Writes a frame with the rights of the ring whose stack it lies on. */
export function writeAs(core: Views<'registers' | 'mode' | 'debug'>, ring: number, body: () => void): void {
  if (ring !== 3) asSupervisor(core, body)
  else if (core.debug.isImplicit) asUser(core.mode, body)
  else body()
}

/** Reads up to four whole words of a table. */
export function readWords(
  core: Views<'registers' | 'memory' | 'mode' | 'debug'>, address: number, count: number,
): readonly number[] {
  const { registers } = core
  return asSupervisor(core, () => {
    const words: number[] = []
    for (let at = 0; at < count; at += 2) {
      const host = core.memory.hostForRead(address + at * 4, Math.min(8, (count - at) * 4))
      words.push(registers.view.getUint32(host, true))
      if (at + 1 < count) words.push(registers.view.getUint32(host + 4, true))
    }
    return words
  })
}

/** What an instruction that has set rip ends with: the driver is called only when it has something to look at. */
export const afterJump = ({ code, attention }: Views<'code' | 'attention'>): number =>
  attention.isDue || code.active !== code.running ? STATUS.CHECK_JUMP : STATUS.JUMP

/** Linear address of an offset in a table. */
export const inTable = (registers: RegisterFile, base: number, offset: number): number =>
  registers.isLongMode ? base + offset : (base + offset) % 0x1_0000_0000

/** Where a selector's descriptor of `bytes` bytes lies; undefined when it is not in its table. */
export function descriptorAddress(core: Views<'registers' | 'system'>, selector: number, bytes = 8): number | undefined {
  const { system } = core
  const local = (selector & 4) !== 0
  if (local && (system.ldtr.attributes & ATTRIBUTE.PRESENT) === 0) return undefined
  const table: TableState = local ? system.ldtr : system.gdt
  const offset = selector & 0xfff8
  if (offset + bytes - 1 > table.limit) return undefined
  return inTable(core.registers, tableBase(table), offset)
}

/** Base of a table as a number. */
export const tableBase = (table: TableState): number => signedFromParts(table.baseLow, table.baseHigh)

/** Reads a descriptor of a bare processor's own tables; undefined when it lies outside. */
export function readOwnDescriptor(
  core: Views<'registers' | 'memory' | 'mode' | 'debug' | 'system'>, selector: number, words = 2,
): readonly number[] | undefined {
  const address = descriptorAddress(core, selector, words * 4)
  return address === undefined ? undefined : readWords(core, address, words)
}

/** Changes the access byte of a descriptor in memory. */
export function updateAccess(
  core: Views<'registers' | 'memory' | 'mode' | 'debug' | 'system'>, selector: number, set: number, clear = 0,
): void {
  const { memory } = core
  const address = descriptorAddress(core, selector)
  if (address === undefined) return
  asSupervisor(core, () => {
    const old = memory.readByte(address + 5)
    const value = (old & ~clear) | set
    if (value !== old) memory.writeByte(address + 5, value)
  })
}

/** Sets the accessed bit of a code or data segment that is being loaded, as a bare processor does. */
export function markAccessed(core: Core, segment: SegmentState): SegmentState {
  if (!core.bare || (segment.attributes & ATTRIBUTE.ACCESSED) !== 0) return segment
  updateAccess(core, segment.selector, ATTRIBUTE.ACCESSED)
  return { ...segment, attributes: segment.attributes | ATTRIBUTE.ACCESSED }
}

/** Reads the task-state segment. `ext` marks the fault of one that is too short as an external event's. */
export function readTask(core: Core, offset: number, words: number, ext = 0): readonly number[] {
  const { tr } = core.system
  if (offset + words * 4 - 1 > tr.limit) fail(core.faults, VECTOR.TS, (tr.selector & 0xfffc) | ext)
  return readWords(core, inTable(core.registers, tableBase(tr), offset), words)
}

/** Stack pointer for ring 0, 1 or 2 out of the 64-bit task-state segment. */
export function stackOfRing(core: Core, ring: number, ext = 0): number {
  return stackAt(core, 4 + ring * 8, ext)
}

/** Stack pointer of interrupt stack table entry 1 to 7. */
export function stackOfTable(core: Core, entry: number, ext: number): number {
  return stackAt(core, 36 + (entry - 1) * 8, ext)
}

function stackAt(core: Core, offset: number, ext: number): number {
  const [low, high] = readTask(core, offset, 2, ext)
  const address = signedFromParts(low!, high!)
  if (!isCanonical(address)) fail(core.faults, VECTOR.SS, ext)
  return address
}

const pageOf = (address: number): number => Math.floor(address / PAGE_SIZE)

/** A 64-bit word in halves. */
export type WideWord = readonly [low: number, high: number]

/**
 * Writes 64-bit words downwards from a stack pointer, the first at the highest address, with the rights of ring `ring`.
 * Nothing is written when one of them would fault.
 */
export function pushWide(
  core: Views<'registers' | 'memory' | 'mode' | 'faults' | 'debug'>, top: number, words: readonly WideWord[], ring: number,
): void {
  const { registers, memory } = core
  const bottom = top - words.length * 8
  if (!isCanonical(bottom) || !isCanonical(top - 1)) fail(core.faults, VECTOR.SS)
  writeAs(core, ring, () => {
    // The processor pushes one by one: the topmost that cannot be written is the one that faults.
    if (pageOf(bottom) === pageOf(top - 1)) memory.hostForWrite(top - 8, 8)
    else words.forEach((_, i) => memory.hostForWrite(top - (i + 1) * 8, 8))
    const host = memory.hostForWrite(bottom, words.length * 8)
    words.forEach(([low, high], i) => {
      const at = host + (words.length - 1 - i) * 8
      registers.view.setUint32(at, low, true)
      registers.view.setUint32(at + 4, high, true)
    })
    memory.finishWrite(host)
  })
}

/** Segment registers that an outer ring may not keep are emptied on the way out. */
export function dropInnerSegments({ registers, mode }: Views<'registers' | 'mode'>, ring: number): void {
  for (const index of [SEGMENT.es, SEGMENT.ds, SEGMENT.fs, SEGMENT.gs]) {
    const selector = State.selectors.element.get(registers.view, State.selectors.at(registers.base, index))
    const attributes = State.attributes.element.get(registers.view, State.attributes.at(registers.base, index))
    const conforming = isConforming(attributes)
    const isNull = (selector & 0xfffc) === 0
    // A null selector in 64-bit mode keeps its base: it has no descriptor whose level could be compared.
    if (!isNull && !conforming && dplOf(attributes) < ring) mode.setSegment(index, nullSegment(0))
  }
}

/** Flags that entering a handler clears. */
export const ENTRY_FLAGS = RFLAGS.TF | RFLAGS.NT | RFLAGS.RF | RFLAGS.VM
