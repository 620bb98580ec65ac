/** Operands of AT&T's language as values, and whether two of them mean the same. */
import type { Disassembled } from '../../src/machine/index.ts'

/** One operand. */
export type ParsedOperand =
  | { readonly kind: 'register'; readonly name: string }
  | { readonly kind: 'immediate'; readonly value: bigint }
  /** A target, or memory at an address alone: which of them the instruction tells. */
  | { readonly kind: 'address'; readonly value: bigint; readonly indirect: boolean; readonly segment: string | undefined }
  | {
    readonly kind: 'memory'; readonly indirect: boolean; readonly segment: string | undefined; readonly displacement: bigint
    readonly base: string | undefined; readonly index: string | undefined; readonly scale: number
    /** What stands before `(%rip)` is a label. */
    readonly isLabel: boolean
  }

/** Splits at the commas that are not between parentheses. */
export function splitOperands(text: string): string[] {
  if (text.trim() === '') return []
  const parts: string[] = []
  let depth = 0
  let start = 0
  for (let at = 0; at < text.length; at += 1) {
    if (text[at] === '(') depth += 1
    else if (text[at] === ')') depth -= 1
    else if (text[at] === ',' && depth === 0) {
      parts.push(text.slice(start, at).trim())
      start = at + 1
    }
  }
  return [...parts, text.slice(start).trim()]
}

const NUMBER = /^[+-]?(?:0x[0-9a-f]+|\d+)$/i

function numberOf(text: string, resolve: (word: string) => number | undefined): bigint {
  const label = resolve(text)
  if (label !== undefined) return BigInt(label)
  if (!NUMBER.test(text)) {
    const sum = /^([\w.]+?)([+-](?:0x[0-9a-f]+|\d+))$/i.exec(text)
    const base = sum === null ? undefined : resolve(sum[1]!)
    if (base !== undefined) return BigInt(base) + numberOf(sum![2]!, resolve)
    throw new Error(`neither a number nor a label: ${text}`)
  }
  return text.startsWith('-') ? -BigInt(text.slice(1)) : BigInt(text.replace(/^\+/, ''))
}

/** Takes an operand apart. `resolve` knows the labels. */
export function parseOperand(given: string, resolve: (word: string) => number | undefined): ParsedOperand {
  const indirect = given.startsWith('*')
  let text = indirect ? given.slice(1).trim() : given
  if (text.startsWith('$')) return { kind: 'immediate', value: numberOf(text.slice(1), resolve) }
  const segmented = /^%([cdefgs]s):(.*)$/.exec(text)
  const segment = segmented?.[1]
  if (segmented !== null) text = segmented[2]!
  if (segment === undefined && text.startsWith('%')) return { kind: 'register', name: text.slice(1).replace(/^dr(?=\d)/, 'db') }
  // The port of IN and OUT is a register, however it is written.
  if (text === '(%dx)') return { kind: 'register', name: 'dx' }
  const address = /^([^(]*)\(([^)]*)\)$/.exec(text)
  if (address === null) return { kind: 'address', value: numberOf(text, resolve), indirect, segment }
  const [, front, inner] = address as unknown as [string, string, string]
  const [base = '', index = '', scale = '1'] = inner.split(',').map((part) => part.trim())
  const name = (word: string): string | undefined => (word === '' ? undefined : word.replace(/^%/, ''))
  return {
    kind: 'memory', indirect, segment, displacement: front === '' ? 0n : numberOf(front, resolve), base: name(base),
    index: name(index), scale: Number(scale), isLabel: front !== '' && !NUMBER.test(front),
  }
}

/** An index register that says that there is none. */
const isZero = (name: string | undefined): boolean => name === undefined || name === 'riz' || name === 'eiz'

/** Whether a disassembled operand is what was asked for; numbers count as far as the operand's size goes. */
export function sameOperand(
  found: ParsedOperand, wanted: ParsedOperand, { found: one, place }: { found: Disassembled; place: { address: number; codeSize: number } },
): boolean {
  if (found.kind !== wanted.kind) return false
  if (found.kind === 'register') return found.name === (wanted as typeof found).name
  if (found.kind === 'immediate') {
    const sizes = one.operands.flatMap((operand) => (operand.kind === 'immediate' && BigInt.asUintN(64, operand.value) === found.value ? [operand.size] : []))
    const { value } = wanted as typeof found
    return found.value === value || sizes.some((size) => fits(value, size === 0 ? 64 : size) && BigInt.asUintN(size === 0 ? 64 : size, value) === found.value)
  }
  if (found.kind === 'address') {
    const other = wanted as typeof found
    return found.indirect === other.indirect && found.segment === other.segment
      && BigInt.asUintN(place.codeSize, found.value) === BigInt.asUintN(place.codeSize, other.value)
  }
  const other = wanted as typeof found
  const displacement = other.isLabel && /^[re]ip$/.test(other.base ?? '')
    ? other.displacement - BigInt(place.address + one.length) : other.displacement
  return found.indirect === other.indirect && (found.segment ?? '') === (other.segment ?? '') && found.base === other.base
    && (found.index === other.index || (isZero(found.index) && isZero(other.index) && other.index === undefined && found.index === undefined))
    && (isZero(found.index) || found.scale === other.scale) && found.displacement === displacement
}

/** Whether a number can stand in so many bits, signed or not. */
const fits = (value: bigint, bits: number): boolean => value >= -(1n << BigInt(bits - 1)) && value < 1n << BigInt(bits)
