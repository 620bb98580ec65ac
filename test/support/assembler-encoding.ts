/**
 * Candidate encodings of an instruction: the bytes that a row of the decode table makes of operands. Whether they say what
 * was meant is asked of the disassembler afterwards, so that this may propose too much.
 * Reference: Intel SDM volume 2, chapter 2.
 */
import { ESCAPES, MANDATORY, NAMED_NUMBERS, type NamedForm } from './assembler-names.ts'
import type { ParsedOperand } from './assembler-operands.ts'

/** What is to be encoded. */
export interface Wanted {
  readonly form: NamedForm
  /** In AT&T's order. */
  readonly operands: readonly ParsedOperand[]
  readonly prefixes: readonly string[]
  readonly address: number
  readonly codeSize: 16 | 32 | 64
}

type Memory = Extract<ParsedOperand, { kind: 'memory' | 'address' }>

const PREFIX_BYTES: Readonly<Record<string, number>> = {
  lock: 0xf0, rep: 0xf3, repz: 0xf3, repnz: 0xf2, data16: 0x66, addr32: 0x67, es: 0x26, cs: 0x2e, ss: 0x36, ds: 0x3e, fs: 0x64, gs: 0x65,
  bnd: 0xf2, notrack: 0x3e, xacquire: 0xf2, xrelease: 0xf3,
}
const OLD_BYTES = ['al', 'cl', 'dl', 'bl', 'ah', 'ch', 'dh', 'bh']
const NAMES = ['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di']
const SHORT_BASES: Readonly<Record<string, number>> = { 'bx,si': 0, 'bx,di': 1, 'bp,si': 2, 'bp,di': 3, 'si,': 4, 'di,': 5, 'bp,': 6, 'bx,': 7 }
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs']

/** A register's number and what its name demands of REX. */
function registerOf(name: string): { readonly number: number; readonly rex: boolean; readonly noRex: boolean; readonly bits: number } | undefined {
  const plain = { rex: false, noRex: false }
  const numbered = /^r(\d+)([dwb]?)$/.exec(name)
  if (numbered !== null) return { number: Number(numbered[1]), ...plain, bits: { '': 64, d: 32, w: 16, b: 8 }[numbered[2] as '' | 'd' | 'w' | 'b'] }
  const indexed = /^(?:xmm|mm|cr|db|dr|st\()(\d+)\)?$/.exec(name)
  if (indexed !== null) return { number: Number(indexed[1]), ...plain, bits: 0 }
  if (name === 'st') return { number: 0, ...plain, bits: 0 }
  if (SEGMENTS.includes(name)) return { number: SEGMENTS.indexOf(name), ...plain, bits: 16 }
  const byte = OLD_BYTES.indexOf(name)
  if (byte >= 0) return { number: byte, rex: false, noRex: byte >= 4, bits: 8 }
  const wide = NAMES.findIndex((word) => name === word || name === `e${word}` || name === `r${word}`)
  if (wide >= 0) return { number: wide, ...plain, bits: name.startsWith('r') ? 64 : name.startsWith('e') ? 32 : 16 }
  const low = ['spl', 'bpl', 'sil', 'dil'].indexOf(name)
  return low < 0 ? undefined : { number: low + 4, rex: true, noRex: false, bits: 8 }
}

const bytesOf = (value: bigint, count: number): number[] =>
  Array.from({ length: count }, (_, at) => Number((BigInt.asUintN(64, value) >> BigInt(8 * at)) & 255n))

const isSigned = (value: bigint, bits: number): boolean => value >= -(1n << BigInt(bits - 1)) && value < 1n << BigInt(bits - 1)

/** ModRM's place with what follows it, REX bits, and whether the address size is another one. */
interface Place {
  readonly modrm: number
  readonly rest: readonly number[]
  readonly rex: number
  readonly addressBits: number
  /** The displacement counts from the instruction's end. */
  readonly relative: bigint | undefined
}

function shortPlaces(memory: Memory): Place[] {
  const common = { rex: 0, addressBits: 16, relative: undefined }
  if (memory.kind === 'address') return [{ ...common, modrm: 6, rest: bytesOf(memory.value, 2) }]
  const rm = SHORT_BASES[`${memory.base ?? ''},${memory.index ?? ''}`] ?? SHORT_BASES[`${memory.index ?? ''},${memory.base ?? ''}`]
  if (rm === undefined) return []
  const { displacement } = memory
  return [
    ...(displacement === 0n && rm !== 6 ? [{ ...common, modrm: rm, rest: [] }] : []),
    ...(isSigned(displacement, 8) ? [{ ...common, modrm: 0x40 | rm, rest: bytesOf(displacement, 1) }] : []),
    { ...common, modrm: 0x80 | rm, rest: bytesOf(displacement, 2) },
  ]
}

