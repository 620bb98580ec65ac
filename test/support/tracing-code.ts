/**
 * WebAssembly code that notes, while it is written, what it will do: which fields of a record it reads, which places of a
 * processor's state, through which registers, how it gets at the guest's memory. It follows the values on the stack and
 * in locals as symbols (the processor's base, a field, the place that a field names, a host address), so it tells what
 * the instructions do, not what they were meant to do. An address of unknown origin is an error.
 */
import { Code, MEMORY } from '../../src/wasm/index.ts'
import type { Label, LaneName, MemoryName, PlainName, ValueType } from '../../src/wasm/index.ts'

/** Where a value comes from. */
type Kind =
  | { readonly kind: 'base' }
  | { readonly kind: 'record' }
  | { readonly kind: 'other' }
  | { readonly kind: 'constant'; readonly value: number }
  | { readonly kind: 'field' | 'unit' | 'general' | 'vector' | 'lane'; readonly at: number }
  | { readonly kind: 'host'; readonly access: GuestAccess }

type Value = Kind & { readonly origins: ReadonlySet<string> }

/** An access to the guest's memory. */
export interface GuestAccess {
  readonly isWrite: boolean
  /** undefined where the code works it out. */
  readonly bytes: number | undefined
  /** What the address was made from. */
  readonly origins: ReadonlySet<string>
  loads: number
  stores: number
  /** Most bytes stored at once. */
  storedBytes: number
}

/** A place in the state, or in the register that a field names. */
export interface PlaceAccess {
  readonly kind: 'state' | 'general' | 'vector' | 'lane'
  /** Byte of the state, or of the record for the field. */
  readonly at: number
  readonly from: number
  readonly bytes: number
}

/** Functions that the code calls. */
export interface CalledFunctions {
  readonly forRead: number
  readonly forWrite: number
  readonly commit: number
  readonly checkSegment: number
  readonly handler: number
}

/** What the code is followed with. */
export interface TracingOptions {
  readonly called: CalledFunctions
  /** Statuses of exits that do not count for what is surely written. */
  readonly ignored: readonly number[]
  /** Byte of the state where an earlier operation left a host address to write to. */
  readonly prepared: number
}

/** Why code returns: with a constant, with what a function gave, or by leaving the loop. */
export type Exit = number | 'status'

interface Frame {
  readonly height: number
  readonly result: boolean
  readonly isIf: boolean
  readonly before: ReadonlySet<string>
  readonly locals: ReadonlyMap<number, Value>
  then: ReadonlySet<string> | 'left' | undefined
}

const NOTHING: ReadonlySet<string> = new Set()
const UNARY = /eqz|clz|ctz|popcnt|extend|extadd|wrap|convert|trunc|reinterpret|promote|demote|\.neg|\.abs|sqrt|nearest|floor|ceil|splat|any_true|all_true|bitmask|v128\.not$/

const common = (sets: readonly ReadonlySet<string>[]): ReadonlySet<string> =>
  new Set([...(sets[0] ?? [])].filter((key) => sets.every((set) => set.has(key))))

/** Names a place, so that sets of them can be compared. */
export const keyOf = ({ kind, at, from, bytes }: PlaceAccess): string => `${kind} ${at} ${from}+${bytes}`

/** The code, and what it does. */
export class TracingCode extends Code {
  readonly fieldBytes = new Set<number>()
  readonly reads = new Map<string, PlaceAccess>()
  readonly writes = new Map<string, PlaceAccess>()
  readonly accesses: GuestAccess[] = []
  readonly calls: { readonly name: 'handler' | 'checkSegment' | 'runtime'; readonly isCertain: boolean }[] = []
  readonly exits = new Set<Exit>()
  private readonly options: TracingOptions
  private readonly stack: Value[] = []
  private locals = new Map<number, Value>()
  private readonly frames: Frame[] = []
  private readonly atExits: ReadonlySet<string>[] = []
  private sure = new Set<string>()
  private isLeft = false

  constructor(options: TracingOptions) {
    super(2)
    this.options = options
    this.locals.set(0, { kind: 'base', origins: NOTHING })
    this.locals.set(1, { kind: 'record', origins: NOTHING })
  }

  /** Places that are written on every way out. */
  surelyWritten(): ReadonlySet<string> {
    return common(this.isLeft ? this.atExits : [...this.atExits, this.sure])
  }

  private push(value: Kind, origins: ReadonlySet<string> = NOTHING): void {
    if (!this.isLeft) this.stack.push({ ...value, origins })
  }

  private pop(): Value {
    const floor = this.frames[this.frames.length - 1]?.height ?? 0
    if (this.isLeft) return { kind: 'other', origins: NOTHING }
    if (this.stack.length <= floor) throw new Error('the stack is empty')
    return this.stack.pop()!
  }

