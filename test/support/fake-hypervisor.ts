/**
 * A hypervisor for unit tests of guests and drivers: memory, event channels (2-level), grant tables (version 1), memory
 * reservation and timers for several guests in TypeScript, and a loop that runs them on a virtual clock. It checks what
 * the real one checks where tests depend on it, and nothing else; system tests use the real one.
 */
import {
  ERRNO, EVTCHN_2L_NR_CHANNELS, GNTST, GTF, GrantEntryV1, SharedInfo, VIRQ, VcpuInfo,
} from '../../src/abi/index.ts'
import type { BootInfo, GuestKernel, GuestProgram, RunnerOptions } from '../../src/guest/index.ts'
import { TypeScriptRunner } from '../../src/guest/index.ts'
import type { GrantCopy, GrantCopySide, HypercallPort } from '../../src/abi/hypercall-port.ts'
import type { DomId, EventPort, GrantHandle, Mfn } from '../../src/util/index.ts'
import { ManualClock, SeededRandom } from '../../src/util/index.ts'

type Channel =
  | { readonly kind: 'unbound'; readonly remote: number }
  | { readonly kind: 'interdomain'; readonly remote: number; readonly remotePort: number }
  | { readonly kind: 'virq'; readonly virq: number }
  | { readonly kind: 'ipi' }

interface Mapping {
  readonly domain: number
  readonly ref: number
  readonly readOnly: boolean
}

/** Options of {@link FakeHypervisor.createDomain}. */
export interface FakeDomainOptions extends Partial<Omit<RunnerOptions, 'program'>> {
  readonly pages?: number
  readonly maxPages?: number
  readonly grantFrames?: number
  /** Port that dom `back` may bind to for the console; makes a console ring. */
  readonly console?: { readonly back: number }
}

/** One domain of the fake: its state and its hypercall port. */
export class FakeDomain {
  readonly id: DomId
  readonly hub: FakeHypervisor
  readonly port: HypercallPort
  readonly sharedInfo: Mfn
  readonly frames: Mfn[]
  readonly owned: Set<number>
  readonly channels = new Map<number, Channel>()
  readonly mappings = new Map<number, Mapping>()
  maxPages: number
  maxGrantFrames: number
  grantTable: Mfn[] = []
  deadline = 0
  runnable = true
  shutdownReason: number | undefined
  /** How often each hypercall was made. */
  readonly calls = new Map<string, number>()
  boot!: BootInfo
  runner!: TypeScriptRunner
  crash: unknown

  constructor(hub: FakeHypervisor, id: number, options: FakeDomainOptions) {
    this.hub = hub
    this.id = id as DomId
    this.sharedInfo = hub.takeFrame()
    this.frames = Array.from({ length: options.pages ?? 64 }, () => hub.takeFrame())
    this.owned = new Set(this.frames)
    this.maxPages = options.maxPages ?? this.frames.length
    this.maxGrantFrames = options.grantFrames ?? 4
    this.port = this.makePort()
    this.memoryBytes[SharedInfo.vcpuInfo.at(this.sharedInfo * 4096, 0) + VcpuInfo.evtchnUpcallMask.offset] = 1
  }

  /** The kernel; there from the first run on. */
  get kernel(): GuestKernel {
    const kernel = this.runner.kernel
    if (kernel === undefined) throw new Error(`domain ${this.id} has not booted`)
    return kernel
  }

  private get memoryBytes(): Uint8Array {
    return this.hub.bytes
  }

  /** Marks a port pending as Xen does, and makes the vCPU runnable when it may be told. */
  setPending(port: number): void {
    const { words, bytes } = this.hub
    const base = this.sharedInfo * 4096
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
    return (words[(SharedInfo.evtchnPending.at(this.sharedInfo * 4096, 0) >>> 2) + (port >>> 5)]! & (1 << (port & 31))) !== 0
  }

  open(channel: Channel): number {
    for (let port = 1; port < EVTCHN_2L_NR_CHANNELS; port += 1) {
      if (this.channels.has(port)) continue
      this.channels.set(port, channel)
      return port
    }
    return -ERRNO.ENOSPC
  }

  virqPort(virq: number): number | undefined {
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
    this.hub.words[(SharedInfo.evtchnMask.at(this.sharedInfo * 4096, 0) >>> 2) + (port >>> 5)]! &= ~(1 << (port & 31))
    if (this.isPending(port)) this.setPending(port)
    return 0
  }

  /** Address of a grant entry, or undefined. */
  grantEntry(ref: number): number | undefined {
    const table = this.grantTable[Math.floor(ref / 512)]
    return table === undefined ? undefined : table * 4096 + (ref % 512) * GrantEntryV1.size
  }

  /** Makes the table `frames` long; used by the builder for the seeded entries too. */
  setupGrantTable(frames: number): readonly Mfn[] | number {
    if (frames > this.maxGrantFrames) return -ERRNO.EINVAL
    while (this.grantTable.length < frames) this.grantTable.push(this.hub.takeFrame())
    return [...this.grantTable]
  }

