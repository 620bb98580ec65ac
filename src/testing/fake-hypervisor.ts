/**
 * A hypervisor for unit tests of guests and drivers: memory, event channels, grant tables, memory reservation and timers
 * for several guests in TypeScript, and a loop that runs them on a virtual clock. It checks what the real one checks where
 * tests depend on it, and nothing else; for everything else there is a host.
 */
import { PAGE_SIZE, SHUTDOWN, VIRQ } from '../abi/index.ts'
import type { GuestProgram } from '../guest/index.ts'
import type { EventPort, GrantHandle, Mfn } from '../util/index.ts'
import { ManualClock, XenError } from '../util/index.ts'
import { buildDomain, virqPort, type FakeDomain, type FakeDomainOptions, type FakeParts } from './fake-domain.ts'
import { FakeGrants } from './fake-grants.ts'

/**
 * The hypervisor. Nothing runs by itself: {@link FakeHypervisor.settle} runs the domains.
 *
 * @example
 * const hub = new FakeHypervisor()
 * const store = new TestStore()
 * const guest = hub.createDomain(1, (kernel) => kernel.console.write('hello'), { store: store.connect(1), console: { back: 0 } })
 * await hub.settle()
 * expect(guest.crash).toBeUndefined()
 */
export class FakeHypervisor {
  /** All of its memory. */
  readonly bytes: Uint8Array
  /** The same as a view. */
  readonly view: DataView
  /** Time in nanoseconds, which goes on while domains run and jumps over what they sleep. */
  readonly clock = new ManualClock(1_000_000_000)
  /** The domains by their numbers. */
  readonly domains = new Map<number, FakeDomain>()
  /** Frames that nobody has; a test may take some away. */
  readonly freeFrames: Mfn[] = []
  /** Frames that kernels have said to have written. */
  readonly written = new Set<number>()
  /** What was written to the hypervisor's own console, call by call. */
  readonly log: string[] = []
  private readonly parts: FakeParts

  /** With as many frames of memory; 16 MiB when left out. */
  constructor(frames = 4096) {
    const buffer = new ArrayBuffer(frames * PAGE_SIZE)
    const { clock, domains, freeFrames, written, log } = this
    this.bytes = new Uint8Array(buffer)
    this.view = new DataView(buffer)
    this.parts = {
      bytes: this.bytes, view: this.view, words: new Uint32Array(buffer), clock, domains, freeFrames, written, log,
      grants: new FakeGrants(this.view, domains), takeFrame: () => this.takeFrame(),
    }
    for (let frame = frames - 1; frame > 0; frame -= 1) this.freeFrames.push(frame as Mfn)
  }

  /** Takes a free frame. Throws OUT_OF_MEMORY. */
  takeFrame(): Mfn {
    const frame = this.freeFrames.pop()
    if (frame === undefined) throw new XenError('OUT_OF_MEMORY', 'the fake hypervisor is out of memory')
    return frame
  }

  /** Builds a domain; it runs with the next {@link FakeHypervisor.settle}. */
  createDomain(id: number, program: GuestProgram, options: FakeDomainOptions = {}): FakeDomain {
    return buildDomain(this.parts, id, { ...options, program })
  }

  /** Grant mappings of all domains. */
  get mappings(): number {
    return [...this.domains.values()].reduce((sum, domain) => sum + domain.mappings.size, 0)
  }

  /** Takes a domain away as a destroyed one goes: its ports close, its mappings end. */
  destroy(id: number): void {
    const domain = this.domains.get(id)
    if (domain === undefined) return
    for (const port of [...domain.channels.keys()]) domain.hypercalls.closePort(port as EventPort)
    for (const handle of [...domain.mappings.keys()]) domain.hypercalls.unmapGrant(handle as GrantHandle)
    this.domains.delete(id)
  }

  /**
   * Runs all domains until nothing is left to do, with time jumping from timer to timer up to `nanoseconds` from now.
   * JavaScript has its turn whenever a guest asked for one, and before time jumps. A domain runs for `slice` nanoseconds at
   * most before the next has its turn. Rejects with TIMED_OUT when the domains never come to rest.
   */
  async settle(nanoseconds = 0, slice = 1_000_000): Promise<void> {
    const end = this.clock.now() + nanoseconds
    for (let rounds = 0; rounds < 1_000_000; rounds += 1) {
      if (await this.runRunnable(slice)) continue
      await macrotask()
      const alive = [...this.domains.values()].filter((domain) => domain.shutdownReason === undefined)
      if (alive.some((domain) => domain.runnable)) continue
      const deadlines = alive.flatMap((domain) => [domain.deadline, ...domain.watchdogs]).filter((deadline) => deadline !== 0)
      const next = Math.min(...deadlines)
      if (next > end) {
        if (end > this.clock.now()) this.clock.advance(end - this.clock.now())
        return
      }
      if (next > this.clock.now()) this.clock.advance(next - this.clock.now())
      this.fireTimers()
    }
    throw new XenError('TIMED_OUT', 'the domains never come to rest')
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
      if (domain.shutdownReason === undefined && domain.watchdogs.some((deadline) => deadline !== 0 && deadline <= this.clock.now())) {
        domain.shutdownReason = SHUTDOWN.watchdog
        domain.runnable = false
      }
      if (domain.deadline === 0 || domain.deadline > this.clock.now()) continue
      domain.deadline = 0
      const port = virqPort(domain, VIRQ.TIMER)
      if (port !== undefined) domain.setPending(port)
    }
  }
}

const macrotask = (): Promise<void> => new Promise((resolve) => {
  if (typeof setImmediate === 'function') setImmediate(resolve)
  else setTimeout(resolve, 0)
})
