/**
 * The Linux that runs in a domain, as data: its types, tasks, modules and system calls, by what it carries in its own memory (kallsyms, BTF). Nothing is put into the guest, and a guest that
 * lies is shown as it lies: lists are followed so far and no further.
 * Reference: Linux, include/linux/sched.h, include/linux/module.h, arch/x86/entry/syscall_64.c.
 */
import { kernelTablesOf, type DomainReference, type Host, type Kallsyms } from '../../toolstack/index.ts'
import { checkArgument, having, whole, XenError } from '../../util/index.ts'
import { Btf } from '../btf/btf.ts'
import { VirtualMemory } from '../memory/virtual-memory.ts'
import { TypedValues, type LinuxValue } from './typed-values.ts'

/** Tasks, modules and system calls that are told at most: lists of a guest may lead anywhere. */
const MOST_TASKS = 1 << 16
const MOST_MODULES = 4096
const MOST_CALLS = 1024
const MOST_BTF = 64 << 20
const MASK = (1n << 64n) - 1n

/** One task: a thread, or a process by its first. */
export interface LinuxTask {
  /** The kernel's number of the thread, and that of its process. */
  readonly pid: number
  readonly tgid: number
  readonly name: string
  /** Where its task_struct is. */
  readonly address: bigint
  /** As ps shows it: R, S, D, T, Z, I, ... */
  readonly state: string
  /** The process that it came from. */
  readonly parent: number
  /** A thread of the kernel itself, without memory of its own. */
  readonly isKernel: boolean
  /** The linear address of its page tables; undefined for a kernel thread. */
  readonly pageTables: bigint | undefined
  /** vCPU that it runs on now, where it does. */
  readonly vcpu: number | undefined
}

/** A loaded module. */
export interface LinuxModule {
  readonly name: string
  /** Where its struct module is. */
  readonly address: bigint
}

/** A Linux, looked at. What is read is as it is at that moment: have the guest stand where it must fit together. */
export interface LinuxView {
  /** `Linux version 6.1.0-...`. */
  readonly banner: string
  readonly btf: Btf
  readonly memory: VirtualMemory
  /** Where a symbol of any kind is, a signed number; undefined where there is none. */
  addressOf(symbol: string): number | undefined
  /** A value by its type: `linux.read('task_struct', address)`. Throws INVALID_ARGUMENT for no type, and where it is not mapped. */
  read(type: string, address: number | bigint): LinuxValue
  /** One member of it, by names with points: `linux.member('task_struct', address, 'se.vruntime')`. */
  member(type: string, address: number | bigint, path: string): LinuxValue
  /** Processes, by their first threads; with `threads` all of them. */
  tasks(options?: { readonly threads?: boolean }): readonly LinuxTask[]
  /** The task that runs on a vCPU. */
  current(vcpu?: number): LinuxTask
  /** Modules that are loaded. */
  modules(): readonly LinuxModule[]
  /** Names of system calls by number, as the kernel's source has them: `newuname`, `sendfile64`. */
  systemCalls(): readonly (string | undefined)[]
}

const STATES: readonly (readonly [bit: number, letter: string])[] = [[1, 'S'], [2, 'D'], [4, 'T'], [8, 't'], [0x10, 'X'], [0x20, 'Z'], [0x40, 'P']]
const NO_LOAD = 0x400

function stateLetter(state: number, exit: number): string {
  if ((state & (2 | NO_LOAD)) === (2 | NO_LOAD)) return 'I'
  const all = state | exit
  return STATES.find(([bit]) => (all & bit) !== 0)?.[1] ?? 'R'
}

class Linux implements LinuxView {
  readonly btf: Btf
  readonly memory: VirtualMemory
  readonly banner: string
  private readonly values: TypedValues
  private readonly vcpus: () => number
  readonly addressOf: (symbol: string) => number | undefined
  private readonly nameAt: (address: number) => string | undefined

  constructor(parts: { readonly nameAt: (address: number) => string | undefined; readonly btf: Btf; readonly memory: VirtualMemory; readonly addressOf: (symbol: string) => number | undefined; readonly vcpus: () => number }) {
    this.btf = parts.btf
    this.memory = parts.memory
    this.addressOf = parts.addressOf
    this.nameAt = parts.nameAt
    this.vcpus = parts.vcpus
    this.values = new TypedValues(parts.btf, parts.memory)
    const banner = this.memory.read(this.symbol('linux_banner'), 256)
    this.banner = new TextDecoder().decode(banner.subarray(0, Math.max(0, banner.indexOf(0)))).trim()
  }

  read(type: string, address: number | bigint): LinuxValue {
    return this.values.read(type, address)
  }

  member(type: string, address: number | bigint, path: string): LinuxValue {
    return this.values.member(type, address, path)
  }

  tasks({ threads = false }: { readonly threads?: boolean } = {}): readonly LinuxTask[] {
    const init = BigInt(this.symbol('init_task')) & MASK
    const running = this.running()
    const next = this.values.offsetOf('task_struct', 'tasks')
    const found: LinuxTask[] = []
    for (const address of [init, ...this.list(init + BigInt(next), next, MOST_TASKS)]) {
      found.push(this.task(address, running))
      if (threads) for (const thread of this.threads(address)) if (thread !== address) found.push(this.task(thread, running))
    }
    return found
  }