/** Ways to encode a memory operand. */
function placesOf(memory: Memory, codeSize: number): Place[] {
  if (memory.kind === 'address') {
    const absolute = { rest: bytesOf(memory.value, 4), rex: 0, relative: undefined }
    return codeSize === 64 ? [{ ...absolute, modrm: 4, rest: [0x25, ...absolute.rest], addressBits: 64 }]
      : [{ ...absolute, modrm: 5, addressBits: 32 }, ...shortPlaces(memory)]
  }
  const { base, index, scale, displacement } = memory
  if (base === 'rip' || base === 'eip') {
    return [{ modrm: 5, rest: [], rex: 0, addressBits: base === 'rip' ? 64 : 32, relative: displacement }]
  }
  const baseRegister = base === undefined ? undefined : registerOf(base)
  const indexRegister = index === undefined || /^[er]iz$/.test(index) ? undefined : registerOf(index)
  const bits = baseRegister?.bits ?? indexRegister?.bits ?? (index?.startsWith('e') === true ? 32 : 64)
  if (bits === 16) return shortPlaces(memory)
  const rex = ((baseRegister?.number ?? 0) >> 3) | (((indexRegister?.number ?? 0) >> 3) << 1)
  const common = { rex, addressBits: bits, relative: undefined }
  const log = Math.log2(scale)
  const sib = (log << 6) | (((indexRegister?.number ?? 4) & 7) << 3) | ((baseRegister?.number ?? 5) & 7)
  if (baseRegister === undefined) return [{ ...common, modrm: 4, rest: [sib, ...bytesOf(displacement, 4)] }]
  const low = baseRegister.number & 7
  const forms: { rm: number; head: number[] }[] = [
    ...(index === undefined && low !== 4 ? [{ rm: low, head: [] }] : []), { rm: 4, head: [sib] },
  ]
  return forms.flatMap(({ rm, head }) => [
    ...(displacement === 0n && low !== 5 ? [{ ...common, modrm: rm, rest: head }] : []),
    ...(isSigned(displacement, 8) ? [{ ...common, modrm: 0x40 | rm, rest: [...head, ...bytesOf(displacement, 1)] }] : []),
    { ...common, modrm: 0x80 | rm, rest: [...head, ...bytesOf(displacement, 4)] },
  ])
}

/** The instruction while operand by operand is put into it. */
interface Draft {
  opcode: number
  reg: number
  place: Place | undefined
  rex: number
  needsRex: boolean
  forbidsRex: boolean
  immediates: number[]
  /** Bytes of a displacement that counts from the instruction's end, and where it leads. */
  branch: { readonly size: number; readonly target: bigint } | undefined
  segment: string | undefined
  addressBits: number | undefined
}

const copy = (draft: Draft): Draft => ({ ...draft, immediates: [...draft.immediates] })

function putRegister(draft: Draft, letter: string, name: string): boolean {
  const register = registerOf(name)
  if (register === undefined) return false
  const { number } = register
  draft.needsRex ||= register.rex
  draft.forbidsRex ||= register.noRex
  if ('GVPSCD'.includes(letter)) {
    draft.reg = number & 7
    draft.rex |= (number >> 3) << 2
  } else if (letter === 'Z') {
    if ((draft.opcode & 7) !== (number & 7)) return false
    draft.rex |= number >> 3
  } else {
    draft.place = { modrm: 0xc0 | (number & 7), rest: [], rex: number >> 3, addressBits: 0, relative: undefined }
  }
  return true
}

function immediateBytes(code: string, size: NamedForm['size'], codeSize: number): number {
  const usual = codeSize === 16 ? 2 : 4
  const operand = size === 'wide' ? 8 : size === 'other' ? 6 - usual : usual
  switch (code) {
    case 'Ib': case 'Ibs': return 1
    case 'Iw': return 2
    case 'Iv': return operand
    default: return Math.min(operand, 4)
  }
}

/** Puts one operand in all ways in which it can be. */
function put(draft: Draft, code: string, operand: ParsedOperand | undefined, { form, codeSize }: Wanted): Draft[] {
  const letter = /^[A-Z]/.test(code) ? code[0]! : ''
  const next = copy(draft)
  if (operand === undefined) return [next]
  if (operand.kind === 'register') {
    if (letter === '') {
      if (code === 'sti') next.place = { modrm: 0xc0 | registerOf(operand.name)!.number, rest: [], rex: 0, addressBits: 0, relative: undefined }
      return [next]
    }
    return 'EGRZVWUPQNSCDM'.includes(letter) && putRegister(next, letter, operand.name) ? [next] : []
  }
  if (operand.kind === 'immediate') {
    if (letter === 'I') next.immediates.push(...bytesOf(operand.value, immediateBytes(code, form.size, codeSize)))
    return [next]
  }
  next.segment = operand.segment
  if (letter === 'J' && operand.kind === 'address') {
    const narrow = form.size === 'other' ? codeSize !== 16 : codeSize === 16
    next.branch = { size: code === 'Jb' ? 1 : narrow && form.row.width !== 'f64' ? 2 : 4, target: operand.value }
    return [next]
  }
  if (letter === 'O' && operand.kind === 'address') {
    return [codeSize / 8, 4, 2].map((size) => {
      const each = copy(next)
      each.immediates.push(...bytesOf(operand.value, size))
      each.addressBits = size * 8
      return each
    })
  }
  if (letter === 'X' || letter === 'Y') {
    if (operand.kind === 'memory' && operand.base !== undefined) next.addressBits = registerOf(operand.base)?.bits
    if (letter === 'Y' || operand.segment === 'ds') next.segment = draft.segment
    return [next]
  }
  return placesOf(operand, codeSize).map((place) => ({ ...copy(next), place, addressBits: place.addressBits }))
}

