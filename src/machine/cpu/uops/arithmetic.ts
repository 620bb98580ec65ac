/** ADD OR ADC SBB AND SUB XOR CMP TEST, INC DEC NEG NOT. */
import { RFLAGS } from '../../../x86/index.ts'
import { constant, truncate, typeOf } from '../emit/binder.ts'
import type { AddressForm, Binder, FlagKind, FlagSource, Size } from '../emit/binder.ts'
import { pushCarry, sourceFlags } from '../emit/flags.ts'
import { ARITHMETIC_FLAGS } from '../layout/flag-word.ts'
import { change, from, immediate, leaves, loads, readsFlags, updates } from './facts.ts'
import type { Effect } from './facts.ts'
import type { MicroList } from './micro.ts'

/** The two-operand operations in the order of their opcodes, and TEST. */
export const BINARY = ['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp', 'test'] as const
/** One of them. */
export type BinaryName = (typeof BINARY)[number]

const SIZES: readonly Size[] = [8, 16, 32, 64]

const PLAIN = { add: 'add', sub: 'sub', cmp: 'sub', and: 'and', test: 'and', or: 'or', xor: 'xor' } as const

/** How flags come from the operands. */
const KINDS = {
  add: 'add', or: 'logic', adc: 'adc', sbb: 'sbb', and: 'logic', sub: 'sub', xor: 'logic', cmp: 'sub', test: 'logic',
} as const satisfies Readonly<Record<BinaryName, FlagKind>>

/** Works out `result` from `left` and `right` (locals) and sets the flags. */
export function binary(b: Binder, name: BinaryName, source: Omit<FlagSource, 'kind'>): FlagSource {
  const c = b.code
  const { size, left, right, result } = source
  const type = typeOf(size)
  c.get(left)
  c.get(right)
  if (name === 'adc' || name === 'sbb') {
    const step = name === 'adc' ? 'add' : 'sub'
    c.op(`${type}.${step}`)
    pushCarry(b)
    if (size === 64) c.op('i64.extend_i32_u')
    c.op(`${type}.${step}`)
    c.set(result)
    return sourceFlags(b, { kind: name, ...source })
  }
  c.op(`${type}.${PLAIN[name]}`)
  c.set(result)
  return sourceFlags(b, { kind: KINDS[name], ...source })
}

const writes = (name: BinaryName): boolean => name !== 'cmp' && name !== 'test'

/** Runs `body` with three locals for operands and result. */
function withLocals(b: Binder, size: Size, body: (source: Omit<FlagSource, 'kind'>) => FlagSource): FlagSource {
  const type = typeOf(size)
  const [left, right, result] = [b.code.local(type), b.code.local(type), b.code.local(type)]
  const flags = body({ size, left, right, result })
  b.code.release(type, left, right, result)
  return flags
}

/** Register destination; `push` pushes the second operand. */
function toRegister(b: Binder, name: BinaryName, size: Size, push: () => void): FlagSource {
  return withLocals(b, size, (source) => {
    // The second operand first: it may be memory, and nothing is to change when it misses.
    push()
    b.code.set(source.right)
    const place = writes(name) ? b.place('destination', size) : undefined
    if (place === undefined) b.get('destination', size)
    else place.get()
    b.code.set(source.left)
    const flags = binary(b, name, source)
    place?.set(() => b.code.get(source.result))
    return flags
  })
}

/** Memory destination; `push` pushes the second operand. */
function toMemory(
  b: Binder, name: BinaryName, operand: { size: Size; form: AddressForm }, push: () => void,
): FlagSource {
  const { size, form } = operand
  return withLocals(b, size, (source) => {
    if (!writes(name)) {
      b.load(form, size)
      b.code.set(source.left)
      push()
      b.code.set(source.right)
      return binary(b, name, source)
    }
    let flags: FlagSource | undefined
    b.update(form, size, (old) => {
      push()
      b.code.set(source.right)
      flags = binary(b, name, { ...source, left: old })
      return source.result
    })
    return flags!
  })
}