  override get(local: number): void {
    super.get(local)
    const { origins, ...value } = this.locals.get(local) ?? { kind: 'other' as const, origins: NOTHING }
    this.push(value, origins)
  }

  override set(local: number): void {
    super.set(local)
    this.locals.set(local, this.pop())
  }

  override tee(local: number): void {
    super.tee(local)
    const value = this.pop()
    this.locals.set(local, value)
    const { origins, ...kind } = value
    this.push(kind, origins)
  }

  override i32(value: number): void {
    super.i32(value)
    this.push({ kind: 'constant', value })
  }

  override i64(low: number, high?: number): void {
    if (high === undefined) super.i64(low)
    else super.i64(low, high)
    this.push({ kind: 'constant', value: low })
  }

  override f64(value: number): void {
    super.f64(value)
    this.push({ kind: 'other' })
  }

  override v128(bytes: ArrayLike<number>): void {
    super.v128(bytes)
    this.push({ kind: 'other' })
  }

  override lane(name: LaneName, index: number): void {
    super.lane(name, index)
    this.combine(name.includes('replace') ? 2 : 1)
  }

  override shuffle(lanes: ArrayLike<number>): void {
    super.shuffle(lanes)
    this.combine(2)
  }

  private combine(operands: number, kind: Kind = { kind: 'other' }): void {
    const values = Array.from({ length: operands }, () => this.pop())
    this.push(kind, new Set(values.flatMap(({ origins }) => [...origins])))
  }

  override op(...names: PlainName[]): void {
    for (const name of names) {
      super.op(name)
      this.plain(name)
    }
  }

  private plain(name: PlainName): void {
    if (name === 'else' || name === 'end') return
    if (name === 'return') return this.leave(this.statusOf(this.pop()))
    if (name === 'unreachable') {
      this.isLeft = true
      return
    }
    if (name === 'select' || name === 'v128.bitselect') return this.combine(3)
    if (UNARY.test(name)) return this.combine(1)
    const [second, first] = [this.stack[this.stack.length - 1], this.stack[this.stack.length - 2]]
    this.combine(2, this.isLeft ? undefined : derive(name, first!, second!))
  }

  private statusOf(value: Value): Exit {
    return value.kind === 'constant' ? value.value : 'status'
  }

  private leave(exit: Exit): void {
    if (!this.isLeft) {
      this.exits.add(exit)
      if (!(typeof exit === 'number' && this.options.ignored.includes(exit)) && !this.gaveUp()) this.atExits.push(new Set(this.sure))
    }
    this.isLeft = true
  }

  /** The last call was of the handler, in an arm: the handler does the work. */
  private gaveUp(): boolean {
    const last = this.calls[this.calls.length - 1]
    return last?.name === 'handler' && !last.isCertain
  }

  override memory(name: MemoryName, offset = 0): void {
    super.memory(name, offset)
    const isStore = name.includes('.store')
    if (isStore) this.pop()
    const address = this.pop()
    const bytes = bytesOf(name)
    if (this.isLeft) return
    const origins = new Set(address.origins)
    const kind = this.access(address, { offset, bytes, isStore }, origins)
    if (!isStore) this.push(kind, origins)
  }

  private access(address: Value, how: { offset: number; bytes: number; isStore: boolean }, origins: Set<string>): Kind {
    const { offset, bytes, isStore } = how
    if (address.kind === 'record') {
      if (isStore) throw new Error('a record is written')
      for (let i = 0; i < bytes; i += 1) this.fieldBytes.add(offset + i)
      origins.add(`field ${offset}`)
      return bytes === 1 ? { kind: 'field', at: offset } : { kind: 'other' }
    }
    if (address.kind === 'host') {
      address.access[isStore ? 'stores' : 'loads'] += 1
      if (isStore) address.access.storedBytes = Math.max(address.access.storedBytes, bytes)
      return { kind: 'other' }
    }
    if (address.kind === 'other' || address.kind === 'constant' || address.kind === 'field' || address.kind === 'unit') {
      throw new Error(`memory at an address of unknown origin (${address.kind})`)
    }
    const place: PlaceAccess = address.kind === 'base'
      ? { kind: 'state', at: offset, from: 0, bytes }
      : { kind: address.kind, at: address.at, from: address.kind === 'lane' ? 0 : offset, bytes: address.kind === 'lane' ? 16 : bytes }
    const key = keyOf(place)
    if (isStore) {
      this.writes.set(key, place)
      if (place.kind !== 'lane') this.sure.add(key)
    } else {
      this.reads.set(key, place)
      origins.add(place.kind === 'state' ? `state ${offset}` : place.kind)
      if (place.kind === 'state' && offset === this.options.prepared) return this.preparedHost()
    }
    return { kind: 'other' }
  }

  private preparedHost(): Kind {
    const access: GuestAccess = { isWrite: true, bytes: undefined, origins: new Set(['prepared']), loads: 0, stores: 0, storedBytes: 0 }
    this.accesses.push(access)
    return { kind: 'host', access }
  }