  current(vcpu = 0): LinuxTask {
    checkArgument('the vCPU', vcpu, whole(0, this.vcpus() - 1))
    return this.task(this.currentOf(vcpu), this.running())
  }

  modules(): readonly LinuxModule[] {
    const head = BigInt(this.symbol('modules')) & MASK
    return this.list(head, this.values.offsetOf('module', 'list'), MOST_MODULES).map((address) => ({ address, name: String(this.member('module', address, 'name')) }))
  }

  systemCalls(): readonly (string | undefined)[] {
    const table = this.memory.read(this.symbol('sys_call_table'), MOST_CALLS * 8)
    const view = new DataView(table.buffer, table.byteOffset, table.byteLength)
    const found: (string | undefined)[] = []
    for (let number = 0; number * 8 + 8 <= table.length; number += 1) {
      const name = this.nameAt(Number(view.getBigInt64(number * 8, true)))
      if (name === undefined) break
      // Of calls without arguments several names are one place.
      found.push(/^__(?:x64|ia32|se|do)_sys_(?!ni_syscall)(\w+)$/.exec(name)?.[1])
    }
    return found
  }

  /** Structures of a list, without its head, as far as they are mapped. */
  private list(head: bigint, offset: number, most: number): bigint[] {
    const found: bigint[] = []
    const seen = new Set<bigint>([head])
    for (let at = this.pointer(head); at !== undefined && !seen.has(at) && found.length < most; at = this.pointer(at)) {
      seen.add(at)
      found.push((at - BigInt(offset)) & MASK)
    }
    return found
  }

  private threads(task: bigint): readonly bigint[] {
    const signal = this.member('task_struct', task, 'signal')
    if (typeof signal !== 'bigint' || signal === 0n) return []
    return this.list(signal + BigInt(this.values.offsetOf('signal_struct', 'thread_head')), this.values.offsetOf('task_struct', 'thread_node'), MOST_TASKS)
  }

  private task(address: bigint, running: ReadonlyMap<bigint, number>): LinuxTask {
    const number = (path: string): number => Number(this.member('task_struct', address, path) ?? 0)
    const pointer = (path: string): bigint => BigInt(this.member('task_struct', address, path) as bigint)
    const [mm, parent] = [pointer('mm'), pointer('real_parent')]
    const tables = mm === 0n ? undefined : this.member('mm_struct', mm, 'pgd')
    return {
      pid: number('pid'), tgid: number('tgid'), name: String(this.member('task_struct', address, 'comm')), address, state: stateLetter(number('__state'), number('exit_state')),
      parent: parent === 0n ? 0 : Number(this.member('task_struct', parent, 'tgid')), isKernel: mm === 0n, pageTables: typeof tables === 'bigint' ? tables : undefined, vcpu: running.get(address),
    }
  }

  private running(): ReadonlyMap<bigint, number> {
    return new Map(Array.from({ length: this.vcpus() }, (_, vcpu) => [this.currentOf(vcpu), vcpu] as const))
  }

  /** Of the area that each processor has: where it keeps its current task. */
  private currentOf(vcpu: number): bigint {
    const area = this.pointer(BigInt(this.symbol('__per_cpu_offset') + 8 * vcpu)) ?? 0n
    const hot = this.addressOf('pcpu_hot')
    const place = hot === undefined ? BigInt(this.symbol('current_task')) : BigInt(hot + this.values.offsetOf('pcpu_hot', 'current_task'))
    return this.pointer((area + place) & MASK) ?? 0n
  }

  private pointer(address: bigint): bigint | undefined {
    const bytes = this.memory.read(address, 8)
    return bytes.length < 8 ? undefined : new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true)
  }

  private symbol(name: string): number {
    const address = this.addressOf(name)
    if (address === undefined) throw new XenError('NOT_SUPPORTED', `this kernel has no symbol ${name}`, { details: { name } })
    return address
  }
}

/** The function that begins at an address. */
function nameAt(tables: Kallsyms, address: number): string | undefined {
  const place = tables.find(address)
  return place?.offset === 0 ? place.name : undefined
}

/**
 * The Linux that runs in a domain; undefined where none does, or one without kallsyms of all symbols or without BTF (distributions have both on). Throws DOMAIN_NOT_FOUND,
 * INVALID_IMAGE for BTF that is none.
 *
 * @example
 * console.log(linux(host, 'debian')?.tasks().map(({ pid, name, state }) => `${pid} ${state} ${name}`).join('\n'))
 */
export function linux(host: Host, reference: DomainReference): LinuxView | undefined {
  checkArgument('the host of linux', host, having('domain', 'now'))
  const domain = host.domain(reference)
  const tables = kernelTablesOf(host, domain)
  const [start, end] = ['__start_BTF', '__stop_BTF'].map((name) => tables?.symbol(name))
  if (tables === undefined || start === undefined || end === undefined || end <= start || end - start > MOST_BTF) return undefined
  const memory = new VirtualMemory(() => host.hypervisor, domain.id)
  const btf = Btf.read(memory.read(start, end - start))
  return new Linux({ btf, memory, addressOf: (name) => tables.symbol(name), nameAt: (address) => nameAt(tables, address), vcpus: () => domain.info().onlineVcpus })
}
