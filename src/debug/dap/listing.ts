/** Machine code as an editor's disassembly shows it: so many instructions from so many before an address on, whatever stands there. */
import type { DebugProtocol } from '@vscode/debugprotocol'
import { Disassembler } from '../../machine/index.ts'
import type { SymbolLookup } from '../../toolstack/index.ts'
import { addressText } from './dap-arguments.ts'

/** Bytes of an instruction at most. */
const LONGEST = 15
/** Instructions that are listed at most. */
export const MOST_LISTED = 4096

/** Where code is read. */
export interface ListedCode {
  read(address: bigint, length: number): Uint8Array
  readonly symbols: SymbolLookup | undefined
  readonly codeSize: 32 | 64
}

/** What is listed: `first` instructions behind the address, before it where it is negative. */
export interface ListedRange {
  readonly address: bigint
  readonly first: number
  readonly count: number
}

type Line = DebugProtocol.DisassembledInstruction

const signed = (address: bigint): number => Number(BigInt.asIntN(64, address))
const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ')

/** A line for a byte that nobody can read or execute. */
const nothing = (address: bigint): Line => ({ address: addressText(address), instruction: '(not mapped)', presentationHint: 'invalid' })

/** Instructions up to an address, decoded from an earlier one on. */
function* decoded({ read, codeSize }: ListedCode, from: bigint, length: number): Generator<{ readonly address: bigint; readonly bytes: Uint8Array; readonly text: string }> {
  const bytes = read(from, length)
  const disassembler = new Disassembler()
  for (let at = 0; at < bytes.length;) {
    const address = from + BigInt(at)
    const one = disassembler.at(bytes, at, { address: signed(address), codeSize })
    if (one.kind === 'cut') return
    yield { address, bytes: bytes.subarray(at, at + one.length), text: one.text }
    at += one.length
  }
}

function lineOf({ symbols }: ListedCode, { address, bytes, text }: { readonly address: bigint; readonly bytes: Uint8Array; readonly text: string }): Line {
  const place = symbols?.find(signed(address))
  return { address: addressText(address), instructionBytes: hex(bytes), instruction: text, ...(place?.offset === 0 ? { symbol: place.name } : {}) }
}

/**
 * Lines in front of an address. Where instructions begin is known from the address on, and where the function begins that it lies in: from there they are decoded, or from wherever
 * decoding comes to the address.
 */
function before(code: ListedCode, address: bigint, count: number): Line[] {
  const place = code.symbols?.find(signed(address))
  const farthest = Math.min(count * LONGEST, 1 << 16)
  const begin = place !== undefined && place.offset <= farthest && place.offset >= count ? place.offset : farthest
  for (let back = begin; back > Math.max(0, begin - LONGEST); back -= 1) {
    const all = [...decoded(code, address - BigInt(back), back)]
    const last = all.at(-1)
    if (last === undefined || last.address + BigInt(last.bytes.length) !== address) continue
    return all.slice(-count).map((one) => lineOf(code, one))
  }
  return []
}

/** The lines: as many as were asked for. */
export function listing(code: ListedCode, { address, first, count }: ListedRange): readonly Line[] {
  const lines: Line[] = []
  if (first < 0) {
    const front = before(code, address, -first)
    for (let missing = -first - front.length; missing > 0; missing -= 1) lines.push(nothing(address - BigInt(missing + front.length)))
    lines.push(...front)
  }
  const ahead = Math.max(0, first + count)
  const found: Line[] = []
  for (const one of decoded(code, address, Math.min(ahead * LONGEST + LONGEST, 1 << 17))) {
    if (found.length >= ahead) break
    found.push(lineOf(code, one))
  }
  for (let next = address; found.length < ahead; next += 1n) found.push(nothing(next))
  lines.push(...found.slice(Math.max(0, first)))
  return lines.slice(0, count)
}

/** `name`, `name+0x12`, or the address. */
export function placeText(symbols: SymbolLookup | undefined, address: bigint): string {
  const place = symbols?.find(signed(address))
  if (place === undefined) return addressText(address)
  return place.offset === 0 ? place.name : `${place.name}+0x${place.offset.toString(16)}`
}
