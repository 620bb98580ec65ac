/**
 * A domain of a fake hypervisor: its frames, its event channels (2-level), its grant table (version 1), its reservation and
 * its timer, as its hypercalls change them. What the real hypervisor checks is checked where a guest or a driver depends on
 * it, and nothing else.
 */
import {
  DOMID, ERRNO, EVTCHN_2L_NR_CHANNELS, GNTST, GTF, GrantEntryV1, PAGE_SIZE, SharedInfo, VcpuInfo,
} from '../abi/index.ts'
import type { GrantCopy, GrantCopySide, HypercallPort } from '../abi/index.ts'
import type { BootInfo, GuestKernel, GuestProgram, RunnerOptions } from '../guest/index.ts'
import { TypeScriptRunner } from '../guest/index.ts'
import type { DomId, EventPort, GrantHandle, ManualClock, Mfn } from '../util/index.ts'
import { SeededRandom, XenError } from '../util/index.ts'
import type { FakeGrants, GrantUse } from './fake-grants.ts'

/** An event channel of a {@link FakeDomain}. */
export type FakeChannel =
  | { readonly kind: 'unbound'; readonly remote: number }
  | { readonly kind: 'interdomain'; readonly remote: number; readonly remotePort: number }
  | { readonly kind: 'virq'; readonly virq: number }
  | { readonly kind: 'ipi' }

/** Entries in a frame of a grant table. */
const NANOSECONDS = 1e9
const ENTRIES = PAGE_SIZE / GrantEntryV1.size

/** How a domain of a {@link FakeHypervisor} is made. */
export interface FakeDomainOptions extends Pick<Partial<RunnerOptions>, 'store'> {
  /** Frames that it begins with. Default 64. */
  readonly pages?: number
  /** Most frames that it may have. Default: those that it begins with. */
  readonly maxPages?: number
  /** Most frames of its grant table. Default 4. */
  readonly grantFrames?: number
  /** Gives it a console ring, which domain `back` may map and whose port it may bind to. */
  readonly console?: { readonly back: number }
}

/** What a domain has of its hypervisor. */
export interface FakeParts {
  readonly bytes: Uint8Array
  readonly view: DataView
  readonly words: Uint32Array
  readonly clock: ManualClock
  readonly domains: Map<number, FakeDomain>
  readonly freeFrames: Mfn[]
  readonly written: Set<number>
  readonly log: string[]
  readonly grants: FakeGrants
  takeFrame(): Mfn
}

/** Builds a domain; for {@link FakeHypervisor.createDomain} alone. */
export let buildDomain: (hub: FakeParts, id: number, options: FakeDomainOptions & { readonly program: GuestProgram }) => FakeDomain
/** The port of a virtual interrupt; undefined while nobody has bound it. */
export let virqPort: (domain: FakeDomain, virq: number) => number | undefined

/** One domain of a {@link FakeHypervisor}: what it has, its hypercalls, and its kernel. Tests look at all of it, and change some. */
export class FakeDomain {
  readonly id: DomId
  /** Its hypercalls. */
  readonly hypercalls: HypercallPort
  /** The frame of its shared info. */
  readonly sharedInfo: Mfn
  /** The frames that it began with. */
  readonly frames: readonly Mfn[]
  /** The frames that it has. */
  readonly owned: Set<number>
  /** Its event channels by their ports. */
  readonly channels = new Map<number, FakeChannel>()
  /** The grants of others that it has mapped, by their handles. */
  readonly mappings = new Map<number, GrantUse>()
  /** Frames of others that it has mapped without a grant. */
  foreignFrames = 0
  /** How often each hypercall was made. */
  readonly calls = new Map<string, number>()
  /** Most frames that it may have. */
  readonly maxPages: number
  /** Host time at which its timer fires; 0 for never. */
  deadline = 0
  /** When its watchdogs end it; 0 for one that is free. */
  readonly watchdogs = [0, 0]
  /** False while it waits for an event. */
  runnable = true
  /** Why it has shut down; undefined while it has not. */
  shutdownReason: number | undefined
  /** What its kernel is told at boot. */
  readonly boot: BootInfo
  /** What runs it. A test may put another in its place, one that goes on from saved state. */
  runner: TypeScriptRunner
  /** What its program has thrown. */
  crash: unknown
  private readonly hub: FakeParts
  private readonly maxGrantFrames: number
  private readonly grantTable: Mfn[] = []