/** Flags that an operation reads and sets. */
function flagsOf(name: BinaryName): Effect[] {
  const set = leaves(KINDS[name])
  return name === 'adc' || name === 'sbb' ? [readsFlags(RFLAGS.CF), set] : [set]
}

function defineBinary(list: MicroList): void {
  for (const name of BINARY) {
    const flags = flagsOf(name)
    for (const size of SIZES) {
      const first = writes(name) ? change('destination', size) : from('destination', size)
      const target = (form: AddressForm): Effect => (writes(name) ? updates(form, size) : loads(form, size))
      list.add([name, size, 'rr'], [first, from('source', size), ...flags],
        (b) => toRegister(b, name, size, () => b.get('source', size)))
      list.add([name, size, 'ri'], [first, immediate, ...flags], (b) => toRegister(b, name, size, () => b.immediate(size)))
      list.addForms({
        parts: [name, size, 'rm'], facts: (form) => [first, loads(form, size), ...flags], isShortOnlyInLoop: true,
        emit: (b, form) => toRegister(b, name, size, () => b.load(form, size)),
      }, {
        parts: [name, size, 'mr'], facts: (form) => [target(form), from('register', size), ...flags],
        emit: (b, form) => toMemory(b, name, { size, form }, () => b.get('register', size)),
      }, {
        parts: [name, size, 'mi'], facts: (form) => [target(form), immediate, ...flags],
        emit: (b, form) => toMemory(b, name, { size, form }, () => b.immediate(size)),
      })
    }
  }
}

/** INC and DEC of the local `left` into `result`. */
function step(b: Binder, name: 'inc' | 'dec', source: Omit<FlagSource, 'kind'>): FlagSource {
  const kind = name === 'inc' ? 'add' : 'sub'
  const type = typeOf(source.size)
  constant(b.code, source.size, 1)
  b.code.set(source.right)
  b.code.get(source.left)
  b.code.get(source.right)
  b.code.op(`${type}.${kind}`)
  b.code.set(source.result)
  return sourceFlags(b, { kind: name, ...source })
}

/** CF stays. */
const leavesStep = (name: 'inc' | 'dec'): Effect => leaves(name, ARITHMETIC_FLAGS & ~RFLAGS.CF)

function defineSteps(list: MicroList): void {
  for (const name of ['inc', 'dec'] as const) {
    for (const size of SIZES) {
      list.add([name, size, 'r'], [change('destination', size), leavesStep(name)], (b) =>
        withLocals(b, size, (source) => {
          const place = b.place('destination', size)
          place.get()
          b.code.set(source.left)
          const flags = step(b, name, source)
          place.set(() => b.code.get(source.result))
          return flags
        }))
      list.addForms({
        parts: [name, size, 'm'], facts: (form) => [updates(form, size), leavesStep(name)], isShortOnlyInLoop: true,
        emit: (b, form) => withLocals(b, size, (source) => {
          let flags: FlagSource | undefined
          b.update(form, size, (old) => {
            flags = step(b, name, { ...source, left: old })
            return source.result
          })
          return flags!
        }),
      })
    }
  }
}

function defineNegations(list: MicroList): void {
  for (const size of SIZES) {
    const type = typeOf(size)
    list.add(['neg', size, 'r'], [change('destination', size), leaves('sub')], (b) =>
      withLocals(b, size, (source) => {
        const place = b.place('destination', size)
        place.get()
        b.code.set(source.right)
        constant(b.code, size, 0)
        b.code.set(source.left)
        const flags = binary(b, 'sub', source)
        place.set(() => b.code.get(source.result))
        return flags
      }))
    list.add(['not', size, 'r'], [change('destination', size)], (b) => {
      const place = b.place('destination', size)
      place.set(() => {
        place.get()
        constant(b.code, size, -1)
        b.code.op(`${type}.xor`)
        truncate(b.code, size)
      })
    })
  }
}

/** Adds the family. */
export function defineArithmeticFamily(list: MicroList): void {
  defineBinary(list)
  defineSteps(list)
  defineNegations(list)
}
