/**
 * GNU objdump's listings, line by line, and why a line of ours may differ from one of its: each reason is a class, and
 * a line that falls into none fails the test that asks.
 */
import { spawn, spawnSync } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Disassembled } from '../../src/machine/index.ts'

/** One instruction of a listing. */
export interface ListedInstruction {
  /** Signed in 64-bit code. */
  readonly address: number
  readonly bytes: Uint8Array
  /** As printed, with symbols' names taken out. */
  readonly text: string
}

/** True when objdump is there. */
export const hasObjdump = (): boolean => spawnSync('objdump', ['--version']).status === 0

const LINE = /^\s*([0-9a-f]+):\t([0-9a-f ]+?)\s*\t(.*)$/

/** `objdump -w` with more arguments; instructions as they come. */
export async function* listing(args: readonly string[], codeSize: 32 | 64): AsyncGenerator<ListedInstruction> {
  const program = spawn('objdump', ['-w', ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  for await (const line of createInterface({ input: program.stdout })) {
    const match = LINE.exec(line)
    if (match === null) continue
    const [, address, bytes, text] = match as unknown as [string, string, string, string]
    yield {
      address: codeSize === 64 ? Number(BigInt.asIntN(64, BigInt(`0x${address}`))) : parseInt(address, 16),
      bytes: Uint8Array.from(bytes.trim().split(' '), (byte) => parseInt(byte, 16)),
      text: text.replace(/(0x)?([0-9a-f]+) <[^>]*>/g, '0x$2').trimEnd(),
    }
  }
}

const PREFIX = /^(2e|36|3e|26|64|65|66|67|f0|f2|f3)$/
const SEGMENT = /^(2e|36|3e|26|64|65)$/

/** Reasons for a difference, asked in turn with the bytes in hex, objdump's line and ours. */
type Fits = (bytes: readonly string[], theirs: string, ours: Disassembled) => boolean

const CLASSES: readonly (readonly [name: string, fits: Fits])[] = [
  ['no instruction: objdump shows prefixes and what it takes for operands', (_, theirs) =>
    theirs.includes('(bad)') || theirs.startsWith('.byte')],
  ['XOP, which only some of AMD\'s processors ever had', (bytes) => bytes.find((byte) => !isPrefixByte(byte)) === '8f'],
  ['AVX-512 and other vector extensions: of their encodings only the length is known', (bytes, _, ours) =>
    ours.mnemonic === '(vex)' || bytes.some((byte, i) => byte === '62' && bytes.slice(0, i).every(isPrefixByte))],
  ['a VEX prefix behind prefixes that may not stand before it, or with bits that have to be clear', (bytes, _, ours) =>
    ours.kind === 'bad' && bytes.some((byte, i) => /^c[45]$/.test(byte) && bytes.slice(0, i).every(isPrefixByte))],
  ['VEX.L and VEX.W where they mean nothing: objdump goes by them for stores of scalars, and for integers in 32-bit code', (_, theirs, ours) =>
    (/(^| )vmovs[sd] /.test(theirs) && theirs.includes('ymm')) || (/^vcvtsi2s[sd] /.test(theirs) && ours.mnemonic.startsWith('vcvtsi2s'))],
  ['registers of a gather that are the same: objdump marks them', (_, theirs) => theirs.includes('/(bad)')],
  ['prefixes that belong to no instruction stand on a line of their own', (bytes) => bytes.every(isPrefixByte)],
  ['WAIT before an x87 instruction is one instruction to objdump and two to the processor', (bytes) =>
    bytes.find((byte) => !isPrefixByte(byte)) === '9b'],
  ['only the last of several segment prefixes counts', (bytes) => bytes.filter((byte) => SEGMENT.test(byte)).length > 1],
  ['a short jump with a 66 prefix has a 16-bit target', (_, theirs) => /data16 .*\b(j[a-z]+|loop[a-z]*)(,p[nt])? /.test(theirs)],
  ['MPX, 3DNow, SMX and test registers, which no processor of today has', (bytes) =>
    bytes.some((byte, i) => byte === '0f' && /^(1a|1b|0e|0f|37|24|26|07)$/.test(bytes[i + 1] ?? ''))],
  ['FRSTPM of the 287', (bytes) => bytes.some((byte, i) => byte === 'db' && bytes[i + 1] === 'e5')],
]

const isPrefixByte = (byte: string): boolean => PREFIX.test(byte) || /^4.$/.test(byte)

/** The class of a difference; undefined when there is none. */
export function differenceOf(theirs: ListedInstruction, ours: Disassembled): string | undefined {
  if (ours.length === theirs.bytes.length && ours.text === theirs.text) return undefined
  const bytes = Array.from(theirs.bytes, (byte) => byte.toString(16).padStart(2, '0'))
  const found = CLASSES.find(([, fits]) => fits(bytes, theirs.text, ours))
  return found?.[0] ?? `unknown: ${bytes.join(' ')}: ${theirs.text} here ${ours.text} (${ours.length} bytes)`
}

/** What a comparison came to. */
export interface Tally {
  instructions: number
  /** Lines of the same length and the same text. */
  same: number
  wrongLength: number
  readonly classes: Map<string, number>
}

/** Compares a listing with ours. */
export async function compareListing(
  args: readonly string[],
  codeSize: 32 | 64,
  disassemble: (one: ListedInstruction) => Disassembled,
): Promise<Tally> {
  const tally: Tally = { instructions: 0, same: 0, wrongLength: 0, classes: new Map() }
  for await (const theirs of listing(args, codeSize)) {
    const ours = disassemble(theirs)
    tally.instructions += 1
    const difference = differenceOf(theirs, ours)
    if (difference === undefined) tally.same += 1
    else {
      if (ours.length !== theirs.bytes.length) tally.wrongLength += 1
      tally.classes.set(difference, (tally.classes.get(difference) ?? 0) + 1)
    }
  }
  return tally
}
