/**
 * The dynamic binder: operands are read from the record at run time. Two kinds share it: the fast one stands in the
 * interpreter's loop and gives up on a memory access that misses the TLB; the full one executes a single record, slow
 * paths included.
 *
 * hot path: each handler's loads are what an emulated instruction costs; places are worked out once and kept in locals.
 */
import type { Code, Label } from '../../../wasm/index.ts'
import { VECTOR } from '../../../x86/index.ts'
import { RECORD } from '../record.ts'
import { STATUS, State, TLB } from '../state.ts'
import { typeOf } from './binder.ts'
import type { AddressForm, AddressWidth, Binder, Place, RegisterField, Size } from './binder.ts'

/** What both dynamic binders do alike. */
export abstract class RecordBinder implements Binder {
  readonly code: Code
  readonly base: number
  readonly record: number
  /** Byte offset of this micro-operation's record from the record pointer: not 0 for the second of a pair. */
  protected readonly at: number
  readonly width: AddressWidth

  constructor(code: Code, options: { base: number; record: number; at?: number; width: AddressWidth }) {
    this.code = code
    this.base = options.base
    this.record = options.record
    this.at = options.at ?? 0
    this.width = options.width
  }

  small(field: RegisterField | 'd'): void {
    this.code.get(this.record)
    this.code.memory('i32.load8_u', RECORD[field] + this.at)
  }

  slotAddress(field: RegisterField): void {
    this.code.get(this.base)
    this.small(field)
    this.code.op('i32.add')
  }

  get(field: RegisterField, size: Size): void {
    this.slotAddress(field)
    loadSized(this.code, size, 0)
  }

  place(field: RegisterField, size: Size): Place {
    const address = this.code.local('i32')
    this.slotAddress(field)
    this.code.set(address)
    return placeAt(this.code, address, { size, offset: 0 })
  }

  fixed(register: number, size: Size): Place {
    return placeAt(this.code, this.base, { size, offset: register * 8 })
  }

  immediate(size: Size): void {
    const offset = RECORD.immediate + this.at
    this.code.get(this.record)
    if (size === 64) this.code.memory('i64.load32_s', offset)
    else loadSized(this.code, size, offset)
  }

  wideImmediate(): void {
    this.code.get(this.record)
    this.code.memory('i64.load', RECORD.displacement + this.at)
  }

  private slot64(field: RegisterField): void {
    this.slotAddress(field)
    this.code.memory('i64.load')
  }

  address(form: AddressForm): void {
    const c = this.code
    this.slot64('b')
    c.get(this.record)
    c.memory('i64.load32_s', RECORD.displacement + this.at)
    c.op('i64.add')
    if (form === 2) {
      const packed = c.local('i32')
      this.slot64('c')
      this.small('d')
      c.tee(packed)
      c.i32(3)
      c.op('i32.and', 'i64.extend_i32_u', 'i64.shl', 'i64.add')
      if (this.width === 32) this.wrap()
      c.get(this.base)
      c.get(packed)
      c.i32(0xf8)
      c.op('i32.and', 'i32.add')
      c.memory('i64.load')
      c.op('i64.add')
      c.release('i32', packed)
    }
    if (this.width === 32) this.wrap()
  }

  private wrap(): void {
    this.code.i64(-1, 0)
    this.code.op('i64.and')
  }

  load(form: AddressForm, size: Size): void {
    const address = this.code.local('i64')
    this.address(form)
    this.code.set(address)
    this.loadAt(address, size)
    this.code.release('i64', address)
  }

  store(form: AddressForm, size: Size, push: () => void): void {
    const address = this.code.local('i64')
    this.address(form)
    this.code.set(address)
    this.storeAt(address, size, push)
    this.code.release('i64', address)
  }

  update(form: AddressForm, size: Size, body: (old: number) => number): void {
    const c = this.code
    const type = typeOf(size)
    const address = c.local('i64')
    const host = c.local('i32')
    const old = c.local(type)
    this.address(form)
    c.set(address)
    this.hostForWrite(address, size / 8)
    c.tee(host)
    loadSized(c, size, 0)
    c.set(old)
    const value = body(old)
    c.get(host)
    c.get(value)
    storeSized(c, size, 0)
    this.written(host)
    c.release('i64', address)
    c.release('i32', host)
    c.release(type, old)
  }

  loadAt(address: number, size: Size): void {
    this.hostForRead(address, size / 8)
    loadSized(this.code, size, 0)
  }

  storeAt(address: number, size: Size, push: () => void): void {
    const host = this.code.local('i32')
    this.hostForWrite(address, size / 8)
    this.code.tee(host)
    push()
    storeSized(this.code, size, 0)
    this.written(host)
    this.code.release('i32', host)
  }

