/**
 * A domain as a debugger sees it: vCPUs with registers, memory by virtual address, and places at which it stops. Nothing of this is written into the guest: breakpoints and
 * watchpoints are kept beside it, so that it cannot tell, and comes to the same state as without. How it runs is the ground's.
 */
import type { VcpuContext } from '../../hypervisor/index.ts'
import type { TraceHooks, TracedAccess, TracedInstruction } from '../../machine/index.ts'
import type { Domain, Host } from '../../toolstack/index.ts'
import type { DomId } from '../../util/index.ts'
import { attempt, VirtualMemory } from '../memory/virtual-memory.ts'
import type { Stop } from './stop.ts'
import { overlaps, type Watchpoint } from './watchpoint.ts'

/** Where a domain is looked at and changed. */
export interface InferiorGround {
  /** The host as it is at the place at which the debugger stands. */
  readonly host: Host
  change(apply: (host: Host) => boolean): Promise<boolean>
}

/** An address as processors tell it, and back. */
const unsigned = (address: number): bigint => BigInt.asUintN(64, BigInt(address))
const signed = (address: bigint): number => Number(BigInt.asIntN(64, address))

const memoryOf = (host: Host, domid: number): VirtualMemory => new VirtualMemory(() => host.hypervisor, domid as DomId)

/** How a vCPU is followed. */
export interface Following {
  readonly isStep: boolean
  /** Hears of a stop; what began so many instructions back. */
  stop(reason: Stop, cost: number): void
}

/** A domain under a debugger. */
export class Inferior {
  readonly domid: number
  private readonly ground: InferiorGround
  private readonly breakpoints = new Set<bigint>()
  private readonly watchpoints = new Set<Watchpoint>()
  /** Where vCPUs were stopped before an instruction, by its address and number: hooks are not asked for it again. */
  private readonly standing = new Map<number, { readonly address: number; readonly count: number | undefined }>()

  constructor(domid: number, ground: InferiorGround) {
    this.domid = domid
    this.ground = ground
  }

  /** The domain, where it is there. */
  get domain(): Domain | undefined {
    return this.ground.host.domains().find(({ id }) => id === this.domid)
  }

  /** Bits of the kernel's machine word, and whether the guest has ring 0. */
  get facts(): { readonly width: 32 | 64; readonly translated: boolean } {
    const info = this.domain?.info()
    return { width: info?.addressSize ?? 64, translated: info?.translated ?? false }
  }

  /** vCPUs that have registers. */
  vcpus(): readonly number[] {
    return this.domain?.vcpus().map(({ vcpu }) => vcpu).filter((vcpu) => this.context(vcpu) !== undefined) ?? []
  }

  /** Registers of a vCPU; undefined where it has none. */
  context(vcpu: number): VcpuContext | undefined {
    return attempt(() => this.ground.host.hypervisor.getVcpuContext(this.domid as DomId, vcpu))
  }

  /** Gives a vCPU other registers; false where the hypervisor refuses them, and nothing has changed. */
  setContext(vcpu: number, context: VcpuContext): Promise<boolean> {
    return this.ground.change((host) => attempt(() => {
      host.hypervisor.setVcpuContext(this.domid as DomId, vcpu, context)
      return true
    }) ?? false)
  }

  /** Bytes at a virtual address, as far as they are mapped. */
  read(address: bigint, length: number): Uint8Array {
    return memoryOf(this.ground.host, this.domid).read(address, length)
  }

  /** Writes bytes; false where not all of them are mapped, or in a page that its rules keep from being written: then nothing has changed. */
  write(address: bigint, bytes: Uint8Array): Promise<boolean> {
    // Code that is written is decoded anew, which has its price: where a vCPU stands is known by the address alone then.
    for (const [vcpu, known] of this.standing) this.standing.set(vcpu, { ...known, count: undefined })
    return this.ground.change((host) => memoryOf(host, this.domid).write(address, bytes))
  }

  /** Has the guest stop before the instruction at an address. */
  addBreakpoint(address: bigint): void {
    this.breakpoints.add(address)
  }

  removeBreakpoint(address: bigint): void {
    this.breakpoints.delete(address)
  }

