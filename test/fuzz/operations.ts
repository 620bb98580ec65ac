/**
 * Random operations on the domains of two hosts that overlap, are given up at any moment, and meet guests that obey, are
 * deaf, lie about their devices or end. Afterwards everything is looked at from outside: every promise has settled with a
 * code, XenStore is as it was to the last value, nothing is in use, every store was closed, and at no moment did two
 * hosts run the same domain.
 */
import { SHUTDOWN } from '../../src/abi/index.ts'
import * as drivers from '../../src/drivers/index.ts'
import type { BlockStore } from '../../src/drivers/index.ts'
import * as guest from '../../src/guest/index.ts'
import type { GuestProgram } from '../../src/guest/index.ts'
import { compareResources, resourceSnapshot, type ResourceSnapshot } from '../../src/testing/index.ts'
import * as toolstack from '../../src/toolstack/index.ts'
import type { Domain, DomainOptions, Host, KernelSource } from '../../src/toolstack/index.ts'
import { SeededRandom, XenError, below } from '../../src/util/index.ts'
import type { LocalStore } from '../../src/xenstore/index.ts'

/** The layers that are explored: as they stand, or with a fault planted. */
export interface Library {
  readonly drivers: Pick<typeof drivers, 'BlockFrontend' | 'MemoryBlockStore' | 'NetFrontend'>
  readonly guest: Pick<typeof guest, 'FrontendBus'>
  readonly toolstack: Pick<typeof toolstack, 'Host' | 'transportPair'>
}

const SOURCE: Library = { drivers, guest, toolstack }

/** What one exploration has done. */
export interface Exploration {
  /** Operations by name and outcome: `save: done`, `save: ABORTED`. */
  readonly outcomes: Map<string, number>
  /** What was wrong, in words; empty when all is well. */
  readonly findings: readonly string[]
}

/** Codes by which an operation that meets others may end. Anything else is a fault. */
const CODES: readonly string[] = [
  'ABORTED', 'BUSY', 'SUPERSEDED', 'DOMAIN_NOT_FOUND', 'DOMAIN_EXISTS', 'DEVICE_NOT_FOUND', 'DEVICE_EXISTS', 'INVALID_STATE',
  'INVALID_ARGUMENT', 'TIMED_OUT', 'IDLE', 'DOMAIN_CRASHED', 'OUT_OF_MEMORY', 'CLOSED', 'IO', 'MIGRATION_UNDECIDED',
]

/** Turns of JavaScript's microtasks by which everybody has heard of what was given up in one step. */
const MICROTASKS = 50
const NAMES = ['a', 'b', 'c', 'd'] as const
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Uses every device that it gets, and obeys. */
const good = (library: Library): GuestProgram => async (kernel) => {
  const [disks, nics] = [new library.drivers.BlockFrontend(), new library.drivers.NetFrontend()]
  const bus = new library.guest.FrontendBus(kernel)
  await bus.register(disks)
  await bus.register(nics)
  kernel.console!.log('up')
  const disk = await disks.disk(51712)
  for (let sector = 0; sector < 8; sector += 1) {
    await disk.write(sector, new Uint8Array(512).fill(sector)).catch(() => undefined)
    await kernel.sleep(1e6)
  }
}
/** Takes requests and obeys none. */
const deaf: GuestProgram = (kernel) => kernel.control.beforeShutdown(() => new Promise(() => undefined))
/** Writes any state into whatever devices it has, and removes them. */
const liar: GuestProgram = async (kernel) => {
  for (let round = 0; round < 40; round += 1) {
    for (const kind of ['vbd', 'vif']) {
      for (const id of await kernel.store!.directory(`device/${kind}`).catch(() => [])) {
        const path = `device/${kind}/${id}`
        const state = String(below(kernel.random, 9))
        const lie = below(kernel.random, 8) === 0 ? kernel.store!.remove(path) : kernel.store!.write(`${path}/state`, state)
        await lie.catch(() => undefined)
      }
    }
    await kernel.sleep(3e6)
  }
}
/** Ends itself sooner or later, in one way or another. */
const brief: GuestProgram = async (kernel) => {
  kernel.console!.log('brief')
  await kernel.sleep(below(kernel.random, 5) * 1e7)
  const ways = ['poweroff', 'reboot', 'crash'] as const
  kernel.shutdown(ways[below(kernel.random, 3)]!)
}

/** Every node with its value and its permissions. */
function dump(store: LocalStore, path = ''): string[] {
  return store.list(path === '' ? '/' : path).flatMap((name) => {
    const node = `${path}/${name}`
    return [`${node} = ${store.tryRead(node)} (${store.getPermissions(node).join()})`, ...dump(store, node)]
  })
}

/** A memory target that somebody waits for. */
interface Target {
  readonly mebibytes: number
  begun: boolean
  settled: boolean
}

