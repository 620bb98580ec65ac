/**
 * What a debugger of processes has to know of a Linux' tasks, by its own types: who runs where, which threads a process has, what its threads have saved of their registers. A guest may
 * lie in all of it: lists are followed so far and no further, what leads nowhere is left out, and nothing is thrown.
 * Reference: Linux, include/linux/sched.h, arch/x86/include/uapi/asm/ptrace.h (struct pt_regs), arch/x86/include/asm/fpu/types.h, arch/x86/entry/entry_64.S.
 */
import type { LinuxView } from '../linux/linux-view.ts'
import { attempt } from '../memory/virtual-memory.ts'

/** Threads that are told at most: lists of a guest may lead anywhere. Its numbers end below PID_MAX_LIMIT. */
const MOST_THREADS = 1 << 14
const MOST_NUMBER = 1 << 22
const MASK = (1n << 64n) - 1n
/** Bytes of struct pt_regs, and of what some kernels leave free above it. */
const REGS_BYTES = 168
const PADDINGS = [0n, 16n] as const
const STACK_BYTES = 16384
/** Words of a process' auxiliary vector at most. */
const MOST_AUXILIARY = 1024
const FXSAVE_BYTES = 512
/** Bytes of x87 and of SSE in an FXSAVE image. */
const X87 = [[0, 24], [32, 160]] as const
const SSE = [[24, 32], [160, 416]] as const

/** Registers in struct pt_regs, in its order. */
const SAVED = ['r15', 'r14', 'r13', 'r12', 'rbp', 'rbx', 'r11', 'r10', 'r9', 'r8', 'rax', 'rcx', 'rdx', 'rsi', 'rdi', 'systemCall', 'rip', 'cs', 'rflags', 'rsp', 'ss'] as const

/** A register that an entry into the kernel saves. */
export type SavedName = (typeof SAVED)[number]

/** What an entry into the kernel has saved of a thread. */
export interface SavedRegisters {
  /** Where it lies. */
  readonly address: bigint
  readonly values: Readonly<Record<SavedName, bigint>>
}

/** Who a task is. */
export interface TaskIdentity {
  readonly task: bigint
  readonly pid: number
  readonly tgid: number
}

/** A thread of a process. */
export interface GuestThread extends TaskIdentity {
  readonly name: string
}

/** Where things lie in a task, its signals and its memory; reckoned once. */
interface Offsets {
  readonly tasks: bigint
  readonly pid: bigint
  readonly tgid: bigint
  readonly comm: bigint
  readonly mm: bigint
  readonly stack: bigint
  readonly signal: bigint
  readonly exitState: bigint
  readonly threadNode: bigint
  readonly threadHead: bigint
  readonly live: bigint
  readonly pgd: bigint
  readonly auxiliary: bigint
  readonly fsBase: bigint
  readonly gsBase: bigint
}

/** Tasks of one Linux. */
export class GuestTasks {
  private readonly view: LinuxView
  private readonly at: Offsets
  private readonly stackBytes: bigint
  /** Where a task's FPU state is: by a pointer, or within it; undefined where that is not known. */
  private readonly fpu: { readonly pointer?: bigint; readonly offset: bigint } | undefined
  private readonly area: bigint
  private readonly currentAt: bigint
  private readonly init: bigint

  private constructor(view: LinuxView, at: Offsets, places: { readonly area: number; readonly current: bigint; readonly init: number }) {
    this.view = view
    this.at = at
    this.area = BigInt(places.area) & MASK
    this.currentAt = places.current
    this.init = BigInt(places.init) & MASK
    const stack = view.btf.find('thread_union')
    this.stackBytes = BigInt(stack === undefined ? STACK_BYTES : Math.min(view.btf.size(stack), 1 << 20))
    const [pointer, regs, inside] = [offsetIn(view, 'task_struct', 'thread.fpu.fpstate'), offsetIn(view, 'fpstate', 'regs'), offsetIn(view, 'task_struct', 'thread.fpu.state')]
    this.fpu = pointer !== undefined && regs !== undefined ? { pointer, offset: regs } : inside === undefined ? undefined : { offset: inside }
  }

