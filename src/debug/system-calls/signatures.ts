/**
 * How Linux's system calls are called: names by number, and names and types of their arguments, as the kernel itself keeps them for its tracers (CONFIG_FTRACE_SYSCALLS, which
 * distributions have on). Where it does not, arguments are numbers without names. A guest that lies is told as it lies.
 * Reference: Linux, include/linux/syscalls.h (SYSCALL_METADATA), include/trace/syscall.h (struct syscall_metadata).
 */
import type { LinuxView } from '../linux/linux-view.ts'
import { attempt } from '../memory/virtual-memory.ts'

/** Arguments at most. */
export const MOST_ARGUMENTS = 6
const MOST_TEXT = 64

/** One argument of a call. */
export interface ArgumentSignature {
  readonly name: string
  /** As C writes it: `const char *`. */
  readonly type: string
}

/** One call. */
export interface CallSignature {
  readonly number: number
  readonly name: string
  /** Undefined where the kernel does not say. */
  readonly arguments: readonly ArgumentSignature[] | undefined
}

function textAt({ memory }: LinuxView, address: bigint): string {
  const bytes = memory.read(address, MOST_TEXT)
  const end = bytes.indexOf(0)
  return Array.from(bytes.subarray(0, end < 0 ? bytes.length : end), (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '?')).join('')
}

function textsAt(view: LinuxView, address: bigint, count: number): string[] {
  const bytes = view.memory.read(address, count * 8)
  const words = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Array.from({ length: Math.floor(bytes.length / 8) }, (_, i) => textAt(view, words.getBigUint64(i * 8, true)))
}

function argumentsOf(view: LinuxView, name: string): readonly ArgumentSignature[] | undefined {
  const place = view.addressOf(`__syscall_meta__${name}`)
  if (place === undefined) return undefined
  return attempt(() => {
    const [count, types, names] = ['nb_args', 'types', 'args'].map((member) => view.member('syscall_metadata', place, member))
    const known = Math.min(Number(count), MOST_ARGUMENTS)
    if (!(known > 0)) return []
    const texts = [types, names].map((list) => textsAt(view, list as bigint, known)) as [string[], string[]]
    return texts[0].map((type, i) => ({ type, name: texts[1][i] ?? `argument ${i}` }))
  })
}

/** The calls of a kernel by number, looked up when they are first made. */
export class CallSignatures {
  private readonly view: LinuxView
  private readonly names: readonly (string | undefined)[]
  private readonly known = new Map<number, CallSignature>()

  constructor(view: LinuxView) {
    this.view = view
    this.names = view.systemCalls()
  }

  /** The call of a number, whatever number. */
  of(number: number): CallSignature {
    const known = this.known.get(number)
    if (known !== undefined) return known
    const name = this.names[number]
    const found: CallSignature = { number, name: name ?? `syscall_${number}`, arguments: name === undefined ? undefined : argumentsOf(this.view, name) }
    this.known.set(number, found)
    return found
  }
}