/** How a second save or migration of a domain may end while the first goes on. */
const REFUSALS: readonly string[] = ['BUSY', 'DOMAIN_NOT_FOUND', 'CLOSED', 'ABORTED', 'DOMAIN_CRASHED', 'IDLE']

interface Side {
  readonly host: Host
  readonly before: ResourceSnapshot
  readonly nodes: readonly string[]
}

/** One exploration on its way. */
class Explorer {
  readonly outcomes = new Map<string, number>()
  readonly findings: string[] = []
  private readonly random: SeededRandom
  private readonly sides: Side[] = []
  private readonly pending = new Map<Promise<void>, string>()
  private readonly aborts: { readonly controller: AbortController; turns: number }[] = []
  /** Stores that are open. */
  private readonly open = new Set<BlockStore>()
  private readonly hanging: (() => void)[] = []
  /** A host does not settle while an action waits for an opener: then each comes by itself. */
  private isSettling = false
  /** Targets of each domain in the order in which they were asked for, and the one that counts. */
  private readonly targets = new Map<Domain, { all: Target[]; newest: Target | undefined }>()
  /** Saves and migrations that are under way. */
  private readonly movements = new Map<Domain, Set<object>>()
  private readonly library: Library
  private readonly programs: readonly GuestProgram[]

  constructor(seed: number, library: Library) {
    this.random = new SeededRandom(seed)
    this.library = library
    const obedient = good(library)
    this.programs = [obedient, obedient, deaf, liar, brief]
  }

  private chance(percent: number): boolean {
    return below(this.random, 100) < percent
  }

  private pick<T>(values: readonly T[]): T | undefined {
    return values.length === 0 ? undefined : values[below(this.random, values.length)]
  }

  /** A store, at once or after a while, or a failure; some never come before they are told. */
  private readonly openDisk = (): BlockStore | Promise<BlockStore> => {
    const make = (): BlockStore => {
      const store = new this.library.drivers.MemoryBlockStore(1 << 16)
      this.open.add(store)
      store.close = () => void this.open.delete(store)
      return store
    }
    const kind = below(this.random, 10)
    if (kind === 0) throw new XenError('IO', 'no such image')
    if (kind === 1 && !this.isSettling) return new Promise((resolve) => this.hanging.push(() => resolve(make())))
    if (kind < 5) return turn().then(make)
    return make()
  }

  async begin(): Promise<void> {
    for (const seed of [1, 2]) {
      const host = await this.library.toolstack.Host.boot({ memory: 64, dom0Memory: 8, seed, openDisk: this.openDisk })
      // The first device starts dom0's back-ends, which stay.
      const first = await host.createDomain({ name: 'first', memory: 4, kernel: this.programs[0]!, nics: [''] })
      await first.console.waitFor('up')
      await first.destroy()
      await host.settled()
      host.events.on('memory-target', ({ domid: id, mebibytes }) => this.targetBegins(host, id, mebibytes))
      this.sides.push({ host, before: resourceSnapshot(host), nodes: dump(host.store) })
    }
  }

  private start(name: string, work: (signal: AbortSignal) => Promise<unknown>): void {
    const controller = new AbortController()
    if (this.chance(30)) this.aborts.push({ controller, turns: below(this.random, 40) })
    const count = (outcome: string): void => {
      const key = `${name}: ${outcome}`
      this.outcomes.set(key, (this.outcomes.get(key) ?? 0) + 1)
    }
    const done = (async () => work(controller.signal))().then(() => count('done'), (error: unknown) => {
      const code = XenError.is(error) ? error.code : String(error)
      count(code)
      if (!XenError.is(error) || !CODES.includes(code)) {
        this.findings.push(`${name} ended with ${error instanceof Error ? error.stack : String(error)}`)
      }
    }).finally(() => this.pending.delete(done))
    this.pending.set(done, name)
  }

  private targetBegins(host: Host, id: number, mebibytes: number): void {
    const known = this.targets.get(host.domain(id))
    const begun = known?.all.find((target) => !target.begun && target.mebibytes === mebibytes)
    if (known === undefined || begun === undefined) return
    begun.begun = true
    known.newest = begun
  }

  /** A target that fails while a newer one is under way leaves the newer one where the guest reads it. */
  private async target(domain: Domain, host: Host, work: (mebibytes: number) => Promise<void>): Promise<void> {
    const own: Target = { mebibytes: 2 + below(this.random, 5), begun: false, settled: false }
    const known = this.targets.get(domain) ?? { all: [], newest: undefined }
    this.targets.set(domain, known)
    known.all.push(own)
    try {
      await work(own.mebibytes)
    } catch (error) {
      own.settled = true
      const { newest } = known
      const now = host.store.tryRead(`/local/domain/${domain.id}/memory/target`)
      const differs = newest !== undefined && newest !== own && now !== undefined && now !== String(newest.mebibytes * 1024) && domain.exists
      // The newer one may have been given up in the same step, before this one heard of it: then it is heard of within the same turn.
      for (let i = 0; i < MICROTASKS; i += 1) await Promise.resolve()
      const isUndone = differs && !newest.settled
      if (isUndone) this.findings.push(`a target of ${own.mebibytes} MiB undoes a newer one of ${newest.mebibytes}: ${now}`)
      throw error
    } finally {
      own.settled = true
      known.all.splice(known.all.indexOf(own), 1)
    }
  }

