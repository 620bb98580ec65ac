/**
 * A host as an agent drives it, behind a fence: nothing is started or resumed for an epoch that is older than one that the host has seen, or
 * while the agent may have lost its lease. The fence is the host's own; an agent that is wrong cannot get round it.
 */
import { XenError } from '../../util/index.ts'
import type { Arbiter, MigrationTransport } from '../../toolstack/index.ts'
import type { FleetDomain, HostLoad } from '../plan/fleet-state.ts'
import type { MoveNetwork } from './move-network.ts'

/** What a host offers beside its name. */
export interface MachineFacts {
  /** MiB for domains, and CPUs. */
  readonly memory: number
  readonly cpus: number
  readonly capabilities: readonly string[]
}

/** What runs domains. */
export interface Machine {
  /** What it has room for. */
  facts(): MachineFacts
  /** What it is at, since this was asked last. Where it does not say, its agent publishes nothing. */
  readonly load?: (() => HostLoad) | undefined
  /** Makes a domain, and lets it run where `mayRun` says so at the very moment; where not, it is gone again when this rejects with STALE_EPOCH. */
  start(domain: FleetDomain, mayRun: () => boolean): Promise<void>
  /** Ends a domain; resolves when it does not run any more. One that is not there is no error. */
  stop(name: string): Promise<void>
  /** Keeps a domain from running, at once. */
  pause(name: string): void
  /** Lets it run again, at once. */
  resume(name: string): void
  /** Names of domains that are there. A domain that has ended by itself is not. */
  domains(): readonly string[]
  /** Moves domains with their memory, where it can. */
  readonly live?: LiveMachine | undefined
}

/** A domain that moves to another host. */
export interface LeavingDomain {
  /** Calls `act` once the other host could have the domain. */
  onProtected(act: () => void): void
  /** True when the other host has it, false when it goes on here. */
  readonly ended: Promise<boolean>
}

/** A domain that comes from another host. */
export interface ComingDomain {
  /** When it has been granted, lets it run where `mayRun` says so at the very moment; rejects where it is gone instead. */
  run(mayRun: () => boolean): Promise<void>
  /** Has it gone. */
  drop(): Promise<void>
  /** Resolves when standing by is over. */
  readonly ended: Promise<void>
}

/** What moves domains with their memory. */
export interface LiveMachine {
  readonly network: MoveNetwork
  /** Protects a domain by the host at the other end. */
  protect(name: string, transport: MigrationTransport, options: { readonly arbiter: Arbiter; readonly signal: AbortSignal }): LeavingDomain
  /** Stands by for a domain. */
  standBy(domain: FleetDomain, transport: MigrationTransport, arbiter: Arbiter): ComingDomain
}

/** A domain that the fence knows. */
interface Known {
  epoch: number
  isPaused: boolean
  isStarting: boolean
}

const stale = (name: string, epoch: number, why: string): XenError =>
  new XenError('STALE_EPOCH', `domain ${name} of epoch ${epoch} is not run here: ${why}`, { details: { domain: name, epoch } })

/** A machine behind its fence. */
export class FencedMachine {
  private readonly machine: Machine
  private readonly now: () => number
  private readonly known = new Map<string, Known>()
  /** The highest epoch of each domain that was ever here. */
  private readonly highest = new Map<string, number>()
  private deadline = -Infinity

  /** `now` is in milliseconds, and never goes back. */
  constructor(machine: Machine, now: () => number) {
    this.machine = machine
    this.now = now
  }

  /** What the machine has room for. */
  get facts(): MachineFacts {
    return this.machine.facts()
  }

  /** What moves domains with their memory, where the machine can. */
  get live(): LiveMachine | undefined {
    return this.machine.live
  }

  /** Domains may run until then. */
  open(deadline: number): void {
    this.deadline = Math.max(this.deadline, deadline)
  }

  /** No domain runs from now on. */
  close(): void {
    this.deadline = -Infinity
    const failures: unknown[] = []
    for (const [name, each] of this.known) {
      try {
        this.halt(name, each)
      } catch (error) {
        failures.push(error)
      }
    }
    // All others are paused by now.
    if (failures.length > 0) throw failures[0]
  }

  /** Whether domains may run. */
  get isOpen(): boolean {
    return this.now() < this.deadline
  }

  /** Names and epochs of domains that are here. */
  domains(): ReadonlyMap<string, number> {
    const there = new Set(this.machine.domains())
    for (const [name, { isStarting }] of this.known) if (!isStarting && !there.has(name)) this.known.delete(name)
    return new Map([...this.known].map(([name, { epoch }]) => [name, epoch]))
  }

  /** Has a domain run in an epoch: one that is here goes on, another is made. Rejects with STALE_EPOCH, and then it does not run. */
  async run(domain: FleetDomain, epoch: number): Promise<void> {
    const { name } = domain
    this.admit(name, epoch)
    const here = this.known.get(name)
    if (here !== undefined && this.domains().has(name)) {
      here.epoch = epoch
      if (here.isPaused && !here.isStarting) {
        this.machine.resume(name)
        here.isPaused = false
      }
      return
    }
    await this.begin(name, epoch, (mayRun) => this.machine.start(domain, mayRun))
  }

  /** Has a domain run that comes from elsewhere. Rejects with STALE_EPOCH, at once or when `arrive` does, and then it does not run. */
  async adopt(name: string, epoch: number, arrive: (mayRun: () => boolean) => Promise<void>): Promise<void> {
    this.admit(name, epoch)
    await this.begin(name, epoch, arrive)
  }

  private async begin(name: string, epoch: number, start: (mayRun: () => boolean) => Promise<void>): Promise<void> {
    const made: Known = { epoch, isPaused: false, isStarting: true }
    this.known.set(name, made)
    try {
      await start(() => this.isOpen && this.known.get(name) === made && !made.isPaused && this.highest.get(name) === made.epoch)
      made.isStarting = false
      if (!this.isOpen) this.halt(name, made)
    } catch (error) {
      if (this.known.get(name) === made) this.known.delete(name)
      throw error
    }
  }

  /** Keeps a domain from running until it is released, or run again. */
  hold(name: string): void {
    const here = this.known.get(name)
    if (here !== undefined) this.halt(name, here)
  }

  /** Lets a domain run again that was held, where it may. */
  release(name: string): void {
    const here = this.known.get(name)
    if (here === undefined || !here.isPaused || here.isStarting || !this.isOpen) return
    this.machine.resume(name)
    here.isPaused = false
  }

  /** Ends a domain. */
  async stop(name: string): Promise<void> {
    const here = this.known.get(name)
    if (here !== undefined) this.halt(name, here)
    await this.machine.stop(name)
    if (this.known.get(name) === here) this.known.delete(name)
  }

  private admit(name: string, epoch: number): void {
    if (!this.isOpen) throw stale(name, epoch, 'the host may have lost its lease')
    const highest = this.highest.get(name) ?? 0
    if (epoch < highest) throw stale(name, epoch, `epoch ${highest} was here`)
    this.highest.set(name, epoch)
  }

  private halt(name: string, each: Known): void {
    if (each.isPaused) return
    if (!each.isStarting) this.machine.pause(name)
    each.isPaused = true
  }
}
