/**
 * Guest memory at linear addresses, as the instruction at hand may reach it: through the TLB and the page tables, with
 * the rights in force. What cannot be reached ends the handler with the fault.
 */
import { highPart, lowPart, signedFromParts } from '../../../util/index.ts'
import type { OwnBytes } from '../../../util/index.ts'
import { STATUS, State, WALK_AGAIN, WATCH } from '../layout/state.ts'
import { GUEST_FAULT } from './faults.ts'
import type { GeneratedCode } from './generated-code.ts'
import type { RegisterFile } from './register-file.ts'

/** Most bytes of one checked access. */
const PIECE = 16

/** Memory as one processor sees it. */
export class LinearMemory {
  private readonly registers: RegisterFile
  private readonly code: GeneratedCode

  constructor(registers: RegisterFile, code: GeneratedCode) {
    this.registers = registers
    this.code = code
  }

  /** Host address of a byte for one of ACCESS, 0 on a fault, which stands in the state. */
  translate(address: number, access: number): number {
    const { view, base } = this.registers
    const watch = State.watch.get(view, base)
    // Nobody is asked here: no page is remembered that may be watched.
    if ((watch & WATCH.PAGES) !== 0) State.watch.set(view, base, watch | WATCH.HELD_READ | WATCH.HELD_WRITE)
    for (;;) {
      this.name(address)
      const host = this.code.active.translate(base, access) >>> 0
      if (host !== 0 || State.faultVector.get(view, base) !== WALK_AGAIN) return host
    }
  }

  /** The same without a trace: 0 also where an access would leave one in the page tables. */
  peek(address: number, access: number): number {
    this.name(address)
    return this.code.active.peek(this.registers.base, access) >>> 0
  }

  /** Host address of `bytes` bytes for reading; ends the handler with the fault when there is one. */
  hostForRead(address: number, bytes: number): number {
    return this.host(address, this.code.active.forRead, bytes)
  }

  /** The same for writing; `finishWrite` has to follow the write. */
  hostForWrite(address: number, bytes: number): number {
    return this.host(address, this.code.active.forWrite, bytes)
  }

  private host(address: number, access: (base: number, bytes: number) => number, bytes: number): number {
    this.name(address)
    const host = access(this.registers.base, bytes) >>> 0
    if (host === 0) throw GUEST_FAULT
    return host
  }

  /** Puts an address where generated code takes it. */
  private name(address: number): void {
    State.faultAddress.setParts(this.registers.view, this.registers.base, lowPart(address), highPart(address))
  }

  /** Carries out a write that went to the scratch area; RELOAD when it hit decoded code. */
  finishWrite(host: number): number {
    const { base } = this.registers
    return host - base < State.size && host >= base ? this.code.active.commit(base) : STATUS.NEXT
  }

  /** A copy of guest memory. */
  readBytes(address: number, count: number): OwnBytes {
    const out = new Uint8Array(count)
    for (let at = 0; at < count; at += PIECE) {
      const piece = Math.min(PIECE, count - at)
      const host = this.hostForRead(address + at, piece)
      out.set(this.registers.bytes.subarray(host, host + piece), at)
    }
    return out
  }

  /** Writes to guest memory; nothing happens when any of it would fault. */
  writeBytes(address: number, bytes: Uint8Array): number {
    for (let at = 0; at < bytes.length; at += PIECE) this.hostForWrite(address + at, Math.min(PIECE, bytes.length - at))
    let status: number = STATUS.NEXT
    for (let at = 0; at < bytes.length; at += PIECE) {
      const piece = bytes.subarray(at, at + PIECE)
      const host = this.hostForWrite(address + at, piece.length)
      this.registers.bytes.set(piece, host)
      status |= this.finishWrite(host)
    }
    return status
  }

  /** Reads 64 bits of guest memory into a slot, every bit of it. */
  loadSlot(slot: number, address: number): void {
    const { registers } = this
    const host = this.hostForRead(address, 8)
    registers.setSlot(slot, registers.view.getUint32(host, true), registers.view.getUint32(host + 4, true))
  }

  readByte(address: number): number {
    return this.registers.view.getUint8(this.hostForRead(address, 1))
  }

  read16(address: number): number {
    return this.registers.view.getUint16(this.hostForRead(address, 2), true)
  }

  read32(address: number): number {
    return this.registers.view.getUint32(this.hostForRead(address, 4), true)
  }

  /** 64 bits as a signed number. */
  read64(address: number): number {
    const { view } = this.registers
    const host = this.hostForRead(address, 8)
    return signedFromParts(view.getUint32(host, true), view.getUint32(host + 4, true))
  }

  writeByte(address: number, value: number): number {
    const host = this.hostForWrite(address, 1)
    this.registers.view.setUint8(host, value)
    return this.finishWrite(host)
  }

  write32(address: number, value: number): number {
    const host = this.hostForWrite(address, 4)
    this.registers.view.setUint32(host, value, true)
    return this.finishWrite(host)
  }
}