  /** Of saves and migrations of one domain only one goes on at a time. */
  private async movement(domain: Domain, work: () => Promise<unknown>): Promise<void> {
    const own = {}
    const current = this.movements.get(domain) ?? new Set()
    const before = [...current]
    this.movements.set(domain, current.add(own))
    const code = await work().then(() => 'done', (error: unknown) => error)
    current.delete(own)
    const isRefused = XenError.is(code) && REFUSALS.includes(code.code)
    if (!isRefused && before.some((other) => current.has(other))) {
      this.findings.push(`two movements of domain ${domain.id} at once: ${String(code)}`)
    }
    if (code !== 'done') throw code
  }

  /** Whoever has seen a domain end finds its action done: its name is free where it is not kept. */
  private async ended(domain: Domain, work: Promise<string>): Promise<void> {
    const reason = await work
    const { actions } = domain.config
    const action = reason === 'poweroff' ? actions.poweroff : reason === 'reboot' ? actions.reboot : 'preserve'
    if (action !== 'preserve' && domain.exists) this.findings.push(`domain ${domain.id} is there after its ${reason}`)
  }

  /** Only what is suspended may be let go on. */
  private resume(domain: Domain): void {
    const { shutdownReason } = domain.info()
    domain.resume()
    if (shutdownReason !== SHUTDOWN.suspend) this.findings.push(`domain ${domain.id} was resumed after ending by ${shutdownReason}`)
  }

  private config(): DomainOptions<KernelSource> {
    const binary = this.chance(8)
    return {
      name: this.pick(NAMES)!, memory: 4, maxMemory: 6, maxVcpus: 2, vcpus: 1,
      kernel: binary ? undefined : this.pick(this.programs)!,
      disks: !binary && this.chance(30) ? ['/x,raw,xvda,w'] : [], nics: !binary && this.chance(30) ? [''] : [],
      actions: { reboot: this.pick(['restart', 'destroy', 'preserve'] as const)!, crash: this.pick(['destroy', 'preserve'] as const)! },
    }
  }

  /** One operation, and not waited for. */
  private step(): void {
    const { host } = this.pick(this.sides)!
    const domain = this.pick(host.domains())
    if (domain === undefined || this.chance(20)) {
      this.start('create', (signal) => host.createDomain(this.config(), { signal, paused: this.chance(10) }))
      return
    }
    this.stepOn(domain, host)
  }

  private stepOn(domain: Domain, host: Host): void {
    const timeout = (1 + below(this.random, 30)) * 1e8
    const sink = { write: () => (this.chance(5) ? turn() : undefined) }
    const steps: readonly (readonly [weight: number, name: string, work: (signal: AbortSignal) => unknown])[] = [
      [6, 'destroy', () => domain.destroy()],
      [6, 'shutdown', (signal) => this.ended(domain, domain.shutdown({ signal, timeout }))],
      [4, 'reboot', (signal) => this.ended(domain, domain.reboot({ signal, timeout }))],
      [6, 'save', (signal) => this.movement(domain, async () => domain.save(sink, { signal, timeout, afterwards: this.pick(['destroy', 'resume', 'pause'] as const) }))],
      [8, 'migrate', (signal) => this.movement(domain, () => this.migrate(domain, host, signal, timeout))],
      [8, 'target', (signal) => this.target(domain, host, async (mebibytes) => domain.setMemTarget(mebibytes, { signal, timeout }))],
      [3, 'maximum', (signal) => domain.setMaxMem(4 + below(this.random, 3), { signal })],
      [4, 'vcpus', (signal) => domain.setVcpus(1 + below(this.random, 2), { signal, timeout, wait: this.chance(50) })],
      [8, 'attach disk', (signal) => domain.attachDisk('/x,raw,xvda,w', { signal })],
      [8, 'detach disk', (signal) => domain.detachDisk('xvda', { signal, force: this.chance(30) })],
      [8, 'attach nic', (signal) => domain.attachNic('', { signal })],
      [8, 'detach nic', (signal) => domain.detachNic(below(this.random, 2), { signal })],
      [4, 'wait', (signal) => domain.waitForShutdown({ signal, timeout })],
      [3, 'read', (signal) => domain.console.waitFor('never', { signal, timeout })],
      [4, 'pause', () => {
        domain.pause()
        return turn().then(() => domain.unpause())
      }],
      [2, 'resume', () => this.resume(domain)],
    ]
    let ticket = below(this.random, steps.reduce((sum, [weight]) => sum + weight, 0))
    const chosen = steps.find(([weight]) => (ticket -= weight) < 0)!
    this.start(chosen[1], async (signal) => chosen[2](signal))
  }

