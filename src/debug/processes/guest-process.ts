/**
 * A process of a guest as a debugger sees it: its threads with the registers that they have in it, not in the kernel, and its memory by its own page tables. A thread that runs has its
 * registers in a vCPU; of any other they are where the kernel has saved them.
 */
import type { VcpuContext } from '../../hypervisor/index.ts'
import type { Host } from '../../toolstack/index.ts'
import type { DomId, Mfn } from '../../util/index.ts'
import { CR4, PAGE_SHIFT, PAGE_SIZE } from '../../x86/index.ts'
import type { InferiorGround } from '../inferior/ground.ts'
import { Places } from '../inferior/places.ts'
import type { ThreadContext } from '../inferior/thread-context.ts'
import { attempt, VirtualMemory } from '../memory/virtual-memory.ts'
import { inspectDomain } from '../objects/inspect-domain.ts'
import type { PageTables } from '../objects/page-tables.ts'
import type { GuestTasks, GuestThread, SavedName, SavedRegisters } from './guest-tasks.ts'

/** How things are now: tasks by what the guest's memory says, and which of them vCPUs run. */
export interface ProcessSight {
  readonly tasks: GuestTasks
  readonly threads: readonly GuestThread[]
  /** The vCPU that runs a thread. */
  readonly running: ReadonlyMap<number, number>
}

/** What a process stands on. */
export interface ProcessGround extends InferiorGround {
  readonly domid: DomId
  /** What is seen where it stands; undefined where there is no Linux any more. */
  sight(): ProcessSight | undefined
}

/** Names in struct pt_regs and in a context are the same. */
const GENERAL = ['r15', 'r14', 'r13', 'r12', 'rbp', 'rbx', 'r11', 'r10', 'r9', 'r8', 'rax', 'rcx', 'rdx', 'rsi', 'rdi', 'rip', 'rflags', 'rsp'] as const
const isUsers = (rip: bigint): boolean => rip >> 47n === 0n

/** One process. */
export class GuestProcess {
  /** Its number, which is that of its first thread. */
  readonly tgid: number
  readonly places = new Places()
  private readonly ground: ProcessGround

  constructor(tgid: number, ground: ProcessGround) {
    this.tgid = tgid
    this.ground = ground
  }

  /** Numbers of its threads. */
  threads(): readonly number[] {
    return this.own().map(({ pid }) => pid)
  }

  /** What a thread is called. */
  nameOf(pid: number): string {
    return this.thread(pid)?.name ?? ''
  }

  /** The vCPU that runs a thread; undefined where none does. */
  vcpuOf(pid: number): number | undefined {
    return this.thread(pid) === undefined ? undefined : this.ground.sight()?.running.get(pid)
  }

  /** Registers of a thread; undefined where it is not there, or has none that could be told. */
  context(pid: number): ThreadContext | undefined {
    const [thread, sight] = [this.thread(pid), this.ground.sight()]
    if (thread === undefined || sight === undefined) return undefined
    const vcpu = sight.running.get(pid)
    const context = this.vcpuContext(vcpu ?? 0)
    if (context === undefined) return undefined
    if (vcpu !== undefined && isUsers(context.user.rip)) return context
    const saved = sight.tasks.saved(thread.task)
    if (saved === undefined) return undefined
    return { ...context, ...this.bases(sight.tasks, thread, { context, isRunning: vcpu !== undefined }), user: userOf(context, saved), systemCall: saved.values.systemCall }
  }

  /**
   * Gives a thread other registers, in its vCPU or where they are saved; false where that cannot be, and nothing has changed: SSE and x87 of a thread that is not in its program, segments.
   */
  setContext(pid: number, { systemCall, ...context }: ThreadContext): Promise<boolean> {
    const [thread, sight, before] = [this.thread(pid), this.ground.sight(), this.context(pid)]
    if (thread === undefined || sight === undefined || before === undefined) return Promise.resolve(false)
    const { domid } = this.ground
    const vcpu = sight.running.get(pid)
    if (vcpu !== undefined && before.systemCall === undefined) {
      return this.ground.change((host) => attempt(() => { host.hypervisor.setVcpuContext(domid, vcpu, context); return true }) ?? false)
    }
    const saved = sight.tasks.saved(thread.task)
    if (saved === undefined || context.fpu.some((byte, i) => byte !== before.fpu[i]) || context.user.cs !== before.user.cs || context.user.ss !== before.user.ss) return Promise.resolve(false)
    const words = new Map<bigint, bigint>()
    for (const name of GENERAL) if (context.user[name] !== before.user[name]) words.set(sight.tasks.savedAt(saved, name), context.user[name])
    if (systemCall !== undefined && systemCall !== before.systemCall) words.set(sight.tasks.savedAt(saved, 'systemCall'), systemCall)
    if (context.fsBase !== before.fsBase || context.gsBaseUser !== before.gsBaseUser) {
      if (vcpu !== undefined) return Promise.resolve(false)
      const { fs, gs } = sight.tasks.basesAt(thread.task)
      words.set(fs, context.fsBase).set(gs, context.gsBaseUser)
    }
    return this.ground.change((host) => writeWords(host, domid, words))
  }