/** All bytes but those that count from the instruction's end, and those. */
function finish(draft: Draft, { form, prefixes, address, codeSize }: Wanted): Uint8Array[] {
  const { row, size } = form
  const { place, immediates, branch } = draft
  if (draft.forbidsRex && (draft.needsRex || draft.rex !== 0 || size === 'wide')) return []
  const rexBits = draft.rex | (place?.rex ?? 0) | (size === 'wide' ? 8 : 0)
  if (codeSize !== 64 && (rexBits !== 0 || draft.needsRex)) return []
  const written = prefixes.map((word) => PREFIX_BYTES[word]!)
  const isOther = form.otherAddress || (draft.addressBits !== undefined && draft.addressBits !== 0 && draft.addressBits !== codeSize)
  const head = [
    ...(draft.segment === undefined ? [] : [PREFIX_BYTES[draft.segment]!]), ...(size === 'other' ? [0x66] : []), ...(isOther ? [0x67] : []),
    ...written, ...(row.prefix === undefined ? [] : MANDATORY[row.prefix]), ...(rexBits !== 0 || draft.needsRex ? [0x40 | rexBits] : []),
    ...ESCAPES[row.map], draft.opcode,
  ]
  if (row.modrm) {
    const rm = place ?? { modrm: row.mod === 'm' ? 0 : 0xc0, rest: [], relative: undefined }
    head.push(row.exact ?? ((rm.modrm & 0xc7) | (((row.reg ?? draft.reg) & 7) << 3)), ...rm.rest)
  }
  const relative = place?.relative
  const length = head.length + (relative === undefined ? 0 : 4) + immediates.length + (branch?.size ?? 0)
  if (relative !== undefined) {
    // A number is the displacement itself; a label was turned into an address, which is what the second one tries.
    const variants = [relative, relative - BigInt(address + length)]
    return variants.map((value) => Uint8Array.from([...head, ...bytesOf(value, 4), ...immediates]))
  }
  const distance = branch === undefined ? [] : bytesOf(branch.target - BigInt(address + length), branch.size)
  return [Uint8Array.from([...head, ...distance, ...immediates])]
}

/** Operands in the manual's order, as far as the row shows them. */
function arranged({ form: { row }, operands }: Wanted): (readonly (ParsedOperand | undefined)[])[] {
  const codes = row.operands
  const orders = [[...operands].reverse(), [...operands]]
  return orders.flatMap((order) => {
    if (order.length === codes.length) return [order]
    if (order.length === 0) return [codes.map(() => undefined)]
    // What a listing leaves out: the number 1, the top of the stack; what it adds: registers that are implied.
    if (order.length > codes.length) return [order.slice(order.length - codes.length), order.slice(0, codes.length)]
    const hidden = (code: string): boolean => code === '1' || code === 'st' || /^I/.test(code)
    const shown = codes.filter((code) => !hidden(code))
    if (shown.length !== order.length) return []
    let at = 0
    return [codes.map((code) => (hidden(code) ? undefined : order[at++]))]
  })
}

/** A branch to selector and offset, which follow the opcode. */
function farPointer({ form, operands, codeSize }: Wanted): Uint8Array[] {
  const [selector, offset] = operands
  if (selector?.kind !== 'immediate' || offset?.kind !== 'immediate') return []
  const other = form.size === 'other' ? [0x66] : []
  const size = (form.size === 'other') === (codeSize === 16) ? 4 : 2
  return [Uint8Array.from([...other, form.opcode, ...bytesOf(offset.value, size), ...bytesOf(selector.value, 2)])]
}

/** Candidate encodings. */
export function encodings(wanted: Wanted): Uint8Array[] {
  const { form: { row, opcode } } = wanted
  if (row.operands[0] === 'Ap') return farPointer(wanted)
  const empty: Draft = {
    opcode, reg: 0, place: undefined, rex: 0, needsRex: false, forbidsRex: false, immediates: [], branch: undefined, segment: undefined,
    addressBits: undefined,
  }
  return arranged(wanted).flatMap((operands) => {
    let drafts = [empty]
    row.operands.forEach((text, at) => {
      const operand = operands[at]
      const isRegister = operand?.kind === 'register'
      const parts = text.split('/')
      const code = isRegister || parts.length === 1 ? parts[0]! : parts[1]!
      drafts = drafts.flatMap((draft) => {
        if (operand !== undefined || !/^I/.test(code)) return put(draft, code, operand, wanted)
        return NAMED_NUMBERS.map((number) => ({ ...copy(draft), immediates: [...draft.immediates, number] }))
      })
    })
    return drafts.flatMap((draft) => finish(draft, wanted))
  })
}
