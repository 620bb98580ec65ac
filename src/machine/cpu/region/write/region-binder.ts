/**
 * The static binder: a region's records are known while its code is written. Their fields are constants, registers and
 * flags are locals, vectors and some temporaries lie in the state at constant offsets. An instruction that cannot be
 * carried out here (a page that the TLB has not, a fault, a handler) leaves the region before it, and the interpreter
 * carries it out.
 */
import { highPart, lowPart } from '../../../../util/index.ts'
import type { Code, MemoryName } from '../../../../wasm/index.ts'
import type { AddressForm, FlagSource, Place, RegisterField, Size, VectorPlace } from '../../emit/binder.ts'
import type { FlagRead, FlagWrite } from '../../emit/flag-words.ts'
import { RecordBinder, loadSized, storeSized } from '../../emit/record-binder.ts'
import type { SmallField } from '../../layout/record.ts'
import { SLOT } from '../../layout/state.ts'
import type { ExitCause } from '../form/exit-causes.ts'
import { RegionPages } from './page-locals.ts'
import { RecordReader } from '../form/record-reader.ts'
import { RegionFlags } from './region-flags.ts'
import type { FlagFunctions } from './region-flags.ts'
import { RegionRegisters } from './region-registers.ts'
import type { SteadyPages } from './steady.ts'

/** Bytes of the units by which records name vectors. */
const VECTOR_BYTES = 16
/** Bits of a scale field: the index's shift, and the slot of the segment base. */
const SCALE = { SHIFT: 3, SEGMENT: 0xf8 } as const

/** Where control goes from an instruction. */
export interface RegionControl {
  /** Leaves the region with the instruction at hand not done: always, or when the i32 on the stack is not 0. */
  leaveBefore(cause: ExitCause): void
  leaveBeforeIf(cause: ExitCause): void
  /** Has a function of the runtime carry out the record at hand. */
  callRuntime(name: string): void
  /** Goes on at the instruction's target. */
  branch(): void
  /** Goes on at the address in a local (i64). */
  jump(target: number): void
}

/** What a region's code is written with. */
export interface RegionBinderOptions {
  readonly view: DataView
  readonly functions: FlagFunctions
  readonly control: RegionControl
  readonly pages: SteadyPages
}

/** Pushes a linear address. */
export const pushLinear = (c: Code, address: number): void => c.i64(lowPart(address) | 0, highPart(address) | 0)

/** The binder of a region. */
export class RegionBinder extends RecordBinder {
  override readonly remembersFlags = true
  readonly reader: RecordReader
  readonly registers: RegionRegisters
  readonly flags: RegionFlags
  /** Whether the instruction at hand throws its result away. */
  isComparison = false
  readonly pages: RegionPages
  private readonly held: number
  private readonly control: RegionControl

  constructor(code: Code, options: RegionBinderOptions) {
    super(code, { base: 0, record: 1, width: 64 })
    this.reader = new RecordReader(options.view)
    this.registers = new RegionRegisters(code, this.base)
    this.flags = new RegionFlags(code, options.functions)
    this.control = options.control
    this.pages = new RegionPages(code, options.pages, () => this.control.leaveBeforeIf('memory'))
    this.held = code.local('i32')
  }

  override small(field: SmallField): void {
    this.code.i32(this.reader.small(field))
  }

  override get(field: RegisterField, size: Size): void {
    this.pushSlot(this.reader.small(field), size)
  }

  override place(field: RegisterField, size: Size): Place {
    return this.registers.place(this.reader.small(field), size)
  }

  override slot(offset: number, size: Size): Place {
    return this.registers.place(offset, size)
  }

  private pushSlot(slot: number, size: Size): void {
    if (slot === SLOT.page && size === 64) this.pushPage()
    else this.registers.get(slot, size)
  }

  /** Pushes the page of the instruction at hand. */
  override pushPage(): void {
    pushLinear(this.code, this.reader.page)
  }

  override vector(field: RegisterField): VectorPlace {
    const c = this.code
    const start = this.reader.small(field) * VECTOR_BYTES
    return {
      load: (name, offset = 0) => {
        c.get(this.base)
        c.memory(name, start + offset)
      },
      store: (name, push, offset = 0) => {
        c.get(this.base)
        push()
        c.memory(name, start + offset)
      },
    }
  }

  override vectorGet(field: RegisterField, name: MemoryName, offset = 0): void {
    this.code.get(this.base)
    this.code.memory(name, this.reader.small(field) * VECTOR_BYTES + offset)
  }