  /** Bytes of its memory, as far as they are mapped. */
  read(address: bigint, length: number): Uint8Array {
    return attempt(() => this.tables()?.read(address, length)) ?? new Uint8Array(0)
  }

  /** Whether there is a page at an address that is not executed. */
  isData(address: bigint): boolean {
    return attempt(() => this.tables()?.walk(address).page?.isExecutable) === false
  }

  /** Writes bytes; false where not all of them are in pages that it may write itself: others it may share. Then nothing has changed. */
  write(address: bigint, bytes: Uint8Array): Promise<boolean> {
    const { domid } = this.ground
    const pages = attempt(() => this.pagesAt(address, bytes.length))
    if (pages === undefined) return Promise.resolve(false)
    return this.ground.change((host) => attempt(() => {
      const { hypervisor } = host
      const isTranslated = host.domain(domid).info().translated
      const targets = pages.map(({ frame, offset, size }) => {
        const own = isTranslated ? hypervisor.frameOfGfn(domid, frame) : frame as Mfn
        return own === undefined ? undefined : { own, target: hypervisor.frameBytes(domid, own).subarray(offset, offset + size) }
      })
      let done = 0
      if (targets.includes(undefined)) return false
      for (const one of targets) {
        one!.target.set(bytes.subarray(done, done + one!.target.length))
        hypervisor.markWritten(one!.own)
        done += one!.target.length
      }
      return true
    }) ?? false)
  }

  /** Its auxiliary vector. */
  auxiliary(): Uint8Array | undefined {
    const [first] = this.own()
    return first && this.ground.sight()?.tasks.auxiliary(first.task)
  }

  private own(): readonly GuestThread[] {
    return this.ground.sight()?.threads.filter(({ tgid }) => tgid === this.tgid) ?? []
  }

  private thread(pid: number): GuestThread | undefined {
    return this.own().find((one) => one.pid === pid)
  }

  private vcpuContext(vcpu: number): VcpuContext | undefined {
    return attempt(() => this.ground.host.hypervisor.getVcpuContext(this.ground.domid, vcpu))
  }

  /** What the kernel leaves in a vCPU as long as a thread is on it, or saves with the thread. */
  private bases(tasks: GuestTasks, { task }: GuestThread, { context, isRunning }: { readonly context: VcpuContext; readonly isRunning: boolean }): Pick<VcpuContext, 'fsBase' | 'gsBaseUser' | 'fpu'> {
    const isTranslated = this.ground.host.domain(this.ground.domid).info().translated
    // Within a kernel that has ring 0 the base in force is its own, and the program's is put aside.
    if (isRunning) return { fsBase: context.fsBase, gsBaseUser: isTranslated ? context.gsBaseKernel : context.gsBaseUser, fpu: context.fpu }
    const { fs, gs } = tasks.basesAt(task)
    return { fsBase: tasks.word(fs) ?? 0n, gsBaseUser: tasks.word(gs) ?? 0n, fpu: tasks.floats(task, (context.cr4 & BigInt(CR4.OSXSAVE)) !== 0n) }
  }

  private tables(): PageTables | undefined {
    const [first] = this.own()
    const root = first && this.ground.sight()?.tasks.pageTables(first.task)
    return root === undefined ? undefined : inspectDomain(this.ground.host, this.ground.domid).pageTables({ root })
  }

  /** Pieces of pages that it may write; undefined where one is not. */
  private pagesAt(address: bigint, length: number): { readonly frame: number; readonly offset: number; readonly size: number }[] | undefined {
    const tables = this.tables()
    const found: { readonly frame: number; readonly offset: number; readonly size: number }[] = []
    for (let at = address, left = length; left > 0;) {
      const page = tables?.walk(at).page
      if (page === undefined || !page.isWritable || !page.isUser) return undefined
      const offset = Number(at & BigInt(PAGE_SIZE - 1))
      const size = Math.min(left, PAGE_SIZE - offset)
      found.push({ frame: page.frame + Number((at - page.address) >> BigInt(PAGE_SHIFT)), offset, size })
      at += BigInt(size)
      left -= size
    }
    return found
  }
}

/** Registers of a program out of what was saved; segments of data are none in 64-bit programs. */
function userOf({ user }: VcpuContext, { values }: SavedRegisters): VcpuContext['user'] {
  const general = Object.fromEntries(GENERAL.map((name) => [name, values[name]])) as Record<Exclude<SavedName, 'systemCall' | 'cs' | 'ss'>, bigint>
  return { ...user, ...general, cs: Number(values.cs & 0xffffn), ss: Number(values.ss & 0xffffn), ds: 0, es: 0, fs: 0, gs: 0 }
}

/** Writes words into the kernel's memory; false where one of them is not mapped, and nothing has changed. */
function writeWords(host: Host, domid: DomId, words: ReadonlyMap<bigint, bigint>): boolean {
  const memory = new VirtualMemory(() => host.hypervisor, domid)
  if ([...words.keys()].some((address) => memory.read(address, 8).length < 8)) return false
  return [...words].every(([address, value]) => {
    const bytes = new Uint8Array(8)
    new DataView(bytes.buffer).setBigUint64(0, value, true)
    return memory.write(address, bytes)
  })
}
