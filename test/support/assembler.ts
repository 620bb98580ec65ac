/**
 * A small assembler for listings in tests: the disassembler's other half. It takes AT&T's language as the disassembler
 * and objdump print it, with labels, and encodes by the rows of the decode table. Every candidate encoding is
 * disassembled and must say what was asked for; the shortest wins, the first one among equals, which is what GNU as takes.
 *
 *   assemble(`
 *       mov $10,%ecx
 *       xor %eax,%eax
 *   1:  add %ecx,%eax
 *       dec %ecx
 *       jne 1b
 *   `)
 *
 * Lines end with a line end or `;`. A label is a name or a number (`1b` the last one, `1f` the next); it may stand where an
 * address stands: as target, as immediate (`$name`), before `(%rip)`; `.` is the line's own. Data: `.byte`, `.word`, `.long`, `.quad`, `.skip`.
 * Reference: GNU as manual, "i386-Dependent"; the encoding is in the decode table.
 */
import { disassembler, namesOf, type NamedForm } from './assembler-names.ts'
import { encodings, type Wanted } from './assembler-encoding.ts'
import { parseOperand, sameOperand, splitOperands, type ParsedOperand } from './assembler-operands.ts'

/** Where a listing goes. */
export interface AssemblyOptions {
  /** Address of the first byte. Default 0. */
  readonly origin?: number
  /** Size of the code segment. Default 64. */
  readonly codeSize?: 16 | 32 | 64
}

/** What came of a listing. */
export interface Assembly {
  readonly bytes: Uint8Array
  /** Addresses of the labels that are names. */
  readonly labels: ReadonlyMap<string, number>
}

interface Line {
  readonly text: string
  readonly labels: readonly string[]
}

const PREFIXES = new Set(['lock', 'rep', 'repz', 'repnz', 'data16', 'addr32', 'es', 'cs', 'ss', 'ds', 'fs', 'gs', 'bnd', 'notrack', 'xacquire', 'xrelease'])
const OTHER_WORDS: Readonly<Record<string, string>> = {
  repe: 'repz', repne: 'repnz', jz: 'je', jnz: 'jne', jc: 'jb', jnc: 'jae', jnae: 'jb', jna: 'jbe', jnbe: 'ja', jnl: 'jge', jnge: 'jl',
  jnle: 'jg', jng: 'jle', setz: 'sete', setnz: 'setne', setc: 'setb', setnc: 'setae', cmovz: 'cmove', cmovnz: 'cmovne', cmovc: 'cmovb',
  cmovnc: 'cmovae', retq: 'ret', callq: 'call', pushq: 'push', popq: 'pop', loopne: 'loopne', sal: 'shl',
}
const DATA: Readonly<Record<string, number>> = { '.byte': 1, '.word': 2, '.long': 4, '.quad': 8 }