  static {
    buildDomain = (hub, id, options) => new FakeDomain(hub, id, options)
    virqPort = (domain, virq) => domain.virqPort(virq)
  }

  private constructor(hub: FakeParts, id: number, options: FakeDomainOptions & { readonly program: GuestProgram }) {
    this.hub = hub
    this.id = id as DomId
    this.sharedInfo = hub.takeFrame()
    this.frames = Array.from({ length: options.pages ?? 64 }, () => hub.takeFrame())
    this.owned = new Set(this.frames)
    this.maxPages = options.maxPages ?? this.frames.length
    this.maxGrantFrames = options.grantFrames ?? 4
    this.hypercalls = this.makePort()
    hub.bytes[SharedInfo.vcpuInfo.at(this.sharedInfo * PAGE_SIZE, 0) + VcpuInfo.evtchnUpcallMask.offset] = 1
    hub.domains.set(id, this)
    this.boot = this.buildBoot(options.console)
    this.runner = new TypeScriptRunner(this.hypercalls, {
      program: options.program, random: new SeededRandom(id), boot: () => this.boot,
      onCrash: (error) => { this.crash = error }, ...(options.store === undefined ? {} : { store: options.store }),
    })
  }

  /** The kernel; there from the first run on. */
  get kernel(): GuestKernel {
    const kernel = this.runner.kernel
    if (kernel === undefined) throw new XenError('INVALID_STATE', `domain ${this.id} has not booted`)
    return kernel
  }

  private buildBoot(console: FakeDomainOptions['console']): BootInfo {
    const base = { sharedInfo: this.sharedInfo, frames: [...this.frames], commandLine: '' }
    if (console === undefined) return base
    const frame = this.frames[1]!
    const port = this.open({ kind: 'unbound', remote: console.back }) as EventPort
    this.setupGrantTable(1)
    GrantEntryV1.encode(this.hub.view, this.grantEntry(0)!, { flags: GTF.permit_access, domid: console.back, frame })
    return { ...base, console: { frame, port } }
  }

  /** Marks a port pending as Xen does, and makes the vCPU runnable when it may be told. */
  setPending(port: number): void {
    const { words, bytes } = this.hub
    const base = this.sharedInfo * PAGE_SIZE
    const vcpu = SharedInfo.vcpuInfo.at(base, 0)
    const pending = (SharedInfo.evtchnPending.at(base, 0) >>> 2) + (port >>> 5)
    const mask = (SharedInfo.evtchnMask.at(base, 0) >>> 2) + (port >>> 5)
    const bit = 1 << (port & 31)
    words[pending]! |= bit
    if ((words[mask]! & bit) !== 0) return
    const word = port >>> 6
    words[((vcpu + VcpuInfo.evtchnPendingSel.offset) >>> 2) + (word >>> 5)]! |= 1 << (word & 31)
    bytes[vcpu + VcpuInfo.evtchnUpcallPending.offset] = 1
    if (bytes[vcpu + VcpuInfo.evtchnUpcallMask.offset] === 0) this.runnable = true
  }

  private isPending(port: number): boolean {
    const words = this.hub.words
    return (words[(SharedInfo.evtchnPending.at(this.sharedInfo * PAGE_SIZE, 0) >>> 2) + (port >>> 5)]! & (1 << (port & 31))) !== 0
  }

  /** Opens an event channel on the lowest free port; -ENOSPC when there is none. */
  open(channel: FakeChannel): number {
    for (let port = 1; port < EVTCHN_2L_NR_CHANNELS; port += 1) {
      if (this.channels.has(port)) continue
      this.channels.set(port, channel)
      return port
    }
    return -ERRNO.ENOSPC
  }

  private virqPort(virq: number): number | undefined {
    for (const [port, channel] of this.channels) if (channel.kind === 'virq' && channel.virq === virq) return port
    return undefined
  }

