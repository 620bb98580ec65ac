/**
 * A recorded run: whoever has one can look at the host as it was before any instruction of its guests, and ask who wrote something, who read
 * it, who called a function. What was recorded is executed again on branches of the host, which nobody outside hears.
 */
import type { VcpuContext } from '../../hypervisor/index.ts'
import type { TracedAccess } from '../../machine/index.ts'
import type { DomainReference, Host } from '../../toolstack/index.ts'
import { checkArgument, checkOptions, having, oneOf, real, whole, XenError, type DomId } from '../../util/index.ts'
import { PAGE_SHIFT, PAGE_SIZE } from '../../x86/index.ts'
import { VirtualMemory } from '../memory/virtual-memory.ts'
import { kernelSymbols } from '../kernel-symbols.ts'
import { Recorder, seek, type RecordOptions } from './recorder.ts'
import { Replica } from './replica.ts'
import { findAll, findLast, type Sought, type Stretch } from './search.ts'

/** Where a query looks. */
export interface RunStretch {
  /** Instructions of the run. Default: from the beginning to now. */
  readonly from?: number | undefined
  readonly to?: number | undefined
  /** How many answers at most. Default: 1000. */
  readonly most?: number | undefined
}

/** An access to memory by a guest's instruction. */
export interface RunAccess {
  /** Before which instruction of the run: `run.at` shows the host that is about to execute it. */
  readonly instruction: number
  readonly kind: 'read' | 'write'
  readonly domid: number
  readonly vcpu: number
  /** Linear address of the instruction, unsigned; its function where that is known. */
  readonly code: bigint
  readonly symbol: string | undefined
  /** Of the first byte. */
  readonly address: bigint
  readonly size: number
  readonly value: bigint
  readonly previous: bigint
}

/** The last write of some bytes. */
export type LastWrite =
  | RunAccess & { readonly by: 'guest' }
  /** A back-end or the hypervisor has written them, by no guest's instruction; `instruction` is where a guest executed next. */
  | { readonly by: 'host'; readonly instruction: number }

/** A function that was called. */
export interface RunCall {
  readonly instruction: number
  readonly domid: number
  readonly vcpu: number
  readonly address: bigint
  /** RDI, RSI, RDX, RCX, R8 and R9, which 64-bit code passes arguments in. */
  readonly arguments: readonly bigint[]
  /** What stands at the stack pointer: where it returns to, of a function's first instruction. */
  readonly caller: bigint | undefined
}

/** A host as it was. */
export interface PastHost {
  /** The same as `release`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>
  readonly instruction: number
  /** A branch that stands there. What is done to it reaches nobody, and is gone when it is released. */
  readonly host: Host
  /** Registers of a vCPU. */
  registers(domain: DomainReference, vcpu?: number): VcpuContext
  /** Bytes at a virtual address, as far as they are mapped. */
  read(domain: DomainReference, address: bigint, length: number): Uint8Array
  /** Lets it go. */
  release(): Promise<void>
}

const place = whole(0, Number.MAX_SAFE_INTEGER)
const STRETCH = { from: place, to: place, most: whole(1, 1_000_000) }
const address64 = (value: number): bigint => BigInt.asUintN(64, BigInt(value))

/** What takes a run down, for debuggers that drive its host; not published. */
export let recorderOf: (run: RecordedRun) => Recorder

/** A run under way. */
export class RecordedRun {
  private readonly recorder: Recorder
  private spare: Replica | undefined
  private queue: Promise<unknown> = Promise.resolve()
  private isOver = false

  static {
    recorderOf = ({ recorder }) => recorder
  }

  private constructor(recorder: Recorder) {
    this.recorder = recorder
  }

  /** See {@link recordRun}. */
  static async of(host: Host, options: RecordOptions): Promise<RecordedRun> {
    checkArgument('the host of recordRun', host, having('checkpoint', 'reset', 'hold'))
    checkOptions('recordRun', options, { seek: real(1, 60_000), memory: real(1, 1_000_000) })
    // A host that cannot be held cannot be brought anywhere.
    const held = await host.hold()
    held.release()
    const recorder = new Recorder(host, options)
    await recorder.begin()
    return new RecordedRun(recorder)
  }

  /** The host whose run it is. */
  get host(): Host {
    return this.recorder.host
  }

  /** Instructions that guests have executed since it began; those that take much longer than others count for as many. */
  get instruction(): number {
    return this.recorder.instruction
  }

  /** How many keyframes there are, MiB and milliseconds that those behind the first have taken, and milliseconds that the longest way from one to the next took when it was executed first. */
  get keyframes(): { readonly count: number; readonly mebibytes: number; readonly cost: number; readonly longest: number } {
    const { count, mebibytes, longest } = this.recorder.keyframes
    return { count, mebibytes, cost: this.recorder.cost, longest }
  }

