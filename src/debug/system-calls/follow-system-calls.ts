/**
 * What the processes of a Linux ask of their kernel, as strace shows it, seen from outside: at the door of the kernel, where it dispatches calls, and behind it. Nothing is put into the
 * guest, which runs at full speed but for the two places.
 * Reference: Linux, arch/x86/entry/common.c (do_syscall_64), entry_64.S (entry_SYSCALL_64), arch/x86/include/asm/ptrace.h (struct pt_regs).
 */
import { disassembleAll, type TraceHooks, type TracedInstruction } from '../../machine/index.ts'
import type { DomainReference, Host } from '../../toolstack/index.ts'
import { checkArgument, checkOptions, EventHub, having, listOf, signedFromParts, text, whole, XenError, type EventSource } from '../../util/index.ts'
import { GPR } from '../../x86/index.ts'
import { followVcpus } from '../history/lookout.ts'
import { linux, type LinuxView } from '../linux/linux-view.ts'
import { attempt } from '../memory/virtual-memory.ts'
import { inspectDomain } from '../objects/inspect-domain.ts'
import type { PageTables } from '../objects/page-tables.ts'
import { callText, valueOf, type CallValue } from './call-text.ts'
import { CallSignatures, MOST_ARGUMENTS, type CallSignature } from './signatures.ts'

/** Which calls are wanted. */
export interface SystemCallFilter {
  /** Processes by number. Default: all. */
  readonly processes?: readonly number[] | undefined
  /** Calls by name: `openat`. Default: all. */
  readonly names?: readonly string[] | undefined
  /** Calls that are kept; of more the last. Default 1,000,000. */
  readonly keep?: number | undefined
}

/** One argument of a call. */
export interface SystemCallArgument {
  /** As the kernel's source names it. */
  readonly name: string
  readonly type: string
  /** The register, and what it stands for: a number, or the text that it points to. */
  readonly raw: bigint
  readonly value: CallValue
}

/** A call that has been made. */
export interface SystemCall {
  readonly type: 'system-call'
  readonly vcpu: number
  /** The thread that made it, its process, and its name then. */
  readonly thread: number
  readonly process: number
  readonly task: string
  readonly number: number
  readonly name: string
  readonly arguments: readonly SystemCallArgument[]
  /** What came back; undefined for a call that has not returned, such as `exit_group`. */
  readonly result: bigint | undefined
  /** Host time in nanoseconds at which it began and ended. */
  readonly began: number
  readonly ended: number | undefined
  /** In strace's words: `openat(dfd=-100, filename="/etc/passwd", flags=0x80000, mode=0) = 3`. */
  readonly text: string
}

/** Calls as they are made. */
export interface SystemCallTrace {
  /** Live, as calls return: `for await (const call of trace.events.stream())`. */
  readonly events: EventSource<SystemCall>
  /** What has been kept, in the order in which the calls began; calls under way are without a result. */
  records(): readonly SystemCall[]
  /** Ends it; what has been kept stays. */
  stop(): void
}

const CHECKS = { processes: /* @__PURE__ */ listOf(/* @__PURE__ */ whole(0, 2 ** 31)), names: /* @__PURE__ */ listOf(text), keep: /* @__PURE__ */ whole(1, 1e8) }
/** Where arguments are in struct pt_regs, in the order of the call, and its result. */
const ARGUMENTS_AT = [112, 104, 96, 56, 72, 64] as const
const RESULT_AT = 80
const REGS_BYTES = 168
/** Bytes of the entry's code that are looked through for its call. */
const MOST_ENTRY = 1024

/** The two places: where calls are dispatched, and what that returns to. */
interface Doors {
  readonly entry: number
  readonly exit: number
}

/** Finds them. Throws NOT_SUPPORTED for a kernel that has other doors. */
function doorsOf(view: LinuxView): Doors {
  const [start, entry] = ['entry_SYSCALL_64', 'do_syscall_64'].map((name) => view.addressOf(name))
  if (start !== undefined && entry !== undefined) {
    for (const { mnemonic, operands: [target], address, length } of disassembleAll(view.memory.read(start, MOST_ENTRY), { address: start })) {
      if (mnemonic.startsWith('call') && target?.kind === 'target' && target.address === entry) return { entry, exit: address + length }
    }
  }
  throw new XenError('NOT_SUPPORTED', 'this kernel has another way into system calls than those of Linux 5.x and 6.x', { details: {} })
}

const register = ({ registers }: TracedInstruction, number: number): bigint => BigInt.asUintN(64, BigInt(signedFromParts(registers.low(number), registers.high(number))))

/** A call under way. */
interface Pending {
  readonly index: number
  readonly call: SystemCall
}

/** Follows one domain. */
class Follower {
  private readonly host: Host
  private readonly domid: number
  private readonly view: LinuxView
  private readonly signatures: CallSignatures
  private readonly filter: SystemCallFilter
  private readonly doors: Doors
  private readonly pending = new Map<bigint, Pending>()
  readonly kept: (SystemCall | undefined)[] = []
  readonly hub: EventHub<SystemCall>