  private close(port: number): number {
    const channel = this.channels.get(port)
    if (channel === undefined) return -ERRNO.EINVAL
    this.channels.delete(port)
    if (channel.kind === 'interdomain') {
      const remote = this.hub.domains.get(channel.remote)
      remote?.channels.set(channel.remotePort, { kind: 'unbound', remote: this.id })
    }
    return 0
  }

  private bind(remoteId: number, remotePort: number): number {
    const remote = this.hub.domains.get(remoteId)
    const channel = remote?.channels.get(remotePort)
    if (remote === undefined) return -ERRNO.ESRCH
    if (channel?.kind !== 'unbound' || channel.remote !== this.id) return -ERRNO.EINVAL
    const port = this.open({ kind: 'interdomain', remote: remoteId, remotePort })
    remote.channels.set(remotePort, { kind: 'interdomain', remote: this.id, remotePort: port })
    // Xen makes a fresh binding pending, in case an event was sent before.
    this.setPending(port)
    return port
  }

  private send(port: number): number {
    const channel = this.channels.get(port)
    if (channel === undefined) return -ERRNO.EINVAL
    if (channel.kind === 'ipi') this.setPending(port)
    if (channel.kind === 'interdomain') this.hub.domains.get(channel.remote)?.setPending(channel.remotePort)
    return channel.kind === 'virq' ? -ERRNO.EINVAL : 0
  }

  private unmask(port: number): number {
    if (!this.channels.has(port)) return -ERRNO.EINVAL
    this.hub.words[(SharedInfo.evtchnMask.at(this.sharedInfo * PAGE_SIZE, 0) >>> 2) + (port >>> 5)]! &= ~(1 << (port & 31))
    if (this.isPending(port)) this.setPending(port)
    return 0
  }

  /** Byte address of an entry of its grant table; undefined beyond it. */
  grantEntry(ref: number): number | undefined {
    const table = this.grantTable[Math.floor(ref / ENTRIES)]
    return table === undefined ? undefined : table * PAGE_SIZE + (ref % ENTRIES) * GrantEntryV1.size
  }

  /** Makes the table `frames` long. */
  private setupGrantTable(frames: number): readonly Mfn[] | number {
    if (frames > this.maxGrantFrames) return -ERRNO.EINVAL
    while (this.grantTable.length < frames) this.grantTable.push(this.hub.takeFrame())
    return [...this.grantTable]
  }

  private map(use: GrantUse): { status: number; handle: GrantHandle; frame: Mfn } {
    const bad = (status: number): { status: number; handle: GrantHandle; frame: Mfn } =>
      ({ status, handle: 0 as GrantHandle, frame: 0 as Mfn })
    const checked = this.hub.grants.check(this.id, use)
    if (typeof checked !== 'object') return bad(checked)
    this.hub.grants.use(use, 1)
    const handle = this.hub.grants.takeHandle()
    this.mappings.set(handle, use)
    return { status: GNTST.okay, handle, frame: checked.frame }
  }

  private unmap(handle: number): number {
    const mapping = this.mappings.get(handle)
    if (mapping === undefined) return GNTST.bad_handle
    this.mappings.delete(handle)
    this.hub.grants.use(mapping, -1)
    return GNTST.okay
  }

  private copySide(side: GrantCopySide, readOnly: boolean): { readonly frame: Mfn } | number {
    if ('ref' in side) return this.hub.grants.check(this.id, { domid: side.domid, ref: side.ref, readOnly })
    return this.owned.has(side.frame) ? side : GNTST.bad_page
  }

  private copy({ source, destination, length }: GrantCopy): number {
    const from = this.copySide(source, true)
    const to = this.copySide(destination, false)
    if (typeof from === 'number') return from
    if (typeof to === 'number') return to
    if (source.offset + length > PAGE_SIZE || destination.offset + length > PAGE_SIZE) return GNTST.bad_copy_arg
    const start = from.frame * PAGE_SIZE + source.offset
    this.hub.bytes.copyWithin(to.frame * PAGE_SIZE + destination.offset, start, start + length)
    return GNTST.okay
  }