function linesOf(listing: string): Line[] {
  return listing.split(/[;\n]/).flatMap((raw) => {
    let text = raw.replace(/#.*$/, '').trim()
    const labels: string[] = []
    for (let found = /^([A-Za-z_.][\w.]*|\d+):\s*/.exec(text); found !== null; found = /^([A-Za-z_.][\w.]*|\d+):\s*/.exec(text)) {
      labels.push(found[1]!)
      text = text.slice(found[0].length)
    }
    return text === '' && labels.length === 0 ? [] : [{ text, labels }]
  })
}

/** Addresses of labels, by the line that asks. */
class Labels {
  readonly named = new Map<string, number>()
  private readonly places: { readonly name: string; readonly line: number }[] = []
  private readonly addresses: number[]

  constructor(lines: readonly Line[], addresses: number[]) {
    this.addresses = addresses
    lines.forEach(({ labels }, line) => labels.forEach((name) => this.places.push({ name, line })))
    this.refresh()
  }

  refresh(): void {
    for (const { name, line } of this.places) if (!/^\d/.test(name)) this.named.set(name, this.addresses[line]!)
  }

  /** The address of a name, of `1b` or of `1f`; undefined for what is no label. */
  resolve(word: string, line: number): number | undefined {
    if (word === '.') return this.addresses[line]
    const numbered = /^(\d+)([bf])$/.exec(word)
    if (numbered === null) return this.named.get(word)
    const [, name, direction] = numbered
    const places = this.places.filter((place) => place.name === name)
    const found = direction === 'b' ? places.filter((place) => place.line <= line).at(-1) : places.find((place) => place.line > line)
    return found === undefined ? undefined : this.addresses[found.line]
  }
}

function dataOf(directive: string, rest: string, resolve: (word: string) => number | undefined): number[] {
  if (directive === '.skip') return new Array<number>(Number(rest)).fill(0)
  const size = DATA[directive]
  if (size === undefined) throw new Error(`no such directive: ${directive}`)
  return rest.split(',').flatMap((word) => {
    const value = BigInt(resolve(word.trim()) ?? word.trim())
    return Array.from({ length: size }, (_, at) => Number((BigInt.asUintN(64, value) >> BigInt(8 * at)) & 255n))
  })
}

/** Prefix words, mnemonic and operands of a line. */
function wordsOf(text: string): { readonly prefixes: string[]; readonly name: string; readonly operands: string[] } {
  let rest = text
  const prefixes: string[] = []
  for (;;) {
    const [word = '', tail = ''] = /^(\S+)\s*(.*)$/.exec(rest)?.slice(1) ?? []
    const name = OTHER_WORDS[word] ?? word
    if (!PREFIXES.has(name) || tail === '') return { prefixes, name, operands: splitOperands(tail) }
    prefixes.push(name)
    rest = tail
  }
}

interface Place {
  readonly address: number
  readonly codeSize: 16 | 32 | 64
}

/** What the bytes say, if that is what is wanted. */
function says(bytes: Uint8Array, wanted: { prefixes: readonly string[]; name: string; operands: readonly ParsedOperand[] }, place: Place): boolean {
  const found = disassembler.at(bytes, 0, place)
  if (found.length !== bytes.length || found.mnemonic !== wanted.name) return false
  if (found.prefixes.join(' ') !== wanted.prefixes.join(' ')) return false
  const text = found.text.replace(/\s+# .*$/, '').slice(found.prefixes.join(' ').length).trim().slice(found.mnemonic.length).trim()
  const operands = splitOperands(text)
  return operands.length === wanted.operands.length
    && operands.every((operand, at) => sameOperand(parseOperand(operand, () => undefined), wanted.operands[at]!, { found, place }))
}

/** The encoding of one instruction. */
function encode(text: string, place: Place, resolve: (word: string) => number | undefined): number[] {
  const { prefixes, name, operands } = wordsOf(text)
  const parsed = operands.map((operand) => parseOperand(operand, resolve))
  const forms: readonly NamedForm[] = namesOf(name, place.codeSize)
  let best: Uint8Array | undefined
  for (const form of forms) {
    const wanted: Wanted = { form, operands: parsed, prefixes, address: place.address, codeSize: place.codeSize }
    for (const bytes of encodings(wanted)) {
      if (best !== undefined && bytes.length >= best.length) continue
      if (says(bytes, { prefixes, name, operands: parsed }, place)) best = bytes
    }
  }
  if (best === undefined) throw new Error(`cannot assemble \`${text}\` in ${place.codeSize}-bit code`)
  return [...best]
}

/** What has been assembled: tests assemble the same again and again. */
const known = new Map<string, Assembly>()

/** Assembles a listing. Throws for a line that no row of the decode table stands for. */
export function assembleListing(listing: string, { origin = 0, codeSize = 64 }: AssemblyOptions = {}): Assembly {
  const key = `${codeSize} ${origin} ${listing}`
  const made = known.get(key) ?? translate(listing, origin, codeSize)
  known.set(key, made)
  return { ...made, bytes: made.bytes.slice() }
}

function translate(listing: string, origin: number, codeSize: 16 | 32 | 64): Assembly {
  const lines = linesOf(listing)
  const addresses = lines.map(() => origin)
  const labels = new Labels(lines, addresses)
  let bytes: number[] = []
  // Jumps to labels further down grow as the labels are found to be farther away.
  for (let pass = 0, changed = true; changed; pass += 1) {
    if (pass > 30) throw new Error('the addresses of the labels do not settle')
    changed = false
    bytes = []
    lines.forEach(({ text }, line) => {
      const address = origin + bytes.length
      changed ||= addresses[line] !== address
      addresses[line] = address
      const resolve = (word: string): number | undefined => labels.resolve(word, line)
      if (text.startsWith('.')) bytes.push(...dataOf(...(/^(\S+)\s*(.*)$/.exec(text)!.slice(1) as [string, string]), resolve))
      else if (text !== '') bytes.push(...encode(text, { address, codeSize }, resolve))
    })
    labels.refresh()
  }
  return { bytes: Uint8Array.from(bytes), labels: labels.named }
}

/** The bytes of a listing. */
export const assemble = (listing: string, options: AssemblyOptions = {}): Uint8Array => assembleListing(listing, options).bytes

/** The same as hexadecimal digits, as the benches of processors take them. */
export const asm = (listing: string, options: AssemblyOptions = {}): string =>
  Array.from(assemble(listing, options), (byte) => byte.toString(16).padStart(2, '0')).join('')