  constructor(host: Host, domid: number, { view, filter }: { readonly view: LinuxView; readonly filter: SystemCallFilter }) {
    this.host = host
    this.domid = domid
    this.view = view
    this.filter = filter
    this.doors = doorsOf(view)
    this.signatures = new CallSignatures(view)
    this.hub = new EventHub<SystemCall>(() => host.now(), undefined, { names: { 'system-call': true } })
  }

  hooks(domid: number, vcpu: number): TraceHooks | undefined {
    if (domid !== this.domid) return undefined
    const { entry, exit } = this.doors
    return {
      breakpoints: new Set([entry, exit]),
      breakpoint: (event) => {
        if (event.address === entry) this.begin(event, vcpu)
        else this.end(event, vcpu)
      },
    }
  }

  private tables(vcpu: number): PageTables {
    return inspectDomain(this.host, this.domid).pageTables({ vcpu })
  }

  private begin(event: TracedInstruction, vcpu: number): void {
    const at = register(event, GPR.rdi)
    const number = event.registers.low(GPR.rsi) | 0
    attempt(() => {
      const signature = this.signatures.of(number)
      const { processes, names } = this.filter
      if (names !== undefined && !names.includes(signature.name)) return
      const task = this.view.current(vcpu)
      if (processes !== undefined && !processes.includes(task.tgid)) return
      const found = this.argumentsOf(signature, at, this.tables(vcpu))
      const call: SystemCall = {
        type: 'system-call', vcpu, thread: task.pid, process: task.tgid, task: task.name, number, name: signature.name, arguments: found, result: undefined, began: this.host.now(), ended: undefined,
        text: callText(signature.name, found, undefined),
      }
      this.pending.set(at, { index: this.keep(call), call })
    })
  }

  private argumentsOf(signature: CallSignature, at: bigint, tables: PageTables): SystemCallArgument[] {
    const bytes = tables.read(at, REGS_BYTES)
    const words = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const shown = signature.arguments ?? Array.from({ length: MOST_ARGUMENTS }, (_, i) => ({ name: `argument ${i}`, type: 'unsigned long' }))
    return shown.flatMap(({ name, type }, i) => {
      const place = ARGUMENTS_AT[i]!
      if (place + 8 > bytes.length) return []
      const raw = words.getBigUint64(place, true)
      return { name, type, raw, value: valueOf(type, raw, (address, length) => tables.read(address, length)) }
    })
  }

  private end(event: TracedInstruction, vcpu: number): void {
    const at = register(event, GPR.rsp)
    const known = this.pending.get(at)
    if (known === undefined) return
    this.pending.delete(at)
    attempt(() => {
      const tables = this.tables(vcpu)
      const bytes = tables.read(at + BigInt(RESULT_AT), 8)
      const result = bytes.length < 8 ? undefined : new DataView(bytes.buffer, bytes.byteOffset).getBigInt64(0, true)
      // A text that nobody had touched before was not there when the call began.
      const given = known.call.arguments.map((one) => (typeof one.value === 'bigint' ? { ...one, value: valueOf(one.type, one.raw, (address, length) => tables.read(address, length)) } : one))
      const call = { ...known.call, arguments: given, result, ended: this.host.now(), text: callText(known.call.name, given, result) }
      if (this.kept[known.index]?.began === known.call.began) this.kept[known.index] = call
      this.hub.emit(call)
    })
  }

  /** Keeps a call; of too many the first go, whose places stay. */
  private keep(call: SystemCall): number {
    const index = this.kept.push(call) - 1
    const { keep = 1_000_000 } = this.filter
    if (index >= keep) this.kept[index - keep] = undefined
    return index
  }
}

/**
 * Follows the system calls of a Linux from now on, with names and arguments as its kernel tells them. Throws DOMAIN_NOT_FOUND, INVALID_ARGUMENT, NOT_SUPPORTED for a domain without a 64-bit
 * Linux that carries its symbols and types with it.
 *
 * @example
 * const calls = followSystemCalls(host, 'debian', { names: ['openat', 'execve'] })
 * await shell.run('cat /etc/passwd')
 * console.log(calls.records().map(({ process, text }) => `${process} ${text}`).join('\n'))
 * calls.stop()
 */
export function followSystemCalls(host: Host, reference: DomainReference, filter: SystemCallFilter = {}): SystemCallTrace {
  checkArgument('the host of followSystemCalls', host, having('domain', 'now'))
  checkOptions('followSystemCalls', filter, CHECKS)
  const view = linux(host, reference)
  if (view === undefined) throw new XenError('NOT_SUPPORTED', 'no Linux that carries its symbols and types with it', { details: { domain: String(reference) } })
  const follower = new Follower(host, host.domain(reference).id, { view, filter })
  const stop = followVcpus(host, (domid, vcpu) => follower.hooks(domid, vcpu))
  return { events: follower.hub, records: () => follower.kept.filter((call) => call !== undefined), stop }
}
