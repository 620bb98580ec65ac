/**
 * Facts about a micro-operation as data: what it reads and writes, how it gets at memory, how it ends. They are declared
 * beside the function that emits it, put together from the small parts below, and hold for every binder.
 *
 * Not here: what binders need for themselves (budget of a slice, translations). Where a handler or a function of the
 * runtime does the work, `handler` or `ends` says so, and it may touch anything besides what is declared.
 */
import { GPR, RFLAGS } from '../../../x86/index.ts'
import type { AddressForm, FlagKind, RegisterField, Size } from '../emit/binder.ts'
import type { Condition } from '../../../x86/index.ts'
import { ARITHMETIC_FLAGS } from '../layout/flag-word.ts'
import { RECORD } from '../layout/record.ts'
import type { SmallField } from '../layout/record.ts'
import { SLOT } from '../layout/state.ts'

/** Fields of a record. */
export type RecordField = SmallField | 'ip' | 'displacement' | 'immediate'

/** Bit of a field in a set of fields: names of one place, in different shapes, are the same. */
export const fieldBit = (name: RecordField): number => 1 << RECORD[name]

/**
 * Parts of a processor's state beside slots and arithmetic flags, as bits; of segment registers the selectors. `vectors` and
 * `uppers` are all lower and all upper halves of the vector registers.
 */
export const UNIT = {
  rip: 1, host: 2, systemFlags: 4, stackMask: 8, mxcsr: 16, x87Status: 32, x87Tags: 64, xmm0: 128,
  es: 256, cs: 512, ss: 1024, ds: 2048, fs: 4096, gs: 8192, uppers: 1 << 14, vectors: 1 << 15,
} as const

/** Bit of a slot in a set of slots: each of the 8-byte places at the start of the state is one. */
export const slotBit = (slot: number): number => (1 << (slot >> 3)) >>> 0

/** A register that a field of the record names: some of its bytes are read or written. */
export interface OperandFact {
  readonly field: RegisterField
  readonly file: 'general' | 'vector'
  readonly use: 'read' | 'write'
  /** First byte, and how many; of one lane that the record picks, all sixteen. */
  readonly from: number
  readonly bytes: number
  /** Written only in some cases. */
  readonly sometimes: boolean
}

/**
 * How memory is used: `prepare` reads and makes sure that a later `finish` can write the same place; the two probes only
 * look for faults.
 */
export type MemoryUse = 'read' | 'write' | 'update' | 'prepare' | 'finish' | 'probe-read' | 'probe-write'

/** An access to the guest's memory. */
export interface MemoryAccess {
  /** The address: the record's, the stack pointer, that of a `prepare`, or rSI and rDI. */
  readonly through: 'operand' | 'stack' | 'prepared' | 'string'
  readonly use: MemoryUse
  /** Bytes; 0 where the record tells them. */
  readonly bytes: number
  /** What the address has to be a multiple of. */
  readonly align: number
}

/**
 * How it ends: goes on with the next record; goes on at the record's branch target, always or perhaps; at an address it
 * worked out; as its handler's status says; half-way when a repetition has used up the budget; behind the block.
 */
export type End = 'next' | 'branch' | 'conditional' | 'jump' | 'handler' | 'repeat' | 'end'

/** What a micro-operation costs beyond the instruction that it belongs to. */
export type Price = 'none' | 'handler' | 'repetition'

/** The facts. Sets are bits: of fields ({@link fieldBit}), of slots ({@link slotBit}), of UNIT, of RFLAGS. */
export interface MicroFacts {
  /** Fields of the record. */
  readonly fields: number
  readonly operands: readonly OperandFact[]
  /** Slots that it knows by number; `overwritten`: their old value is gone in every case. */
  readonly read: number
  readonly written: number
  readonly overwritten: number
  /** Units of the state. */
  readonly unitsRead: number
  readonly unitsWritten: number
  /** Arithmetic flags: read (carry-in, conditions), perhaps changed, set anew in every case. */
  readonly flagsRead: number
  readonly flagsWritten: number
  readonly flagsOverwritten: number
  /** What it leaves of its operands for a condition that follows. */
  readonly flagSource: FlagKind | undefined
  /** The condition that it depends on. */
  readonly condition: Condition | undefined
  /** Form of the address that the record holds. */
  readonly address: 0 | AddressForm
  readonly memory: readonly MemoryAccess[]
  readonly ends: End
  /** Whether it calls the record's TypeScript handler: perhaps where generated code gives up. */
  readonly handler: 'never' | 'perhaps' | 'always'
  /** Raises an exception by itself, besides those of memory accesses. */
  readonly raises: boolean
  readonly price: Price
  /** Width of what it does on the stack or with code addresses, where it has one. */
  readonly width: 16 | 32 | 64 | undefined
}