  /**
   * The host right before an instruction of the run, or the first behind that place between two instructions. Rejects with INVALID_ARGUMENT for a place that has not come yet.
   *
   * @example
   * const write = await run.lastWrite('app', address)
   * await using past = await run.at(write.instruction)
   * console.log(past.registers('app').user.rip)
   */
  async at(instruction: number): Promise<PastHost> {
    this.check(instruction)
    const replica = await this.exclusively(async (one) => {
      await seek(one, this.recorder, instruction)
      this.spare = undefined
      return one
    })
    const release = async (): Promise<void> => {
      if (this.spare === undefined && !this.isOver) this.spare = replica
      else await replica.end()
    }
    let released: Promise<void> | undefined
    const once = (): Promise<void> => (released ??= release())
    return {
      instruction: replica.instruction, host: replica.host, release: once, [Symbol.asyncDispose]: once,
      registers: (domain, vcpu = 0) => replica.host.hypervisor.getVcpuContext(replica.host.domain(domain).id, vcpu),
      read: (domain, from, length) => memoryOf(replica.host, replica.host.domain(domain).id).read(from, length),
    }
  }

  /**
   * Who wrote some bytes last, by whatever address, before a place of the run; undefined where nobody has since it began. The address is one of the domain's at that place. Rejects with
   * INVALID_ARGUMENT where it is not mapped there, or bytes lie in two pages.
   */
  async lastWrite(domain: DomainReference, address: bigint, { before = this.instruction, length = 8 }: { readonly before?: number | undefined; readonly length?: number | undefined } = {}): Promise<LastWrite | undefined> {
    this.check(before)
    return this.exclusively(async (replica) => {
      const bytes = await this.placeOf(replica, { domain, address, length, at: before })
      const sought = { ...watching({ ...bytes, kind: 'write' }), mayBeBefore: ({ written }: { readonly written: ReadonlySet<number> | undefined }) => written?.has(bytes.physical >>> PAGE_SHIFT) !== false }
      const found = await findLast(replica, this.recorder.keyframes, { sought, stretch: { from: 0, to: before } })
      const host = await this.lastByHost(replica, { bytes, from: found, before })
      if (host !== undefined) return { by: 'host', instruction: host }
      return found && { by: 'guest', ...accessOf(this.host, found) }
    })
  }

  /**
   * Accesses of guests to some bytes, by whatever address, in their order. The address is one of the domain's at the end of the stretch.
   */
  async accesses(domain: DomainReference, address: bigint, { kind = 'access', length = 8, ...where }: RunStretch & { readonly kind?: 'read' | 'write' | 'access' | undefined; readonly length?: number | undefined } = {}): Promise<RunAccess[]> {
    checkOptions('accesses', { kind }, { kind: oneOf('read', 'write', 'access') })
    const { stretch, most } = this.stretchOf('accesses', where)
    return this.exclusively(async (replica) => {
      const bytes = await this.placeOf(replica, { domain, address, length, at: stretch.to })
      const found = await findAll(replica, this.recorder.keyframes, { sought: watching({ ...bytes, kind }), stretch, most })
      return found.map((one) => accessOf(this.host, one))
    })
  }

  /**
   * Calls of a function, in their order: a name of the Linux kernel's in the domain, or an address. Rejects with INVALID_ARGUMENT for a name that nobody knows.
   */
  async calls(symbol: string | bigint, { domain, ...where }: RunStretch & { readonly domain: DomainReference }): Promise<RunCall[]> {
    const { stretch, most } = this.stretchOf('calls', where)
    const { id } = this.host.domain(domain)
    const address = typeof symbol === 'bigint' ? Number(BigInt.asIntN(64, symbol)) : kernelSymbols(this.host, domain)?.addressOf(symbol)
    if (address === undefined) throw new XenError('INVALID_ARGUMENT', `there is no function ${symbol} that the domain's kernel knows`, { details: { symbol } })
    const breakpoints = new Set([address])
    return this.exclusively(async (replica) => {
      const sought: Sought<RunCall> = {
        hooks: ({ domid, vcpu }, see) => (domid !== id ? undefined : {
          breakpoints, breakpoint: () => {
            see({ instruction: 0, domid, vcpu, address: address64(address), arguments: [], caller: undefined }, 0)
            return 'stop'
          },
        }),
        complete: (call, host) => ({
          ...call, arguments: ARGUMENTS.map((name) => host.hypervisor.getVcpuContext(call.domid as DomId, call.vcpu).user[name]), caller: callerOf(host, call),
        }),
      }
      const found = await findAll(replica, this.recorder.keyframes, { sought, stretch, most })
      return found.map(({ instruction, event }) => ({ ...event, instruction }))
    })
  }

  /** Ends the recording, and lets go of all that it keeps. */
  async end(): Promise<void> {
    if (this.isOver) return
    this.isOver = true
    this.recorder.end()
    await this.queue.catch(() => undefined)
    await this.spare?.end()
    this.spare = undefined
    this.recorder.keyframes.dispose()
  }

  /** The same, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.end()
  }

  /** Does something with a replica that nobody else uses meanwhile; for debuggers. */
  private exclusively<T>(work: (replica: Replica) => Promise<T>): Promise<T> {
    const done = this.queue.then(async () => {
      if (this.isOver) throw new XenError('CLOSED', 'the recorded run has ended')
      this.spare ??= await Replica.of(this.recorder.log, this.recorder.keyframes.all()[0]!)
      return work(this.spare)
    })
    this.queue = done.catch(() => undefined)
    return done
  }