  override call(func: number): void {
    super.call(func)
    const { forRead, forWrite, commit, checkSegment, handler } = this.options.called
    if (func === forRead || func === forWrite) return this.callForHost(func === forWrite)
    if (func === commit) return this.combine(1)
    const name = func === handler ? 'handler' : func === checkSegment ? 'checkSegment' : 'runtime'
    this.calls.push({ name, isCertain: !this.frames.some(({ isIf }) => isIf) })
    this.combine(func === checkSegment ? 3 : 2)
  }

  private callForHost(isWrite: boolean): void {
    const bytes = this.pop()
    const address = this.pop()
    this.pop()
    if (this.isLeft) return
    const access: GuestAccess = {
      isWrite, bytes: bytes.kind === 'constant' ? bytes.value : undefined, origins: address.origins, loads: 0, stores: 0,
      storedBytes: 0,
    }
    this.accesses.push(access)
    this.push({ kind: 'host', access })
  }

  override memoryCopy(): void {
    super.memoryCopy()
    this.pop()
    this.bulk(this.pop(), 'loads')
    this.bulk(this.pop(), 'stores')
  }

  override memoryFill(): void {
    super.memoryFill()
    this.pop()
    this.pop()
    this.bulk(this.pop(), 'stores')
  }

  private bulk(value: Value, what: 'loads' | 'stores'): void {
    if (this.isLeft || value.kind === 'other') return
    if (value.kind !== 'host') throw new Error('bulk memory outside of the guest')
    // What it has stored itself is nobody else's.
    if (what === 'stores' || value.access.stores === 0) value.access[what] += 1
  }

  private begin(isIf: boolean, result: ValueType | undefined): void {
    if (isIf) this.pop()
    this.frames.push({
      height: this.stack.length, result: result !== undefined, isIf, before: new Set(this.sure), then: undefined,
      locals: new Map(this.locals),
    })
  }

  override if(result?: ValueType): Label {
    this.begin(true, result)
    return super.if(result)
  }

  override block(result?: ValueType): Label {
    this.begin(false, result)
    return super.block(result)
  }

  override loop(result?: ValueType): Label {
    this.begin(false, result)
    return super.loop(result)
  }

  override else(): void {
    super.else()
    const frame = this.frames[this.frames.length - 1]!
    frame.then = this.isLeft ? 'left' : new Set(this.sure)
    this.sure = new Set(frame.before)
    this.locals = new Map(frame.locals)
    this.isLeft = false
    this.stack.length = frame.height
  }

  override end(): void {
    super.end()
    const frame = this.frames.pop()!
    const mine = this.isLeft ? 'left' : this.sure
    const other = frame.then ?? (frame.isIf ? frame.before : 'left')
    // Values of an arm that is left reach nobody.
    if (this.isLeft && frame.isIf) this.locals = new Map(frame.locals)
    const ways = [mine, other].filter((way): way is ReadonlySet<string> => way !== 'left')
    this.isLeft = ways.length === 0
    this.sure = new Set(common(ways))
    this.stack.length = frame.height
    if (frame.result) this.push({ kind: 'other' })
  }

  override br(label: Label): void {
    super.br(label)
    this.leave('status')
  }

  override brIf(label: Label): void {
    super.brIf(label)
    this.pop()
  }
}

/** What a binary instruction makes of symbols. */
function derive(name: PlainName, first: Value, second: Value): Kind {
  if (name === 'i32.add') return addKinds(first, second) ?? addKinds(second, first) ?? { kind: 'other' }
  if (first.kind === 'field' && second.kind === 'constant') {
    if (name === 'i32.shl' && second.value === 4) return { kind: 'unit', at: first.at }
    if (name === 'i32.and' && second.value === 0xf8) return { kind: 'field', at: first.at }
  }
  return { kind: 'other' }
}

function addKinds(first: Value, second: Value): Kind | undefined {
  if (first.kind === 'base' && second.kind === 'field') return { kind: 'general', at: second.at }
  if (first.kind === 'base' && second.kind === 'unit') return { kind: 'vector', at: second.at }
  if (first.kind === 'vector' || first.kind === 'lane') return { kind: 'lane', at: first.at }
  if (first.kind === 'host') return { kind: 'host', access: first.access }
  return undefined
}

const SIZES: readonly (readonly [string, number])[] = [
  ['load8', 1], ['store8', 1], ['load16', 2], ['store16', 2], ['load32', 4], ['store32', 4], ['load64', 8], ['i32.', 4], ['f32.', 4],
  ['i64.', 8], ['f64.', 8], ['v128.', 16],
]

function bytesOf(name: MemoryName): number {
  if (!(name in MEMORY)) throw new Error(`no memory instruction ${name}`)
  return SIZES.find(([part]) => name.includes(part))![1]
}