  /** Those of a Linux; undefined for one whose types are not those of Linux 5.x and 6.x. */
  static of(view: LinuxView): GuestTasks | undefined {
    const paths: Readonly<Record<keyof Offsets, readonly [string, string]>> = {
      tasks: ['task_struct', 'tasks'], pid: ['task_struct', 'pid'], tgid: ['task_struct', 'tgid'], comm: ['task_struct', 'comm'], mm: ['task_struct', 'mm'], stack: ['task_struct', 'stack'],
      signal: ['task_struct', 'signal'], exitState: ['task_struct', 'exit_state'], threadNode: ['task_struct', 'thread_node'], threadHead: ['signal_struct', 'thread_head'], live: ['signal_struct', 'live'],
      pgd: ['mm_struct', 'pgd'], auxiliary: ['mm_struct', 'saved_auxv'], fsBase: ['task_struct', 'thread.fsbase'], gsBase: ['task_struct', 'thread.gsbase'],
    }
    const found = Object.entries(paths).map(([name, [type, path]]) => [name, offsetIn(view, type, path)] as const)
    const [area, init, hot, plain] = ['__per_cpu_offset', 'init_task', 'pcpu_hot', 'current_task'].map((name) => view.addressOf(name))
    const inHot = hot === undefined ? undefined : offsetIn(view, 'pcpu_hot', 'current_task')
    const current = hot !== undefined && inHot !== undefined ? BigInt(hot) + inHot : plain === undefined ? undefined : BigInt(plain)
    if (area === undefined || init === undefined || current === undefined || found.some(([, offset]) => offset === undefined)) return undefined
    return new GuestTasks(view, Object.fromEntries(found) as unknown as Offsets, { area, current, init })
  }

  /** The task that runs on a vCPU; undefined where it is a thread of the kernel's, or none. */
  current(vcpu: number): TaskIdentity | undefined {
    const area = this.word(this.area + BigInt(8 * vcpu))
    const task = area === undefined ? undefined : this.word((area + this.currentAt) & MASK)
    return task === undefined || (this.word(task + this.at.mm) ?? 0n) === 0n ? undefined : this.identity(task)
  }

  /** Threads of all processes that have memory of their own, those of a process in a row, its first thread first. */
  threads(): readonly GuestThread[] {
    const found: GuestThread[] = []
    const seen = new Set<number>()
    const take = (task: bigint, tgid?: number): void => {
      const one = this.identity(task)
      // A number that is there already, or of another process, is a lie.
      if (one === undefined || seen.has(one.pid) || (tgid !== undefined && one.tgid !== tgid)) return
      seen.add(one.pid)
      found.push({ ...one, name: this.nameOf(task) })
    }
    let steps = MOST_THREADS
    const next = (): boolean => (steps -= 1) > 0
    for (const leader of this.list(this.init + this.at.tasks, this.at.tasks, next)) {
      if ((this.word(leader + this.at.mm) ?? 0n) === 0n || (this.int(leader + this.at.exitState) ?? 1) !== 0) continue
      const before = found.length
      take(leader)
      if (found.length === before) continue
      const signal = this.word(leader + this.at.signal)
      if (signal !== undefined) for (const thread of this.list(signal + this.at.threadHead, this.at.threadNode, next)) if (thread !== leader) take(thread, found[before]!.tgid)
    }
    return found
  }

  /** Whether a task's process has threads that have not ended. */
  isAlive(task: bigint): boolean {
    const signal = this.word(task + this.at.signal)
    return signal === undefined || this.int(signal + this.at.live) !== 0
  }

  /** The linear address of a task's page tables; undefined where it has none. */
  pageTables(task: bigint): bigint | undefined {
    const mm = this.word(task + this.at.mm)
    return mm === undefined || mm === 0n ? undefined : this.word(mm + this.at.pgd)
  }

  /** What the kernel has told a process as it began: words in pairs, up to the end. */
  auxiliary(task: bigint): Uint8Array | undefined {
    const mm = this.word(task + this.at.mm)
    if (mm === undefined || mm === 0n) return undefined
    const bytes = this.view.memory.read(mm + this.at.auxiliary, MOST_AUXILIARY * 8)
    const words = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    for (let at = 0; at + 16 <= bytes.length; at += 16) if (words.getBigUint64(at, true) === 0n) return bytes.subarray(0, at + 16)
    return undefined
  }