  override immediate(size: Size): void {
    const { immediate } = this.reader
    if (size === 64) this.code.i64(immediate)
    else this.code.i32(size === 32 ? immediate : immediate & (size === 8 ? 0xff : 0xffff))
  }

  override wideImmediate(): void {
    this.code.i64(this.reader.displacement, this.reader.immediate)
  }

  override address(form: AddressForm): void {
    const c = this.code
    this.baseAddress()
    if (form === 1) return
    const index = this.reader.small('index')
    const scale = this.reader.small('scale')
    if (index !== SLOT.zero) {
      this.pushSlot(index, 64)
      if ((scale & SCALE.SHIFT) !== 0) {
        c.i64(scale & SCALE.SHIFT)
        c.op('i64.shl')
      }
      c.op('i64.add')
    }
    const segment = scale & SCALE.SEGMENT
    if (segment === SLOT.zero) return
    this.pushSlot(segment, 64)
    c.op('i64.add')
  }

  /** Pushes base and displacement. */
  private baseAddress(): void {
    const c = this.code
    const { displacement } = this.reader
    const base = this.reader.small('base')
    if (base === SLOT.page) return pushLinear(c, this.reader.page + displacement)
    if (base === SLOT.zero) return c.i64(displacement)
    this.pushSlot(base, 64)
    if (displacement === 0) return
    c.i64(displacement)
    c.op('i64.add')
  }

  override thisIp(): void {
    pushLinear(this.code, this.reader.rip)
  }

  override nextIp(): void {
    pushLinear(this.code, this.reader.next)
  }

  override load(form: AddressForm, size: Size): void {
    if (!this.loadInside(size)) super.load(form, size)
  }

  override store(form: AddressForm, size: Size, push: () => void): void {
    if (!this.storeInside(size, push)) super.store(form, size, push)
  }

  override loadAt(address: number, size: Size): void {
    const place = this.pages.place({ access: 'read', address, bytes: size / 8, record: this.reader.at })
    if (place === undefined) return super.loadAt(address, size)
    this.code.get(place.host)
    loadSized(this.code, size, place.offset)
  }

  override storeAt(address: number, size: Size, push: () => void): void {
    const place = this.pages.place({ access: 'write', address, bytes: size / 8, record: this.reader.at })
    if (place === undefined) return super.storeAt(address, size, push)
    this.code.get(place.host)
    push()
    storeSized(this.code, size, place.offset)
  }

  /** Loads from a window that is open, where the address need not be worked out. */
  private loadInside(size: Size): boolean {
    const place = this.pages.inside(this.reader.at, 'read', size / 8)
    if (place === undefined) return false
    this.code.get(place.host)
    loadSized(this.code, size, place.offset)
    return true
  }

  private storeInside(size: Size, push: () => void): boolean {
    const place = this.pages.inside(this.reader.at, 'write', size / 8)
    if (place === undefined) return false
    this.code.get(place.host)
    push()
    storeSized(this.code, size, place.offset)
    return true
  }

  hostForRead(address: number, bytes: number): void {
    this.pages.pushHost({ access: 'read', address, bytes, record: this.reader.at })
  }

  hostForWrite(address: number, bytes: number): void {
    this.pages.pushHost({ access: 'write', address, bytes, record: this.reader.at })
  }

  /** Writes that have to be carried out piece by piece have no tag in the TLB. */
  written(): void {}

  override holdHost(host: number): void {
    this.code.get(host)
    this.code.set(this.held)
  }

  override heldHost(): void {
    this.code.get(this.held)
  }

  jump(push: () => void): void {
    const target = this.code.local('i64')
    push()
    this.code.set(target)
    this.control.jump(target)
    this.code.release('i64', target)
  }

  branch(): void {
    this.control.branch()
  }

  checkSegment(): void {
    throw new Error('a region knows flat segments only')
  }

  checkBranch(): void {}

  handler(): void {
    this.control.leaveBefore('instruction')
  }

  giveUp(): void {
    this.control.leaveBefore('instruction')
  }

  raise(): void {
    this.control.leaveBefore('instruction')
  }

  runtime(name: string): void {
    this.control.callRuntime(name)
  }

  override flagGet(part: FlagRead): void {
    this.flags.push(this, part)
  }

  override flagSet(part: FlagWrite, push: () => void): void {
    this.flags.set(this, part, push)
  }

  override keepFlags(source: FlagSource): boolean {
    this.flags.keep(this, source, this.isComparison)
    return true
  }

  override knownFlags(): FlagSource | undefined {
    return this.flags.known()
  }

  override settleFlags(): void {
    this.flags.settle(this)
  }

  override renewFlags(): void {
    this.flags.renew()
  }
}