  abstract hostForRead(address: number, bytes: number): void
  abstract hostForWrite(address: number, bytes: number): void
  abstract written(host: number): void
  abstract jump(push: () => void): void
  abstract branch(from: 'end' | 'middle'): void
  abstract leave(status: number): void
  abstract handler(): void
  abstract giveUp(): void
  protected abstract misaligned(): void
  abstract runtime(name: string): void

  requireAligned(address: number, bytes: number): void {
    const c = this.code
    c.get(address)
    c.op('i32.wrap_i64')
    c.i32(bytes - 1)
    c.op('i32.and')
    c.if()
    this.misaligned()
    c.end()
  }

  thisIp(): void {
    this.pushPage()
    this.code.get(this.record)
    this.code.memory('i64.load16_u', RECORD.ip + this.at)
    this.code.i64(0xfff)
    this.code.op('i64.and', 'i64.add')
  }

  nextIp(): void {
    const ip = this.code.local('i32')
    this.pushPage()
    this.code.get(this.record)
    this.code.memory('i32.load16_u', RECORD.ip + this.at)
    this.code.tee(ip)
    this.code.i32(0xfff)
    this.code.op('i32.and')
    this.code.get(ip)
    this.code.i32(12)
    this.code.op('i32.shr_u', 'i32.add', 'i64.extend_i32_u', 'i64.add')
    this.code.release('i32', ip)
  }

  private pushPage(): void {
    this.code.get(this.base)
    this.code.memory('i64.load', State.page.offset)
  }
}

/** Loads a value of a size from the address on the stack. */
export function loadSized(c: Code, size: Size, offset: number): void {
  if (size === 64) c.memory('i64.load', offset)
  else if (size === 32) c.memory('i32.load', offset)
  else c.memory(size === 16 ? 'i32.load16_u' : 'i32.load8_u', offset)
}

/** Stores the value on the stack at the address below it. */
export function storeSized(c: Code, size: Size, offset: number): void {
  if (size === 64) c.memory('i64.store', offset)
  else if (size === 32) c.memory('i32.store', offset)
  else c.memory(size === 16 ? 'i32.store16' : 'i32.store8', offset)
}

function placeAt(c: Code, address: number, where: { size: Size; offset: number }): Place {
  const { size, offset } = where
  return {
    get: () => {
      c.get(address)
      loadSized(c, size, offset)
    },
    set: (push) => {
      c.get(address)
      push()
      if (size === 32) {
        c.op('i64.extend_i32_u')
        c.memory('i64.store', offset)
      } else storeSized(c, size, offset)
    },
  }
}

/** Where the interpreter's loop goes on from a handler. */
export interface LoopLabels {
  /** Execute this record outside the loop. */
  readonly slow: Label
  /** Look up the address in the target local. */
  readonly lookUp: Label
  /** Enter the block in the record local. */
  readonly enter: Label
  /** Follow the record's branch whose block is not known yet. */
  readonly follow: Label
}

/** What a handler in the loop has at hand: locals and labels. */
export interface LoopOptions {
  readonly base: number
  readonly record: number
  readonly at?: number
  readonly width: AddressWidth
  readonly labels: LoopLabels
  readonly target: number
  readonly budget: number
}

/** log2 of a TLB entry's bytes. */
const ENTRY_SHIFT = Math.log2(TLB.entryBytes)

/** The binder in the interpreter's loop: memory accesses that miss leave the handler before it has changed anything. */
export class FastBinder extends RecordBinder {
  private readonly labels: LoopLabels
  private readonly target: number
  private readonly budget: number

  constructor(code: Code, options: LoopOptions) {
    super(code, options)
    this.labels = options.labels
    this.target = options.target
    this.budget = options.budget
  }

  private advance(): void {
    if (this.at === 0) return
    this.code.get(this.record)
    this.code.i32(this.at)
    this.code.op('i32.add')
    this.code.set(this.record)
  }

  /** Leaves the handler unless the TLB has the page; an access into the next page differs from every tag. */
  private host(access: 'read' | 'write', address: number, bytes: number): void {
    const c = this.code
    const entry = c.local('i32')
    c.get(address)
    c.i64(12 - ENTRY_SHIFT)
    c.op('i64.shr_u', 'i32.wrap_i64')
    c.i32((TLB.entries - 1) << ENTRY_SHIFT)
    c.op('i32.and')
    c.get(this.base)
    c.memory('i32.load', State.bank.offset)
    c.op('i32.add')
    c.tee(entry)
    c.memory('i64.load', TLB[access])
    c.get(address)
    if (bytes > 1) {
      c.i64(bytes - 1)
      c.op('i64.add')
    }
    c.i64(-4096)
    c.op('i64.and', 'i64.ne')
    if (this.at === 0) c.brIf(this.labels.slow)
    else {
      c.if()
      this.advance()
      c.br(this.labels.slow)
      c.end()
    }
    c.get(address)
    c.op('i32.wrap_i64')
    c.get(entry)
    c.memory('i32.load', TLB.delta)
    c.op('i32.add')
    c.release('i32', entry)
  }