/** A part of the facts, or several. */
export type Effect = Partial<MicroFacts> | readonly Effect[]

const NONE: MicroFacts = {
  fields: 0, operands: [], read: 0, written: 0, overwritten: 0, unitsRead: 0, unitsWritten: 0,
  flagsRead: 0, flagsWritten: 0, flagsOverwritten: 0, flagSource: undefined, condition: undefined,
  address: 0, memory: [], ends: 'next', handler: 'never', raises: false, price: 'none', width: undefined,
}

type Facts = { -readonly [K in keyof MicroFacts]: MicroFacts[K] } & { operands: OperandFact[]; memory: MemoryAccess[] }

const SETS = [
  'fields', 'read', 'written', 'overwritten', 'unitsRead', 'unitsWritten', 'flagsRead', 'flagsWritten', 'flagsOverwritten',
] as const
const isSet: ReadonlySet<string> = /* @__PURE__ */ new Set(SETS)

const isSeveral = (part: Effect): part is readonly Effect[] => Array.isArray(part)

/** Adds a part; of what is no set, the last one counts. Goes by what the part has. */
function addTo(sum: Facts, part: Effect): void {
  if (isSeveral(part)) {
    for (const one of part) addTo(sum, one)
    return
  }
  for (const key of Object.keys(part) as (keyof MicroFacts)[]) {
    if (isSet.has(key)) sum[key as (typeof SETS)[number]] |= part[key as (typeof SETS)[number]]!
    else if (key === 'operands') sum.operands.push(...part.operands!)
    else if (key === 'memory') sum.memory.push(...part.memory!)
    else Object.assign(sum, { [key]: part[key] })
  }
}

/** Puts parts together to a larger part. */
export const all = (...parts: readonly Effect[]): Effect => parts

/** The facts that parts come to. */
export function factsOf(...parts: readonly Effect[]): MicroFacts {
  const sum: Facts = { ...NONE, operands: [], memory: [] }
  addTo(sum, parts)
  return sum
}

/**
 * What of the facts decides where a micro-operation stands. All of them are asked for it while a first machine starts, when
 * summing up all facts of all would take longer than everything else about the table.
 */
export interface Outline {
  readonly ends: End
  readonly width: MicroFacts['width']
  readonly usesStack: boolean
}

/** The outline of the facts that parts come to. */
export function outlineOf(...parts: readonly Effect[]): Outline {
  const sum = { ends: NONE.ends, width: NONE.width, usesStack: false }
  outline(sum, parts)
  return sum
}

function outline(sum: { -readonly [K in keyof Outline]: Outline[K] }, part: Effect): void {
  if (isSeveral(part)) {
    for (const one of part) outline(sum, one)
    return
  }
  if (part.ends !== undefined) sum.ends = part.ends
  if (part.width !== undefined) sum.width = part.width
  if (part.memory === undefined) return
  for (const { through } of part.memory) if (through === 'stack') sum.usesStack = true
}

/** What happens only in some cases: nothing is surely overwritten. */
export function sometimes(...parts: readonly Effect[]): Effect {
  const { fields, operands, read, written, flagsRead, flagsWritten } = factsOf(...parts)
  return {
    fields, read, written, flagsRead, flagsWritten,
    operands: operands.map((operand) => ({ ...operand, sometimes: operand.use === 'write' })),
  }
}

/** Bytes that a write to a general register of a size stores: 32 bits clear the upper half. */
const stored = (size: Size): number => (size >= 32 ? 8 : size / 8)

const operand = (field: RegisterField, { file, use, from: first, bytes }: Omit<OperandFact, 'field' | 'sometimes'>): Effect =>
  ({ fields: fieldBit(field), operands: [{ field, file, use, from: first, bytes, sometimes: false }] })

/** Reads the general register that a field names. */
export const from = (field: RegisterField, size: Size): Effect =>
  operand(field, { file: 'general', use: 'read', from: 0, bytes: size / 8 })

/** Writes it. */
export const into = (field: RegisterField, size: Size): Effect =>
  operand(field, { file: 'general', use: 'write', from: 0, bytes: stored(size) })