  /** What a thread had in its registers when it came into the kernel; undefined for one that has never been anywhere else. */
  saved(task: bigint): SavedRegisters | undefined {
    const stack = this.word(task + this.at.stack)
    if (stack === undefined) return undefined
    for (const padding of PADDINGS) {
      const address = (stack + this.stackBytes - BigInt(REGS_BYTES) - padding) & MASK
      const bytes = this.view.memory.read(address, REGS_BYTES)
      if (bytes.length < REGS_BYTES) continue
      const words = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      const values = Object.fromEntries(SAVED.map((name, i) => [name, words.getBigUint64(8 * i, true)])) as Record<SavedName, bigint>
      if ((values.cs & 3n) === 3n && values.rip >> 47n === 0n) return { address, values }
    }
    return undefined
  }

  /** Where a saved register lies. */
  savedAt({ address }: SavedRegisters, name: SavedName): bigint {
    return address + BigInt(8 * SAVED.indexOf(name))
  }

  /** Where the bases of FS and GS lie of a thread that does not run. */
  basesAt(task: bigint): { readonly fs: bigint; readonly gs: bigint } {
    return { fs: task + this.at.fsBase, gs: task + this.at.gsBase }
  }

  /** The word at an address. */
  word(address: bigint): bigint | undefined {
    const bytes = this.view.memory.read(address, 8)
    return bytes.length < 8 ? undefined : new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true)
  }

  /** The FXSAVE image of a thread that does not run. `isExtended`: the kernel saves by XSAVE, which leaves out what a thread has not used. */
  floats(task: bigint, isExtended: boolean): Uint8Array {
    const image = new Uint8Array(FXSAVE_BYTES)
    const base = this.fpu?.pointer === undefined ? task : this.word(task + this.fpu.pointer)
    if (this.fpu === undefined || base === undefined) return image
    const bytes = this.view.memory.read(base + this.fpu.offset, FXSAVE_BYTES + 8)
    if (bytes.length < FXSAVE_BYTES + 8) return image
    image.set(bytes.subarray(0, FXSAVE_BYTES))
    if (!isExtended) return image
    const present = bytes[FXSAVE_BYTES]!
    for (const [bit, ranges] of [[1, X87], [2, SSE]] as const) if ((present & bit) === 0) for (const [from, to] of ranges) image.fill(0, from, to)
    return image
  }

  private identity(task: bigint): TaskIdentity | undefined {
    const [pid, tgid] = [this.int(task + this.at.pid), this.int(task + this.at.tgid)]
    const isNumber = (number: number | undefined): number is number => number !== undefined && number > 0 && number < MOST_NUMBER
    return isNumber(pid) && isNumber(tgid) ? { task, pid, tgid } : undefined
  }

  private nameOf(task: bigint): string {
    const bytes = this.view.memory.read(task + this.at.comm, 16)
    const end = bytes.indexOf(0)
    return Array.from(bytes.subarray(0, end < 0 ? 15 : end), (byte) => (byte < 0x20 || byte > 0x7e ? '?' : String.fromCharCode(byte))).join('')
  }

  /** Structures of a list, without its head, as far as they are mapped; `next` answers whether one more may be looked at. */
  private *list(head: bigint, offset: bigint, next: () => boolean): Generator<bigint> {
    const seen = new Set<bigint>([head])
    for (let at = this.word(head); at !== undefined && !seen.has(at) && next(); at = this.word(at)) {
      seen.add(at)
      yield (at - offset) & MASK
    }
  }

  private int(address: bigint): number | undefined {
    const bytes = this.view.memory.read(address, 4)
    return bytes.length < 4 ? undefined : new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true)
  }
}

/** Bytes of a member in its structure; undefined where there is none. */
function offsetIn({ btf }: LinuxView, name: string, path: string): bigint | undefined {
  const type = btf.find(name)
  const place = type === undefined ? undefined : attempt(() => btf.member(type, path))
  return place === undefined ? undefined : BigInt(place.offset >>> 3)
}