  private async migrate(domain: Domain, host: Host, signal: AbortSignal, timeout: number): Promise<unknown> {
    const other = this.sides.find((side) => side.host !== host)!.host
    const { ends, cut } = this.library.toolstack.transportPair()
    this.start('receive', (stop) => other.receiveMigration(ends[1], { signal: stop, trust: 'all', kernel: typeof domain.config.kernel === 'function' ? domain.config.kernel : undefined }))
    if (this.chance(20)) void this.turns(below(this.random, 60)).then(cut)
    return domain.migrate(ends[0], { signal, timeout }).finally(() => void this.turns(200).then(cut))
  }

  private async turns(count: number): Promise<void> {
    for (let i = 0; i < count; i += 1) {
      await turn()
      this.checkOnce()
    }
  }

  /** At most one of the hosts may run a domain that moves. */
  private checkOnce(): void {
    const running = this.sides.map(({ host }) => new Set(host.domains().filter((domain) => {
      if (!host.hypervisor.hasDomain(domain.id)) return false
      const { paused, shutdown, crashed, dying } = domain.info()
      return !paused && !shutdown && !crashed && !dying
    }).map(({ uuid }) => uuid)))
    for (const uuid of running[0]!) if (running[1]!.has(uuid)) this.findings.push(`both hosts run ${uuid}`)
    for (const entry of this.aborts) if ((entry.turns -= 1) === 0) entry.controller.abort()
  }

  async run(steps: number): Promise<void> {
    // Behind a finding a host may be busy for ever.
    for (let i = 0; i < steps && this.findings.length === 0; i += 1) {
      this.step()
      if (this.chance(70)) await this.turns(below(this.random, 12))
      if (this.chance(10)) this.hanging.pop()?.()
      if (this.chance(5) && this.findings.length === 0) {
        this.answerAll()
        await this.pick(this.sides)!.host.settled()
        this.isSettling = false
      }
    }
  }

  /** From now on no opener hangs. */
  private answerAll(): void {
    this.isSettling = true
    for (const answer of this.hanging.splice(0)) answer()
  }

  /** Ends everything, and looks whether anything is left; what was found already is told as it is. */
  async finish(): Promise<void> {
    if (this.findings.length > 0) {
      for (const { host } of this.sides) void host.shutdown().catch(() => undefined)
      return
    }
    for (const { controller } of this.aborts) controller.abort()
    for (const { host } of this.sides) for (const domain of host.domains()) this.start('last destroy', () => domain.destroy())
    for (let rounds = 0; rounds < 400 && this.pending.size > 0; rounds += 1) {
      for (const answer of this.hanging.splice(0)) answer()
      await this.turns(50)
      for (const { host } of this.sides) for (const domain of host.domains()) await domain.destroy().catch(() => undefined)
    }
    if (this.pending.size > 0) this.findings.push(`never ended: ${[...this.pending.values()].join(', ')}`)
    this.answerAll()
    // A domain that is to start anew is nowhere to be seen during the pause before it does.
    for (const { host } of this.sides) {
      await host.settled()
      for (const domain of host.domains()) await domain.destroy().catch(() => undefined)
    }
    for (const side of this.sides) await this.compare(side)
    if (this.open.size > 0) this.findings.push(`${this.open.size} stores were not closed`)
    for (const { host } of this.sides) await host.shutdown()
  }

  private async compare({ host, before, nodes }: Side): Promise<void> {
    await this.turns(20)
    await host.settled()
    await this.turns(20)
    await host.settled()
    const now = dump(host.store)
    const [old, present] = [new Set(nodes), new Set(now)]
    this.findings.push(
      ...now.filter((node) => !old.has(node)).map((node) => `left: ${node}`),
      ...nodes.filter((node) => !present.has(node)).map((node) => `gone: ${node}`),
      ...compareResources(before, resourceSnapshot(host)),
      ...host.hypervisor.checkInvariants().map((finding) => JSON.stringify(finding)),
      ...host.hypervisor.listDomains().slice(1).map(({ domid }) => `domain ${domid} is still there`),
    )
  }
}

/** Explores `steps` operations; the same seed explores the same. */
export async function exploreOperations(seed: number, steps: number, library = SOURCE): Promise<Exploration> {
  const explorer = new Explorer(seed, library)
  await explorer.begin()
  await explorer.run(steps)
  await explorer.finish()
  return { outcomes: explorer.outcomes, findings: explorer.findings }
}