  giveUp(): void {
    this.advance()
    this.code.br(this.labels.slow)
  }

  protected misaligned(): void {
    this.giveUp()
  }

  hostForRead(address: number, bytes: number): void {
    this.host('read', address, bytes)
  }

  hostForWrite(address: number, bytes: number): void {
    this.host('write', address, bytes)
  }

  written(): void {}

  jump(push: () => void): void {
    push()
    this.code.set(this.target)
    this.code.br(this.labels.lookUp)
  }

  branch(from: 'end' | 'middle'): void {
    const c = this.code
    const block = c.local('i32')
    if (from === 'middle') {
      c.get(this.budget)
      this.small('a')
      c.op('i32.add')
      c.set(this.budget)
    }
    c.get(this.record)
    c.memory('i32.load', RECORD.immediate + this.at)
    c.tee(block)
    c.if()
    c.get(block)
    c.set(this.record)
    c.br(this.labels.enter)
    c.end()
    this.advance()
    c.br(this.labels.follow)
    c.release('i32', block)
  }

  leave(): void {
    throw new Error('a micro-operation of the loop cannot leave to the driver')
  }

  handler(): void {
    throw new Error('a micro-operation of the loop cannot call a handler')
  }

  runtime(): void {
    throw new Error('a micro-operation of the loop cannot call the runtime')
  }
}

/** Functions that the full binder calls. */
export interface SlowFunctions {
  /** (base, address, bytes) -> host address, 0 on a fault. */
  readonly forRead: number
  readonly forWrite: number
  /** (base, host) -> status: carries out a write that could not go straight to its place. */
  readonly commit: number
  /** (base, record) -> status. */
  readonly handler: number
  /** (base, record) -> status, by name. */
  readonly runtime: ReadonlyMap<string, number>
}

/** The binder that executes one record completely and returns a status. */
export class FullBinder extends RecordBinder {
  private readonly functions: SlowFunctions
  /** Local with the status to return. */
  readonly status: number

  constructor(
    code: Code,
    options: { base: number; record: number; status: number; width: AddressWidth; functions: SlowFunctions },
  ) {
    super(code, options)
    this.functions = options.functions
    this.status = options.status
  }

  private host(func: number, address: number, bytes: number): void {
    const c = this.code
    const host = c.local('i32')
    c.get(this.base)
    c.get(address)
    c.i32(bytes)
    c.call(func)
    c.tee(host)
    c.op('i32.eqz')
    c.if()
    this.leave(STATUS.FAULT)
    c.end()
    c.get(host)
    c.release('i32', host)
  }

  hostForRead(address: number, bytes: number): void {
    this.host(this.functions.forRead, address, bytes)
  }

  hostForWrite(address: number, bytes: number): void {
    this.host(this.functions.forWrite, address, bytes)
  }

  written(host: number): void {
    const c = this.code
    // Only the scratch area, which lies in the processor's own state, asks for more.
    c.get(host)
    c.get(this.base)
    c.op('i32.sub')
    c.i32(State.size)
    c.op('i32.lt_u')
    c.if()
    c.get(this.base)
    c.call(this.functions.commit)
    c.set(this.status)
    c.end()
  }

  jump(push: () => void): void {
    this.code.get(this.base)
    push()
    this.code.memory('i64.store', State.rip.offset)
    this.leave(STATUS.JUMP)
  }

  branch(from: 'end' | 'middle'): void {
    const c = this.code
    if (from === 'middle') {
      c.get(this.base)
      c.get(this.base)
      c.memory('i32.load', State.budget.offset)
      this.small('a')
      c.op('i32.add')
      c.memory('i32.store', State.budget.offset)
    }
    this.jump(() => {
      this.nextIp()
      c.get(this.record)
      c.memory('i64.load32_s', RECORD.displacement)
      c.op('i64.add')
    })
  }

  leave(status: number): void {
    this.code.i32(status)
    this.code.op('return')
  }

  handler(): void {
    this.code.get(this.base)
    this.code.get(this.record)
    this.code.call(this.functions.handler)
    this.code.set(this.status)
  }

  giveUp(): void {
    this.handler()
    this.code.get(this.status)
    this.code.op('return')
  }

  protected misaligned(): void {
    this.fault(VECTOR.GP)
  }

  /** Leaves with a fault whose error code, if it has one, is 0. */
  private fault(vector: number): void {
    for (const [offset, value] of [[State.faultVector.offset, vector], [State.faultCode.offset, 0]] as const) {
      this.code.get(this.base)
      this.code.i32(value)
      this.code.memory('i32.store', offset)
    }
    this.leave(STATUS.FAULT)
  }

  runtime(name: string): void {
    const func = this.functions.runtime.get(name)
    if (func === undefined) throw new Error(`no runtime function ${name}`)
    this.code.get(this.base)
    this.code.get(this.record)
    this.code.call(func)
    this.code.set(this.status)
  }
}