/** Reads and writes it. */
export const change = (field: RegisterField, size: Size): Effect => all(from(field, size), into(field, size))

/** Bytes of a vector register. */
interface Bytes {
  readonly from?: number
  readonly bytes?: number
}

/** Reads the vector register that a field names. */
export const fromVector = (field: RegisterField, part: Bytes = {}): Effect =>
  operand(field, { file: 'vector', use: 'read', from: part.from ?? 0, bytes: part.bytes ?? 16 })

/** Writes it. */
export const intoVector = (field: RegisterField, part: Bytes = {}): Effect =>
  operand(field, { file: 'vector', use: 'write', from: part.from ?? 0, bytes: part.bytes ?? 16 })

/** Writes one lane of it, which the record picks: some of its bytes. */
export const intoLane = (field: RegisterField): Effect => sometimes(intoVector(field))

/** Reads and writes it. */
export const changeVector = (field: RegisterField): Effect => all(fromVector(field), intoVector(field))

/** Reads a slot known by number. */
export const fromSlot = (slot: number): Effect => ({ read: slotBit(slot) })

/** Writes a slot known by number; less than 32 bits leave the rest of it. */
export const intoSlot = (slot: number, size: Size = 64): Effect =>
  ({ written: slotBit(slot), overwritten: size >= 32 ? slotBit(slot) : 0 })

/** Reads a general register known by number. */
export const fromRegister = (register: number): Effect => fromSlot(register * 8)

/** Writes a general register known by number. */
export const intoRegister = (register: number, size: Size): Effect => intoSlot(register * 8, size)

/** Reads and writes a general register known by number. */
export const changeRegister = (register: number, size: Size): Effect =>
  all(fromRegister(register), intoRegister(register, size))

/** Reads a field of the record as a number. */
export const field = (name: RecordField): Effect => ({ fields: fieldBit(name) })

/** Reads the immediate. */
export const immediate: Effect = /* @__PURE__ */ field('immediate')

/** Reads units of the state. */
export const fromUnit = (...names: readonly (keyof typeof UNIT)[]): Effect =>
  ({ unitsRead: names.reduce((set, name) => set | UNIT[name], 0) })

/** Writes units of the state. */
export const intoUnit = (...names: readonly (keyof typeof UNIT)[]): Effect =>
  ({ unitsWritten: names.reduce((set, name) => set | UNIT[name], 0) })

/** Depends on flags. */
export const readsFlags = (flags: number): Effect => ({ flagsRead: flags })

/** Sets flags anew. */
export const setsFlags = (flags: number = ARITHMETIC_FLAGS): Effect => ({ flagsWritten: flags, flagsOverwritten: flags })

/** Sets all flags, and what it worked them out from serves a condition behind it. */
export const leaves = (kind: FlagKind, flags: number = ARITHMETIC_FLAGS): Effect =>
  all(setsFlags(flags), { flagSource: kind })

const CONDITION_FLAGS: Readonly<Record<string, number>> = {
  o: RFLAGS.OF, b: RFLAGS.CF, e: RFLAGS.ZF, be: RFLAGS.CF | RFLAGS.ZF, s: RFLAGS.SF, p: RFLAGS.PF,
  l: RFLAGS.SF | RFLAGS.OF, le: RFLAGS.SF | RFLAGS.OF | RFLAGS.ZF,
}
const OPPOSITE: Readonly<Record<string, string>> =
  { no: 'o', ae: 'b', ne: 'e', a: 'be', ns: 's', np: 'p', ge: 'l', g: 'le' }

/** Depends on a condition. */
export const on = (condition: Condition): Effect =>
  ({ condition, flagsRead: CONDITION_FLAGS[OPPOSITE[condition] ?? condition]! })

/** Works out the address that the record holds. */
export const addresses = (form: AddressForm): Effect =>
  all(from('base', 64), field('displacement'), form === 2 ? [from('index', 64), field('scale')] : [], { address: form })

/** One access to memory. */
const access = (through: MemoryAccess['through'], use: MemoryUse, size: { bytes: number; align?: number }): Effect =>
  ({ memory: [{ through, use, bytes: size.bytes, align: size.align ?? 1 }] })

/** Uses memory at the record's address. */
export const memory = (form: AddressForm, use: MemoryUse, size: { bytes: number; align?: number }): Effect =>
  all(addresses(form), access('operand', use, size))

/** Reads memory at the record's address. */
export const loads = (form: AddressForm, size: Size): Effect => memory(form, 'read', { bytes: size / 8 })