  /** Has the guest stop behind an instruction that accesses these bytes. */
  addWatchpoint(watch: Watchpoint): void {
    this.removeWatchpoint(watch)
    this.watchpoints.add(watch)
  }

  removeWatchpoint({ kind, address, length }: Watchpoint): void {
    for (const one of this.watchpoints) if (one.kind === kind && one.address === address && one.length === length) this.watchpoints.delete(one)
  }

  /** Forgets all places. */
  clear(): void {
    this.breakpoints.clear()
    this.watchpoints.clear()
    this.standing.clear()
  }

  /** What its vCPUs stand before is not what stops them next, wherever they were brought: a debugger that does not step over its breakpoints itself says so before it lets them go on. */
  pass(): void {
    for (const vcpu of this.vcpus()) {
      const rip = this.context(vcpu)?.user.rip
      if (rip !== undefined && !this.standing.has(vcpu)) this.standing.set(vcpu, { address: signed(rip), count: undefined })
    }
  }

  /** It was brought elsewhere. */
  moved(): void {
    this.standing.clear()
  }

  /** Whether a stop is still wanted: a breakpoint may be gone by now, and a step belongs to the run in which it was asked for. */
  wants(stop: Stop): boolean {
    return stop.type === 'breakpoint' ? this.breakpoints.has(stop.address) : stop.type === 'watchpoint' && this.watchpoints.has(stop.watch)
  }

  /** What is looked for on a vCPU; undefined for nothing: it runs at full speed where there is not. */
  hooks(vcpu: number, { isStep, stop }: Following): TraceHooks | undefined {
    if (this.breakpoints.size === 0 && this.watchpoints.size === 0 && !isStep) return undefined
    const breakpoints = new Set([...this.breakpoints].map(signed))
    const { domid } = this
    const tell = (reason: Stop, cost = 0): 'stop' => {
      stop(reason, cost)
      return 'stop'
    }
    const known = this.standing.get(vcpu)
    const stand = ({ address, count }: TracedInstruction): void => void this.standing.set(vcpu, { address, count })
    let first = known?.count
    // Of one that was brought there the first time counts, whatever its number.
    const isKnown = ({ address, count }: TracedInstruction): boolean => known?.address === address && (first ??= count) === count
    const stopAt = ({ address }: TracedInstruction): Stop =>
      (breakpoints.has(address) ? { type: 'breakpoint', domid, vcpu, address: unsigned(address) } : { type: 'step', domid, vcpu })
    return {
      ...(breakpoints.size > 0 && {
        breakpoints, breakpoint: (event) => {
          if (isKnown(event)) return undefined
          stand(event)
          return tell(stopAt(event))
        },
      }),
      ...(isStep && { instruction: this.stepHook(vcpu, { isKnown, take: (event) => { stand(event); return tell(stopAt(event)) } }) }),
      ...(this.watchpoints.size > 0 && {
        watchpoints: [...this.watchpoints].map(({ address, length, kind }) => ({ space: 'linear', address: signed(address), length, kind }) as const),
        watchpoint: (event) => this.watched(event, (watch) => tell({ type: 'watchpoint', domid, vcpu, watch }, event.cost)),
      }),
    }
  }

  /** The instruction that a vCPU stands before is not what a step stops at, unless it comes back to it. */
  private stepHook(vcpu: number, { isKnown, take }: { readonly isKnown: (event: TracedInstruction) => boolean; readonly take: (event: TracedInstruction) => 'stop' }): NonNullable<TraceHooks['instruction']> {
    const at = this.context(vcpu)?.user.rip
    let isFirst = !this.standing.has(vcpu)
    return (event) => {
      const isStart = isFirst ? unsigned(event.address) === at : isKnown(event)
      isFirst = false
      return isStart ? undefined : take(event)
    }
  }

  private watched({ kind, address, size }: TracedAccess, tell: (watch: Watchpoint) => 'stop'): 'stop' | undefined {
    for (const watch of this.watchpoints) {
      if ((watch.kind === 'access' || watch.kind === kind) && overlaps(watch, unsigned(address), size)) return tell(watch)
    }
    return undefined
  }
}