  private check(instruction: number): void {
    checkArgument('the instruction', instruction, whole(0, Math.max(0, this.instruction)))
  }

  private stretchOf(call: string, where: RunStretch): { readonly stretch: Stretch; readonly most: number } {
    checkOptions(call, where, STRETCH)
    const { from = 0, to = this.instruction, most = 1000 } = where
    this.check(to)
    return { stretch: { from, to }, most }
  }

  private async placeOf(replica: Replica, { domain, address, length, at }: { readonly domain: DomainReference; readonly address: bigint; readonly length: number; readonly at: number }): Promise<WatchedPlace> {
    checkArgument('the length', length, whole(1, PAGE_SIZE))
    const { id } = this.host.domain(domain)
    await seek(replica, this.recorder, at)
    const found = replica.host.hypervisor.translate(id, BigInt.asUintN(64, address))
    if (found === undefined) throw new XenError('INVALID_ARGUMENT', `nothing is mapped at 0x${address.toString(16)} there`, { details: { address, at } })
    if (found.offset + length > PAGE_SIZE) throw new XenError('INVALID_ARGUMENT', 'the bytes lie in two pages', { details: { address, length } })
    return { physical: found.frame * PAGE_SIZE + found.offset, length, domid: id, frame: found.frame }
  }

  /** Where the host itself, behind the last write of a guest, has written the bytes: found by halves. */
  private async lastByHost(replica: Replica, { bytes, from, before }: { readonly bytes: WatchedPlace; readonly from: { readonly instruction: number; readonly event: AccessEvent } | undefined; readonly before: number }): Promise<number | undefined> {
    const contentAt = async (instruction: number): Promise<string> => {
      await seek(replica, this.recorder, instruction)
      return contentOf(replica.host, bytes)
    }
    let low = from === undefined ? 0 : from.instruction + from.event.access.cost
    let high = before
    const last = await contentAt(high)
    if (low >= high || await contentAt(low) === last) return undefined
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2)
      if (await contentAt(middle) === last) high = middle
      else low = middle
    }
    return high
  }
}

/** Bytes of the machine's memory. */
interface WatchedPlace {
  readonly physical: number
  readonly length: number
  readonly domid: number
  readonly frame: number
}

interface AccessEvent {
  readonly domid: number
  readonly vcpu: number
  readonly access: TracedAccess
}

const contentOf = (host: Host, { domid, frame, physical, length }: WatchedPlace): string => {
  const page = new Uint8Array(PAGE_SIZE)
  host.hypervisor.readFrames(domid as DomId, Uint32Array.of(frame), page)
  return page.subarray(physical % PAGE_SIZE, (physical % PAGE_SIZE) + length).join()
}

function watching({ physical, length, kind }: WatchedPlace & { readonly kind: 'read' | 'write' | 'access' }): Sought<AccessEvent> {
  const watchpoints = [{ space: 'physical', address: physical, length, kind }] as const
  return {
    hooks: ({ domid, vcpu }, see) => ({
      watchpoints, watchpoint: (access) => {
        see({ domid, vcpu, access: { ...access } }, access.cost)
        return 'stop'
      },
    }),
  }
}

function accessOf(host: Host, { instruction, event: { domid, vcpu, access } }: { readonly instruction: number; readonly event: AccessEvent }): RunAccess {
  const { kind, size, value, previous } = access
  const code = address64(access.instruction)
  const symbol = host.domains().some(({ id }) => id === domid) ? host.symbolAt(domid, access.instruction) : undefined
  return { instruction, kind, domid, vcpu, code, symbol, address: address64(access.address), size, value, previous }
}

const ARGUMENTS = ['rdi', 'rsi', 'rdx', 'rcx', 'r8', 'r9'] as const

const memoryOf = (host: Host, domid: number): VirtualMemory => new VirtualMemory(() => host.hypervisor, domid as DomId)

function callerOf(host: Host, { domid, vcpu }: RunCall): bigint | undefined {
  const { user: { rsp } } = host.hypervisor.getVcpuContext(domid as DomId, vcpu)
  const bytes = memoryOf(host, domid).read(rsp, 8)
  return bytes.length < 8 ? undefined : new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true)
}

/**
 * Records what a host does from now on, so that it can be looked at as it was before any instruction of its guests, and a debugger can go back.
 * Recorded are all inputs (what is typed, sent, called, written to XenStore, answered by disks) and each run of the loop, with keyframes in between. The host goes on as it would without, a little slower.
 * Rejects with NOT_SUPPORTED for a host that follows the wall or cannot be kept, BUSY and OUT_OF_MEMORY as `host.checkpoint` does.
 *
 * @example
 * await using run = await recordRun(host)
 * await domain.console.waitFor('BUG:')
 * console.log(await run.lastWrite(domain, 0xffff_8880_0123_4560n))
 */
export const recordRun = (host: Host, options: RecordOptions = {}): Promise<RecordedRun> => RecordedRun.of(host, options)
