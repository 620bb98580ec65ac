/**
 * The dynamic binder: operands are read from the record at run time. Two kinds build on it: the fast one
 * (fast-binder.ts) in the interpreter's loop, the full one (full-binder.ts) for single records.
 *
 * hot path: each handler's loads are what an emulated instruction costs; places are worked out once and kept in locals.
 */
import { VECTOR } from '../../../x86/index.ts'
import type { Code, MemoryName } from '../../../wasm/index.ts'
import { IP, RECORD } from '../layout/record.ts'
import type { SmallField } from '../layout/record.ts'
import { SLOT, State } from '../layout/state.ts'
import { countBlock } from './count-block.ts'
import { typeOf } from './binder.ts'
import type { AddressForm, AddressWidth, Binder, FlagSource, Place, RegisterField, Size, VectorPlace, VectorForm } from './binder.ts'
import { FLAG_READS, FLAG_WRITES } from './flag-words.ts'
import type { FlagRead, FlagWrite } from './flag-words.ts'

/** What both dynamic binders do alike. */
export abstract class RecordBinder implements Binder {
  vectors: VectorForm | undefined = undefined
  readonly code: Code
  readonly base: number
  readonly record: number
  /** Byte offset of this micro-operation's record from the record pointer: not 0 for the second of a pair. */
  protected readonly at: number
  readonly width: AddressWidth
  readonly segmented: boolean
  /** The words always tell the flags. */
  readonly remembersFlags: boolean = false

  constructor(
    code: Code, options: { base: number; record: number; at?: number; width: AddressWidth; segmented?: boolean },
  ) {
    this.code = code
    this.base = options.base
    this.record = options.record
    this.at = options.at ?? 0
    this.width = options.width
    this.segmented = options.segmented ?? false
  }

  small(field: SmallField): void {
    this.code.get(this.record)
    this.code.memory('i32.load8_u', RECORD[field] + this.at)
  }

  /** Pushes the place of a register. */
  private slotAddress(field: RegisterField): void {
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
    return this.slot(register * 8, size)
  }

  slot(offset: number, size: Size): Place {
    return placeAt(this.code, this.base, { size, offset })
  }

  /** Pushes the place of a vector operand. */
  private vectorAddress(field: RegisterField): void {
    this.small(field)
    this.code.i32(4)
    this.code.op('i32.shl')
    this.code.get(this.base)
    this.code.op('i32.add')
  }

  vector(field: RegisterField): VectorPlace {
    const c = this.code
    const address = c.local('i32')
    this.vectorAddress(field)
    c.set(address)
    return {
      load: (name, offset = 0) => {
        c.get(address)
        c.memory(name, offset)
      },
      store: (name, push, offset = 0) => {
        c.get(address)
        push()
        c.memory(name, offset)
      },
    }
  }

  vectorGet(field: RegisterField, name: MemoryName, offset = 0): void {
    this.vectorAddress(field)
    this.code.memory(name, offset)
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
    this.slot64('base')
    c.get(this.record)
    c.memory('i64.load32_s', RECORD.displacement + this.at)
    c.op('i64.add')
    if (form === 2) {
      const packed = c.local('i32')
      this.slot64('index')
      this.small('scale')
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

  protected wrap(): void {
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

  holdHost(host: number): void {
    this.code.get(this.base)
    this.code.get(host)
    this.code.memory('i32.store', State.host.offset)
  }

  heldHost(): void {
    this.code.get(this.base)
    this.code.memory('i32.load', State.host.offset)
  }

  flagGet(part: FlagRead): void {
    const { load, offset } = FLAG_READS[part]
    this.code.get(this.base)
    this.code.memory(load, offset)
  }

  flagSet(part: FlagWrite, push: () => void): void {
    const { store, offset } = FLAG_WRITES[part]
    this.code.get(this.base)
    push()
    this.code.memory(store, offset)
  }

  keepFlags(_source: FlagSource): boolean {
    return false
  }

  knownFlags(): FlagSource | undefined {
    return undefined
  }

  settleFlags(): void {}

  renewFlags(): void {}

  countBlock(): void {
    countBlock(this)
  }

  abstract hostForRead(address: number, bytes: number): void
  abstract hostForWrite(address: number, bytes: number): void
  abstract written(host: number): void
  abstract jump(push: () => void): void
  abstract branch(from: 'end' | 'middle'): void
  abstract checkSegment(offset: number, access: number | 'immediate'): void
  abstract checkBranch(): void
  abstract handler(): void
  abstract giveUp(): void
  abstract raise(vector: number): void
  abstract runtime(name: string): void

  requireAligned(address: number, bytes: number): void {
    const c = this.code
    c.get(address)
    c.op('i32.wrap_i64')
    c.i32(bytes - 1)
    c.op('i32.and')
    c.if()
    this.raise(VECTOR.GP)
    c.end()
  }

  thisIp(): void {
    this.pushPage()
    this.code.get(this.record)
    this.code.memory('i64.load16_u', RECORD.ip + this.at)
    this.code.i64(IP.OFFSET)
    this.code.op('i64.and', 'i64.add')
    this.intoOffset()
  }

  nextIp(): void {
    const ip = this.code.local('i32')
    this.pushPage()
    this.code.get(this.record)
    this.code.memory('i32.load16_u', RECORD.ip + this.at)
    this.code.tee(ip)
    this.code.i32(IP.OFFSET)
    this.code.op('i32.and')
    this.code.get(ip)
    this.code.i32(IP.LENGTH)
    this.code.op('i32.shr_u', 'i32.add', 'i64.extend_i32_u', 'i64.add')
    this.code.release('i32', ip)
    this.intoOffset()
  }

  /** Turns the linear code address on the stack into the offset in CS. */
  private intoOffset(): void {
    if (!this.segmented) return
    this.code.get(this.base)
    this.code.memory('i64.load', SLOT.cs)
    this.code.op('i64.sub')
    this.wrap()
  }

  protected pushPage(): void {
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
