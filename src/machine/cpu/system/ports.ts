/**
 * IN, OUT, INS and OUTS of a bare processor: who may, and the hook that stands for the machine's devices. Without one they
 * are left to its host.
 * Reference: Intel SDM volume 1, chapter 18; volume 2, IN, INS, OUT, OUTS.
 */
import { GPR, RFLAGS } from '../../../x86/index.ts'
import { lowPart } from '../../../util/index.ts'
import type { PortSource } from '../../interface/sources.ts'
import type { Core, Views } from '../core/core.ts'
import type { Attention } from '../core/attention.ts'
import type { LinearMemory } from '../core/linear-memory.ts'
import type { RegisterFile } from '../core/register-file.ts'
import type { Handler } from '../core/handler.ts'
import { RECORD } from '../layout/record.ts'
import { SLOT, STATUS, State } from '../layout/state.ts'
import { readTask } from './tables.ts'

type Size = 1 | 2 | 4

/** A machine without devices: reads give ones, writes go nowhere. */
export const NO_PORTS: PortSource = { read: () => 0xffff_ffff, write: () => {} }

/** Rings beyond IOPL need a clear bit for each byte in the task's I/O bitmap; a task without one may nothing. */
function isAllowed(core: Core, port: number, size: Size): boolean {
  const { registers } = core
  if (registers.cpl <= registers.iopl) return true
  const { tr } = core.system
  if (tr.limit < 0x67) return false
  const start = (readTask(core, 0x64, 1)[0]! >>> 16) + (port >>> 3)
  // Two bytes are always read, so the bitmap ends with a byte of ones.
  if (start + 1 > tr.limit) return false
  const aligned = Math.min(start, tr.limit - 3)
  const word = readTask(core, aligned, 1)[0]! >>> ((start - aligned) * 8)
  return ((word >>> (port & 7)) & ((1 << size) - 1)) === 0
}

const mask = (size: Size): number => (size === 4 ? 0xffff_ffff : (1 << (size * 8)) - 1)

function read({ debug, outside }: Views<'debug' | 'outside'>, port: number, size: Size): number {
  debug.atPort(port, size)
  return (outside.ports!.read(port, size) & mask(size)) >>> 0
}

function write({ debug, outside }: Views<'debug' | 'outside'>, port: number, size: Size, value: number): void {
  debug.atPort(port, size)
  outside.ports!.write(port, size, (value & mask(size)) >>> 0)
}

/** A device may have requested an interrupt. */
const afterPort = (attention: Attention): number => (attention.isDue ? STATUS.CHECK : STATUS.NEXT)

/** IN and OUT. */
export const portAccess = (direction: 'in' | 'out'): Handler => (core, record) => {
  const { registers, records } = core
  const size = records.field(record, RECORD.size) as Size
  const port = records.field(record, RECORD.isInDx) === 1 ? registers.low(GPR.rdx * 8) & 0xffff : records.displacement(record) & 0xff
  if (!isAllowed(core, port, size)) return core.faults.protection()
  if (core.outside.ports === undefined) return core.outside.leave(direction, record, { size, port, general: GPR.rax })
  if (direction === 'out') write(core, port, size, registers.low(GPR.rax * 8))
  else {
    const value = read(core, port, size)
    const rax = registers.base + GPR.rax * 8
    if (size === 1) registers.view.setUint8(rax, value)
    else if (size === 2) registers.view.setUint16(rax, value, true)
    else registers.setSlot(GPR.rax * 8, value, 0)
  }
  return afterPort(core.attention)
}

/** A register as wide as the addresses of the instruction. */
function counter(registers: RegisterFile, register: number, bits: number): number {
  const slot = register * 8
  return bits === 64 ? registers.address(slot) : bits === 32 ? registers.low(slot) : registers.low(slot) & 0xffff
}

/** Writes such a register: 16 bits leave the others, 32 clear the upper half. */
function setCounter(registers: RegisterFile, register: number, bits: number, value: number): void {
  const slot = register * 8
  if (bits === 64) registers.setNumber(slot, value)
  else if (bits === 32) registers.setSlot(slot, lowPart(value), 0)
  else registers.view.setUint16(registers.base + slot, value & 0xffff, true)
}

/**
 * INS and OUTS, one element at a time. Record: SHAPES.stringPort.
 */
export const stringPort = (direction: 'ins' | 'outs'): Handler => (core, record) => {
  const { registers, records } = core
  const size = records.field(record, RECORD.size) as Size
  const bits = records.field(record, RECORD.addressBits)
  const repeats = records.field(record, RECORD.isRepeated) === 1
  const port = registers.low(GPR.rdx * 8) & 0xffff
  if (!isAllowed(core, port, size)) return core.faults.protection()
  if (repeats && counter(registers, GPR.rcx, bits) === 0) return STATUS.NEXT
  if (core.outside.ports === undefined) return core.outside.leave(direction, record, { size, port })
  const pointer = direction === 'ins' ? GPR.rdi : GPR.rsi
  const segment = registers.address(direction === 'ins' ? SLOT.es : records.field(record, RECORD.segmentSlot))
  const at = counter(registers, pointer, bits)
  const address = registers.long ? at + segment : (at + segment) % 0x1_0000_0000
  if (direction === 'ins') readInto(core, address, port, size)
  else write(core, port, size, readElement(core.memory, address, size))
  const backwards = (State.systemFlags.get(registers.view, registers.base) & RFLAGS.DF) !== 0
  setCounter(registers, pointer, bits, at + (backwards ? -size : size))
  return repeats ? repeat(core, bits) : afterPort(core.attention)
}

/** Nothing is read from the port when the memory cannot be written. */
function readInto(core: Views<'memory' | 'debug' | 'outside'>, address: number, port: number, size: Size): void {
  const { memory } = core
  memory.hostForWrite(address, size)
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, read(core, port, size), true)
  memory.writeBytes(address, bytes.subarray(0, size))
}

function readElement(memory: LinearMemory, address: number, size: Size): number {
  const bytes = new Uint8Array(4)
  bytes.set(memory.readBytes(address, size))
  return new DataView(bytes.buffer).getUint32(0, true)
}

/** One repetition is done: the instruction goes on, each for one of the budget, until the count is used up. */
function repeat({ registers, attention }: Views<'registers' | 'attention'>, bits: number): number {
  const left = counter(registers, GPR.rcx, bits) - 1
  setCounter(registers, GPR.rcx, bits, left)
  if (left === 0) return afterPort(attention)
  const { view, base } = registers
  State.budget.set(view, base, State.budget.get(view, base) - 1)
  return STATUS.PARTIAL
}