/** Writes memory at the record's address. */
export const stores = (form: AddressForm, size: Size): Effect => memory(form, 'write', { bytes: size / 8 })

/** Reads memory at the record's address and writes it back. */
export const updates = (form: AddressForm, size: Size): Effect => memory(form, 'update', { bytes: size / 8 })

/** Finishes what a `prepare` began. */
export const finishes = (size: Size): Effect => all(access('prepared', 'finish', { bytes: size / 8 }), fromUnit('host'))

/** Uses the stack, at the stack pointer or what stands for it; moves nothing. */
export const stack = (use: MemoryUse, size: Size, pointer: number = GPR.rsp): Effect =>
  all(access('stack', use, { bytes: size / 8 }), fromRegister(pointer))

/** Moves the stack pointer. */
export const movesStack: Effect = /* @__PURE__ */ changeRegister(GPR.rsp, 32)

/** Pushes a value. */
export const pushes = (size: 16 | 32 | 64): Effect => all(stack('write', size), movesStack, { width: size })

/** Pops one. */
export const pops = (size: 16 | 32 | 64): Effect => all(stack('read', size), movesStack, { width: size })

/** Works out its own address, or that of the next instruction. */
export const codeAddress: Effect = /* @__PURE__ */ all(/* @__PURE__ */ field('ip'), /* @__PURE__ */ fromSlot(SLOT.page))

const leadsOn: Effect = /* @__PURE__ */ all(codeAddress, /* @__PURE__ */ field('displacement'), immediate, /* @__PURE__ */ intoUnit('rip'))

/** Ends the block at the record's branch target; the immediate is the block there, once known. */
export const branches: Effect = /* @__PURE__ */ all(leadsOn, { ends: 'branch' })

/** Leaves the block for it in its middle; the field tells how many instructions are not executed then. */
export const branchesOn: Effect = /* @__PURE__ */ all(leadsOn, /* @__PURE__ */ field('behind'), { ends: 'conditional' })

/** Ends the block behind its last instruction. */
export const endsBlock: Effect = /* @__PURE__ */ all(leadsOn, { ends: 'end' })

/** Ends the block at an address that it worked out. */
export const jumps: Effect = /* @__PURE__ */ all(/* @__PURE__ */ intoUnit('rip'), { ends: 'jump' })

/** Does it all by the record's handler. */
export const byHandler: Effect = /* @__PURE__ */ all(immediate, { handler: 'always', ends: 'handler', price: 'handler' })

/** Leaves it to the record's handler where generated code gives up. */
export const perhapsByHandler: Effect = /* @__PURE__ */ all(immediate, { handler: 'perhaps', price: 'handler' })

/** Raises an exception by itself. */
export const raises: Effect = { raises: true }

/** True when it works on the stack. */
export const usesStack = (facts: MicroFacts): boolean => facts.memory.some(({ through }) => through === 'stack')

/** The access at the record's address. */
export const operandAccess = (facts: MicroFacts): MemoryAccess | undefined =>
  facts.memory.find(({ through }) => through === 'operand')

/** True when an access, or the check that stands for one, is for writing. */
export const isWrite = ({ use }: MemoryAccess): boolean => use !== 'read' && use !== 'probe-read'

/**
 * The same where segments are not flat: stack and code addresses are offsets, to which bases are added, and the stack
 * pointer is as wide as SS.B says.
 */
export function inSegments(facts: MicroFacts): MicroFacts {
  // Each element of a string is looked at; the displacement names the source's segment.
  const source: Effect = facts.operands.length > 0 ? field('displacement') : []
  if (facts.ends === 'repeat') return factsOf(facts, source, raises)
  const hasTarget = facts.ends === 'branch' || facts.ends === 'conditional'
  return factsOf(
    // Outside of the loop no branch is linked to its block.
    hasTarget ? { ...facts, fields: facts.fields & ~fieldBit('immediate') } : facts,
    usesStack(facts) ? all(fromSlot(SLOT.ss), fromUnit('stackMask'), raises) : {},
    (facts.written & slotBit(GPR.rsp * 8)) === 0 ? {} : fromRegister(GPR.rsp),
    hasTarget ? all(field('isShort'), fromSlot(SLOT.cs), raises) : {},
    facts.ends === 'jump' || (facts.fields & fieldBit('ip')) !== 0 ? all(fromSlot(SLOT.cs), raises) : {},
  )
}
