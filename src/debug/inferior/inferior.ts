/**
 * A domain as a debugger sees it: vCPUs with registers, memory by virtual address, and places at which it stops. Nothing of this is written into the guest: breakpoints and
 * watchpoints are kept beside it, so that it cannot tell, and comes to the same state as without. How it runs is the ground's.
 */
import type { VcpuContext } from '../../hypervisor/index.ts'
import type { TraceHooks, TracedAccess, TracedInstruction } from '../../machine/index.ts'
import type { Domain, Host } from '../../toolstack/index.ts'
import type { DomId } from '../../util/index.ts'
import { XCR0 } from '../../x86/index.ts'
import { attempt, VirtualMemory } from '../memory/virtual-memory.ts'
import type { Following, GroundInferior, InferiorGround } from './ground.ts'
import { Places } from './places.ts'
import type { Stop } from './stop.ts'
import type { ThreadContext } from './thread-context.ts'
import { overlaps, type Watchpoint } from './watchpoint.ts'

/** XSAVE's state begins behind XCR0 and what that ever was; with x87 and SSE as FXSAVE writes them, which are then told of. */
const STATE_AT = 16
const PRESENT_AT = STATE_AT + 512

function withFloats(extended: Uint8Array, fpu: Uint8Array): Uint8Array {
  const state = extended.slice()
  state.set(fpu.subarray(0, 512), STATE_AT)
  state[PRESENT_AT]! |= XCR0.X87 | XCR0.SSE
  return state
}

/** An address as processors tell it, and back. */
const unsigned = (address: number): bigint => BigInt.asUintN(64, BigInt(address))
const signed = (address: bigint): number => Number(BigInt.asIntN(64, address))

const memoryOf = (host: Host, domid: number): VirtualMemory => new VirtualMemory(() => host.hypervisor, domid as DomId)

/** A domain under a debugger. */
export class Inferior implements GroundInferior {
  readonly domid: number
  private readonly ground: InferiorGround
  private readonly places = new Places()
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

  /** Bits of the kernel's machine word, whether the guest has ring 0, and whether it is offered AVX. */
  get facts(): { readonly width: 32 | 64; readonly translated: boolean; readonly hasAvx: boolean } {
    const info = this.domain?.info()
    const offered = attempt(() => this.ground.host.hypervisor.offeredState(this.domid as DomId)) ?? 0
    return { width: info?.addressSize ?? 64, translated: info?.translated ?? false, hasAvx: (offered & XCR0.AVX) !== 0 }
  }

  /** vCPUs that have registers. */
  vcpus(): readonly number[] {
    return this.domain?.vcpus().map(({ vcpu }) => vcpu).filter((vcpu) => this.context(vcpu) !== undefined) ?? []
  }

  /** Registers of a vCPU; undefined where it has none. */
  context(vcpu: number): VcpuContext | undefined {
    return attempt(() => this.ground.host.hypervisor.getVcpuContext(this.domid as DomId, vcpu))
  }

  /** The same with what is not in a context. */
  registers(vcpu: number): ThreadContext | undefined {
    const context = this.context(vcpu)
    return context && { ...context, extended: attempt(() => this.ground.host.hypervisor.getVcpuExtendedState(this.domid as DomId, vcpu)) }
  }

  /** Gives a vCPU other registers; false where the hypervisor refuses them, and nothing has changed. */
  setContext(vcpu: number, { extended, ...context }: ThreadContext): Promise<boolean> {
    const before = this.registers(vcpu)?.extended
    return this.ground.change(({ hypervisor }) => attempt(() => {
      hypervisor.setVcpuContext(this.domid as DomId, vcpu, context)
      if (extended !== undefined && extended.some((byte, i) => byte !== before?.[i])) hypervisor.setVcpuExtendedState(this.domid as DomId, vcpu, withFloats(extended, context.fpu))
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
    this.places.breakpoints.add(address)
  }

  removeBreakpoint(address: bigint): void {
    this.places.breakpoints.delete(address)
  }

  /** Has the guest stop behind an instruction that accesses these bytes. */
  addWatchpoint(watch: Watchpoint): void {
    this.places.addWatchpoint(watch)
  }

  removeWatchpoint(watch: Watchpoint): void {
    this.places.removeWatchpoint(watch)
  }

  /** Forgets all places. */
  clear(): void {
    this.places.clear()
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
    return stop.type === 'breakpoint' ? this.places.breakpoints.has(stop.address) : stop.type === 'watchpoint' && this.places.watchpoints.has(stop.watch)
  }

  /** What is looked for on a vCPU; undefined for nothing: it runs at full speed where there is not. */
  hooks(vcpu: number, { isStep, stop }: Following): TraceHooks | undefined {
    if (this.places.isEmpty && !isStep) return undefined
    const breakpoints = new Set([...this.places.breakpoints].map(signed))
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
      ...(this.places.watchpoints.size > 0 && {
        watchpoints: [...this.places.watchpoints].map(({ address, length, kind }) => ({ space: 'linear', address: signed(address), length, kind }) as const),
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
    for (const watch of this.places.watchpoints) {
      if ((watch.kind === 'access' || watch.kind === kind) && overlaps(watch, unsigned(address), size)) return tell(watch)
    }
    return undefined
  }
}
