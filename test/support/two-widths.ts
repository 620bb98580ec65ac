/**
 * Guests that speak either ABI, played by a test: what a guest has written lies where the test put it, in the layout that it
 * speaks, and everything else is the same. What two of them observe can be compared as it stands.
 */
import { COMPAT, type GuestAbi, HYPERVISOR, NATIVE } from '../../src/abi/index.ts'
import { GUEST_KINDS, compose } from '../../src/hypervisor/composition.ts'
import { VcpuOperations } from '../../src/hypervisor/control/core/vcpus.ts'
import type { Domain, Vcpu } from '../../src/hypervisor/domains/domain.ts'
import type { GuestKind } from '../../src/hypervisor/domains/guest-kind.ts'
import type { GuestVcpu } from '../../src/hypervisor/domains/guest-vcpu.ts'
import { HypercallArguments, type HypercallTable } from '../../src/hypervisor/domains/hypercall.ts'
import type { CoreParts, HypervisorParts } from '../../src/hypervisor/hypervisor-parts.ts'
import { VirtualClock } from '../../src/hypervisor/index.ts'
import { CALL_AGAIN } from '../../src/hypervisor/time/work-meter.ts'
import { type DecodedFields, type Fields, type Mfn, type Overlay, SeededRandom, part, shape } from '../../src/util/index.ts'
import { PlainMemory } from './hypervisor-host.ts'

/** Both ABIs. */
export const ABIS = [NATIVE, COMPAT] as const

/** Bytes between two places of the argument frame. */
const PLACE = 512

/** A kind of guests without processors, named after the ABI that it speaks. */
class PlayedGuests implements GuestKind {
  readonly name: string
  readonly abi: GuestAbi
  readonly hasRegisters = false
  readonly hypercalls: HypercallTable
  private readonly core: CoreParts

  constructor(core: CoreParts, abi: GuestAbi) {
    this.core = core
    this.abi = abi
    this.name = abi.name
    this.hypercalls = core.tableOf(() => [], abi)
  }

  admit(): number {
    return 0
  }

  createVcpu(vcpu: Vcpu): GuestVcpu {
    const { execution } = this.core
    const guest: GuestVcpu = {
      access: vcpu.access, kernelAccess: vcpu.access, hasPending: false, executed: 1,
      state: part({ name: 'played', version: 1, shape: shape.record({}) }, { save: () => ({}), load: () => undefined }),
      run: () => ({ kind: 'block' }), enter: () => true, deliver: () => execution.deliverUpcall(vcpu, guest), handle: () => undefined, drop: () => undefined,
    }
    return guest
  }
}

/** A host that has played guests of both kinds. */
export class TwoWidthHost {
  readonly memory = new PlainMemory(1024)
  readonly clock = new VirtualClock()
  readonly parts: HypervisorParts

  /** `portion`: work after which a long hypercall pauses. */
  constructor(portion = 200_000) {
    this.parts = compose({ memory: this.memory, clock: this.clock, random: new SeededRandom(1), portion }, [
      ...GUEST_KINDS, (core) => new PlayedGuests(core, NATIVE), (core) => new PlayedGuests(core, COMPAT),
    ])
  }

  /** A guest with 64 frames and two vCPUs, or as many frames as told, that may have twice as many. */
  guest(abi: GuestAbi, options: { readonly pages?: number; readonly privileged?: boolean } = {}): PlayedGuest {
    const { pages = 64, privileged = false } = options
    const { parts } = this
    const domain = parts.domains.get(parts.lifecycle.create({ kind: abi.name, vcpus: 2, maxPages: pages * 2, privileged }))!
    const frames: Mfn[] = []
    parts.reservation.populate(domain, { count: pages, firstPfn: 0 }, frames)
    const operations = new VcpuOperations(parts)
    for (const vcpu of domain.vcpus) operations.start(vcpu)
    domain.pauseCount = 0
    return new PlayedGuest(this, domain, frames)
  }

  /** What does not add up. */
  problems(): string[] {
    return this.parts.check().map(({ what }) => what)
  }
}

/** A guest. Its frame 0 has places for arguments, numbered from 0; frames from 8 on are the test's. */
export class PlayedGuest {
  readonly host: TwoWidthHost
  readonly domain: Domain
  readonly frames: readonly number[]
  private readonly table: HypercallTable
  private readonly args = new HypercallArguments()
  /** How often the last call was made again. */
  again = 0

  constructor(host: TwoWidthHost, domain: Domain, frames: readonly number[]) {
    this.host = host
    this.domain = domain
    this.frames = frames
    this.table = host.parts.kinds.of(domain).hypercalls
  }

  get abi(): GuestAbi {
    return this.domain.abi
  }

  get view(): DataView {
    return this.host.memory.view
  }

  /** Address of a place for arguments. */
  at(place: number): number {
    return this.frames[0]! * 4096 + place * PLACE
  }

  /** Writes a structure at a place, all else there is 0xee; its address. */
  put<T extends Fields>(structure: Overlay<T>, values: Partial<DecodedFields<T>>, place = 0): number {
    return this.putAt(this.at(place), structure, values)
  }

  /** Writes a structure at an address. */
  putAt<T extends Fields>(address: number, structure: Overlay<T>, values: Partial<DecodedFields<T>>): number {
    const layout = this.abi.of(structure)
    this.host.memory.bytes.fill(0xee, address, address + layout.size)
    layout.encode(this.view, address, values)
    return address
  }

  /** What stands there. */
  get<T extends Fields>(structure: Overlay<T>, place = 0): DecodedFields<T> {
    return this.abi.of(structure).decode(this.view, this.at(place))
  }

  /** Writes a list of words; its address. */
  list(values: readonly number[], place = 1): number {
    const { word } = this.abi
    values.forEach((value, i) => word.setNumber(this.view, this.at(place) + i * word.size, value))
    return this.at(place)
  }

  /** Reads a list of words. */
  words(count: number, place = 1): number[] {
    const { word } = this.abi
    return Array.from({ length: count }, (_, i) => word.number(this.view, this.at(place) + i * word.size))
  }

  /** A hypercall of vCPU 0, until it has finished, and its result. */
  call(name: keyof typeof HYPERVISOR, ...values: readonly number[]): number {
    const { meter } = this.host.parts
    for (let i = 0; i < 6; i += 1) this.args.set(i, values[i] ?? 0)
    if (this.abi === COMPAT) this.args.high.fill(0)
    for (this.again = 0; ; this.again += 1) {
      meter.begin()
      const result = this.table.call(this.domain.vcpus[0]!, HYPERVISOR[name], this.args)
      meter.end()
      if (result !== CALL_AGAIN) return result
    }
  }
}