  private map(domain: number, ref: number, readOnly: boolean): { status: number; handle: GrantHandle; frame: Mfn } {
    const bad = (status: number): { status: number; handle: GrantHandle; frame: Mfn } =>
      ({ status, handle: 0 as GrantHandle, frame: 0 as Mfn })
    const checked = this.hub.checkGrant(this.id, domain, ref, readOnly)
    if (typeof checked !== 'object') return bad(checked)
    this.hub.useGrant(domain, ref, readOnly, 1)
    const handle = this.hub.nextHandle++ as GrantHandle
    this.mappings.set(handle, { domain, ref, readOnly })
    return { status: GNTST.okay, handle, frame: checked.frame }
  }

  private unmap(handle: number): number {
    const mapping = this.mappings.get(handle)
    if (mapping === undefined) return GNTST.bad_handle
    this.mappings.delete(handle)
    this.hub.useGrant(mapping.domain, mapping.ref, mapping.readOnly, -1)
    return GNTST.okay
  }

  private copySide(side: GrantCopySide, readOnly: boolean): { readonly frame: Mfn } | number {
    if ('ref' in side) return this.hub.checkGrant(this.id, side.domain, side.ref, readOnly)
    return this.owned.has(side.frame) ? side : GNTST.bad_page
  }

  private copy({ source, destination, length }: GrantCopy): number {
    const from = this.copySide(source, true)
    const to = this.copySide(destination, false)
    if (typeof from === 'number') return from
    if (typeof to === 'number') return to
    if (source.offset + length > 4096 || destination.offset + length > 4096) return GNTST.bad_copy_arg
    const start = from.frame * 4096 + source.offset
    this.hub.bytes.copyWithin(to.frame * 4096 + destination.offset, start, start + length)
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

  private makePort(): HypercallPort {
    const { hub } = this
    const isPrivileged = this.id === 0
    const calls: HypercallPort = {
      domain: this.id,
      memory: { view: hub.view, bytes: hub.bytes, words: hub.words, markWritten: (frame) => hub.written.add(frame) },
      now: () => hub.clock.now(),
      allocUnbound: (domain, remote) => {
        const target = domain === 0x7ff0 ? this : hub.domains.get(domain)
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
      setupGrantTable: (frames) => this.setupGrantTable(frames),
      mapGrant: ({ domain, ref, readOnly }) => this.map(domain, ref, readOnly === true),
      unmapGrant: (handle) => this.unmap(handle),
      copyGrants: (copies) => copies.map((copy) => this.copy(copy)),
      decreaseReservation: (frames) => this.decrease(frames),
      increaseReservation: (count) => this.increase(count),
      currentReservation: () => this.owned.size,
      maximumReservation: () => this.maxPages,
      setTimer: (deadline) => { this.deadline = deadline; return 0 },
      shutdown: (reason) => { this.shutdownReason = reason; this.runnable = false; return 0 },
      consoleWrite: (text) => { hub.log.push(new TextDecoder().decode(text)); return 0 },
      version: () => 0x0004_0011,
      mapForeign: (domain, frame) => {
        if (!isPrivileged) return -ERRNO.EPERM
        return hub.domains.get(domain)?.owned.has(frame) === true ? frame : -ERRNO.EINVAL
      },
      unmapForeign: () => 0,
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

/** The hub that the domains share. */
export class FakeHypervisor {
  readonly buffer: ArrayBuffer
  readonly bytes: Uint8Array
  readonly view: DataView
  readonly words: Uint32Array
  readonly clock = new ManualClock(1_000_000_000)
  readonly domains = new Map<number, FakeDomain>()
  readonly freeFrames: Mfn[] = []
  readonly written = new Set<number>()
  readonly log: string[] = []
  nextHandle = 1
  private readonly uses = new Map<string, { reading: number; writing: number }>()

  constructor(frames = 4096) {
    this.buffer = new ArrayBuffer(frames * 4096)
    this.bytes = new Uint8Array(this.buffer)
    this.view = new DataView(this.buffer)
    this.words = new Uint32Array(this.buffer)
    for (let frame = frames - 1; frame > 0; frame -= 1) this.freeFrames.push(frame as Mfn)
  }

  /** A frame from the free pool. */
  takeFrame(): Mfn {
    const frame = this.freeFrames.pop()
    if (frame === undefined) throw new Error('the fake host is out of memory')
    return frame
  }

  /** Builds a domain; it runs with the next {@link FakeHypervisor.settle}. */
  createDomain(id: number, program: GuestProgram, options: FakeDomainOptions = {}): FakeDomain {
    const domain = new FakeDomain(this, id, options)
    this.domains.set(id, domain)
    domain.boot = this.buildBoot(domain, options)
    domain.runner = new TypeScriptRunner(domain.port, {
      program, random: new SeededRandom(id), boot: () => domain.boot,
      onCrash: (error) => { domain.crash = error }, ...(options.store === undefined ? {} : { store: options.store }),
    })
    return domain
  }

  private buildBoot(domain: FakeDomain, options: FakeDomainOptions): BootInfo {
    const base = { sharedInfo: domain.sharedInfo, frames: [...domain.frames], commandLine: '' }
    if (options.console === undefined) return base
    const frame = domain.frames[1]!
    const port = domain.open({ kind: 'unbound', remote: options.console.back }) as EventPort
    domain.setupGrantTable(1)
    GrantEntryV1.encode(this.view, domain.grantEntry(0)!, { flags: GTF.permit_access, domid: options.console.back, frame })
    return { ...base, console: { frame, port } }
  }

  /** The frame of a grant that `mapper` may use, or a GNTST status. */
  checkGrant(mapper: number, domain: number, ref: number, readOnly: boolean): { readonly frame: Mfn } | number {
    const owner = this.domains.get(domain)
    if (owner === undefined) return GNTST.bad_domain
    const entry = owner.grantEntry(ref)
    if (entry === undefined) return GNTST.bad_gntref
    const flags = GrantEntryV1.flags.get(this.view, entry)
    const granted = (flags & GTF.type_mask) === GTF.permit_access && GrantEntryV1.domid.get(this.view, entry) === mapper
    if (!granted || (!readOnly && (flags & GTF.readonly) !== 0)) return GNTST.general_error
    const frame = GrantEntryV1.frame.get(this.view, entry)
    return owner.owned.has(frame) ? { frame: frame as Mfn } : GNTST.bad_page
  }

  /** Counts the users of a grant and shows them in its flags. */
  useGrant(domain: number, ref: number, readOnly: boolean, by: number): void {
    const entry = this.domains.get(domain)?.grantEntry(ref)
    if (entry === undefined) return
    const key = `${domain}/${ref}`
    const use = this.uses.get(key) ?? { reading: 0, writing: 0 }
    use[readOnly ? 'reading' : 'writing'] += by
    this.uses.set(key, use)
    const shown = (use.reading + use.writing > 0 ? GTF.reading : 0) | (use.writing > 0 ? GTF.writing : 0)
    const flags = GrantEntryV1.flags.get(this.view, entry) & ~(GTF.reading | GTF.writing)
    GrantEntryV1.flags.set(this.view, entry, flags | shown)
  }

  /** Grant mappings of all domains. */
  get mappings(): number {
    return [...this.domains.values()].reduce((sum, domain) => sum + domain.mappings.size, 0)
  }

  /** Takes a domain away as a destroyed one goes: its ports close, its mappings end. */
  destroy(id: number): void {
    const domain = this.domains.get(id)
    if (domain === undefined) return
    for (const port of [...domain.channels.keys()]) domain.port.closePort(port as EventPort)
    for (const handle of [...domain.mappings.keys()]) domain.port.unmapGrant(handle as GrantHandle)
    this.domains.delete(id)
  }

  /**
   * Runs all domains until nothing is left to do, with time jumping from timer to timer up to `nanoseconds` from now.
   * JavaScript has its turn whenever a guest asked for one, and before time jumps.
   */
  async settle(nanoseconds = 0, slice = 1_000_000): Promise<void> {
    const end = this.clock.now() + nanoseconds
    for (let rounds = 0; rounds < 1_000_000; rounds += 1) {
      if (await this.runRunnable(slice)) continue
      await macrotask()
      const alive = [...this.domains.values()].filter((domain) => domain.shutdownReason === undefined)
      if (alive.some((domain) => domain.runnable)) continue
      const deadlines = alive.map((domain) => domain.deadline).filter((deadline) => deadline !== 0)
      const next = Math.min(...deadlines)
      if (next > end) {
        if (end > this.clock.now()) this.clock.advance(end - this.clock.now())
        return
      }
      if (next > this.clock.now()) this.clock.advance(next - this.clock.now())
      this.fireTimers()
    }
    throw new Error('the domains never come to rest')
  }

  /** Runs every runnable domain once; false when there was none. */
  private async runRunnable(slice: number): Promise<boolean> {
    let any = false
    for (const domain of this.domains.values()) {
      if (!domain.runnable || domain.shutdownReason !== undefined) continue
      any = true
      const { kind } = domain.runner.run(slice)
      this.clock.advance(domain.runner.executed)
      domain.runnable = kind !== 'block' && domain.shutdownReason === undefined
      if (kind === 'turn') await macrotask()
      this.fireTimers()
    }
    return any
  }

  private fireTimers(): void {
    for (const domain of this.domains.values()) {
      if (domain.deadline === 0 || domain.deadline > this.clock.now()) continue
      domain.deadline = 0
      const port = domain.virqPort(VIRQ.TIMER)
      if (port !== undefined) domain.setPending(port)
    }
  }
}

const macrotask = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
