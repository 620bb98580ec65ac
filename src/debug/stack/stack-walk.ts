/**
 * Who has called: the frames of a vCPU's stack. Of a Linux kernel by the tables that it carries for the purpose (ORC); where there are none, by what on the stack is an address behind
 * an instruction that calls, which may be left from calls that have returned long since.
 */
import type { VcpuContext } from '../../hypervisor/index.ts'
import type { SymbolLookup } from '../../toolstack/index.ts'
import type { OrcTables, UnwindState } from './orc.ts'

/** One frame. */
export interface StackFrame {
  /** Of the first the next instruction, of others where they are returned to; and the stack pointer there. */
  readonly ip: bigint
  readonly sp: bigint
  /** A call returns there for certain; otherwise it is a word of the stack that looks like it. */
  readonly isCertain: boolean
  /** Nothing returns there: the instruction is the next, or was interrupted. */
  readonly isExact: boolean
}

/** What a walk needs. */
export interface WalkedStack {
  readonly context: VcpuContext
  /** Bits of the kernel's machine word. */
  readonly width: 32 | 64
  read(address: bigint, length: number): Uint8Array
  readonly symbols: SymbolLookup | undefined
  readonly orc: OrcTables | undefined
}

/** Frames at most, and bytes of a stack that are looked through. */
const MOST_FRAMES = 64
const SCANNED = 8192
const KERNEL = 1n << 63n

/** Whether what ends at an address may be an instruction that calls: by a relative address, or through a register or memory. */
function isBehindCall(read: WalkedStack['read'], address: bigint): boolean {
  const bytes = read(address - 7n, 7)
  if (bytes.length < 7) return false
  if (bytes[2] === 0xe8) return true
  return [2, 3, 4, 6, 7].some((length) => bytes[7 - length] === 0xff && ((bytes[8 - length]! >> 3) & 7) === 2)
}

function* scanned({ width, read, symbols }: WalkedStack, from: bigint): Generator<StackFrame> {
  const size = width / 8
  const bytes = read(from, SCANNED)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 0; at + size <= bytes.length; at += size) {
    const word = size === 8 ? view.getBigUint64(at, true) : BigInt(view.getUint32(at, true))
    const place = symbols?.find(Number(BigInt.asIntN(64, word)) - 1)
    if (place !== undefined && isBehindCall(read, word)) yield { ip: word, sp: from + BigInt(at + size), isCertain: false, isExact: false }
  }
}

/** The frames, the innermost first. */
export function stackOf(stack: WalkedStack): readonly StackFrame[] {
  const { context: { user }, orc } = stack
  let state: UnwindState = { ip: user.rip, sp: user.rsp, bp: user.rbp, isExact: true }
  const frames: StackFrame[] = [{ ip: state.ip, sp: state.sp, isCertain: true, isExact: true }]
  while (frames.length < MOST_FRAMES) {
    const next = orc !== undefined && state.ip >= KERNEL ? orc.next(state) : undefined
    if (next === 'end' || next?.ip === 0n) return frames
    // What is in a process is no longer the kernel's stack; a stack that does not get shorter is none.
    if (next === undefined || (next.sp <= state.sp && !next.isExact)) break
    frames.push({ ip: next.ip, sp: next.sp, isCertain: true, isExact: next.isExact })
    state = next
    if (next.ip < KERNEL) return frames
  }
  for (const frame of scanned(stack, state.sp)) {
    if (frames.length >= MOST_FRAMES) break
    frames.push(frame)
  }
  return frames
}