  private decrease(frames: readonly Mfn[]): number {
    let done = 0
    for (const frame of frames) {
      if (!this.owned.delete(frame)) break
      this.hub.freeFrames.push(frame)
      done += 1
    }
    return done
  }

  private increase(count: number): readonly Mfn[] {
    const taken: Mfn[] = []
    while (taken.length < count && this.owned.size < this.maxPages && this.hub.freeFrames.length > 0) {
      const frame = this.hub.freeFrames.pop()!
      this.owned.add(frame)
      taken.push(frame)
    }
    return taken
  }

  /** SCHEDOP_watchdog, as the hypervisor has it. */
  private watch(id: number, seconds: number): number {
    const index = id === 0 ? this.watchdogs.indexOf(0) : id - 1
    if (index < 0) return -ERRNO.ENOSPC
    if (!(index in this.watchdogs) || (id !== 0 && this.watchdogs[index] === 0)) return -ERRNO.EINVAL
    this.watchdogs[index] = id !== 0 && seconds === 0 ? 0 : this.hub.clock.now() + seconds * NANOSECONDS
    return id === 0 ? index + 1 : 0
  }

  private makePort(): HypercallPort {
    const { hub } = this
    const isPrivileged = this.id === 0
    const calls: HypercallPort = {
      domid: this.id,
      memory: { view: hub.view, bytes: hub.bytes, words: hub.words, markWritten: (frame) => hub.written.add(frame) },
      now: () => hub.clock.now(),
      allocUnbound: (domid, remote) => {
        const target = domid === DOMID.SELF ? this : hub.domains.get(domid)
        if (target === undefined) return -ERRNO.ESRCH
        return target === this || isPrivileged ? target.open({ kind: 'unbound', remote }) : -ERRNO.EPERM
      },
      bindInterdomain: (remote, remotePort) => this.bind(remote, remotePort),
      bindVirq: (virq) => this.open({ kind: 'virq', virq }),
      bindIpi: () => this.open({ kind: 'ipi' }),
      closePort: (port) => this.close(port),
      sendEvent: (port) => this.send(port),
      unmaskPort: (port) => this.unmask(port),
      bindVcpu: () => 0,
      // Only the 2-level ABI.
      initControl: () => -ERRNO.ENOSYS,
      expandArray: () => -ERRNO.ENOSYS,
      setupGrantTable: (frames) => this.setupGrantTable(frames),
      mapGrant: ({ domid, ref, readOnly }) => this.map({ domid, ref, readOnly: readOnly === true }),
      unmapGrant: (handle) => this.unmap(handle),
      copyGrants: (copies) => copies.map((copy) => this.copy(copy)),
      decreaseReservation: (frames) => this.decrease(frames),
      increaseReservation: (count) => this.increase(count),
      currentReservation: () => this.owned.size,
      maximumReservation: () => this.maxPages,
      setTimer: (deadline) => { this.deadline = deadline; return 0 },
      watchdog: (id, seconds) => this.watch(id, seconds),
      shutdown: (reason) => { this.shutdownReason = reason; this.runnable = false; return 0 },
      consoleWrite: (text) => { hub.log.push(new TextDecoder().decode(text)); return 0 },
      version: () => 0x0004_0011,
      mapForeign: (domid, frame) => {
        if (!isPrivileged) return -ERRNO.EPERM
        if (hub.domains.get(domid)?.owned.has(frame) !== true) return -ERRNO.EINVAL
        this.foreignFrames += 1
        return frame
      },
      unmapForeign: () => {
        this.foreignFrames -= 1
        return 0
      },
    }
    return this.counted(calls)
  }

  private counted(calls: HypercallPort): HypercallPort {
    const entries = Object.entries(calls).map(([name, value]): [string, unknown] => {
      if (typeof value !== 'function' || name === 'now') return [name, value]
      return [name, (...args: unknown[]) => {
        this.calls.set(name, (this.calls.get(name) ?? 0) + 1)
        return (value as (...a: unknown[]) => unknown)(...args)
      }]
    })
    // Every property of the interface was taken over one by one.
    return Object.fromEntries(entries) as unknown as HypercallPort
  }
}
