/**
 * Puts inputs that were taken down on one host into another that was made like it, by the calls that its user would make, each
 * at its place: at its host time, or, on a host that follows the wall, after the runs that went before it.
 */
import type { ServedDisk } from '../../drivers/index.ts'
import type { RunLimits } from '../../hypervisor/index.ts'
import { XenError, type DomId, type EventBase } from '../../util/index.ts'
import { SERVED_DISKS } from '../device-kinds/disk/disk-service.ts'
import type { LocalOperations, LocalStore, NodeChange, StoreChanges } from '../../xenstore/index.ts'
import { makePlainCall } from '../control/plain-calls.ts'
import type { DomainOptions } from '../config/domain-config.ts'
import type { DomainConsole } from '../domains/domain-console.ts'
import type { KernelSource } from '../domains/kernel-source.ts'
import type { CreateOptions } from '../create/create-options.ts'
import { MOST_TICKS, type CallAbort, type DiskAnswer, type HostCall, type HostInput, type InputRecord } from '../run/inputs.ts'
import type { Operation } from '../run/operation.ts'
import { turn, type UntilOptions } from '../run/run-loop.ts'
import type { Domain } from './domain.ts'
import type { HostInsides } from './host-state.ts'
import { insidesOf, type Host } from './host.ts'

/** What a call is given beside what it does. */
type CallOptions = Pick<UntilOptions, 'signal' | 'timeout'>

/** A call by its name, made anew. */
type Calls = { readonly [C in HostCall['call']]: (host: Host, input: Extract<HostCall, { readonly call: C }>, options: CallOptions) => unknown }

/** Where something was typed. */
function consoleOf(host: Host, { domid, channel }: Extract<HostInput, { readonly source: 'console' }>): DomainConsole {
  if (domid === 0) return host.console
  const domain = host.domain(domid)
  return channel === undefined ? domain.console : domain.channel(channel)
}

const domainOf = (host: Host, { domid }: { readonly domid: number }): Domain => host.domain(domid)

const CALLS: Calls = {
  // What is no configuration is refused by the call itself.
  create: (host, { config, options }, { signal }) =>
    host.createDomain(config as string | DomainOptions<KernelSource>, { ...options as CreateOptions, ...(signal === undefined ? {} : { signal }) }),
  pause: (host, input) => domainOf(host, input).pause(),
  unpause: (host, input) => domainOf(host, input).unpause(),
  destroy: (host, input) => domainOf(host, input).destroy(),
  shutdown: (host, input, options) => domainOf(host, input).shutdown(options),
  reboot: (host, input, options) => domainOf(host, input).reboot(options),
  'memory-target': (host, { domid, mebibytes }, options) => host.setMemTarget(domid, mebibytes, options),
  'memory-maximum': (host, { domid, mebibytes }, { signal }) => host.setMaxMem(domid, mebibytes, { signal }),
  vcpus: (host, input, options) => domainOf(host, input).setVcpus(input.count, { ...options, wait: input.wait }),
  attach: (host, input, { signal }) => domainOf(host, input).attachDevice(input.kind, input.description as string | object, { signal }),
  detach: (host, input, { signal }) => domainOf(host, input).detachDevice(input.kind, input.name, { signal, force: input.force }),
  plain: (host, call) => makePlainCall(host, call),
  other: (_, { name }) => { throw new XenError('NOT_SUPPORTED', `the call ${name} came with what is no plain data`) },
}

function changeNode(store: LocalOperations | LocalStore, change: NodeChange): void {
  switch (change.operation) {
    case 'write': return store.write(change.path, change.value)
    case 'mkdir': return store.mkdir(change.path)
    case 'rm': return store.rm(change.path)
    case 'set-permissions': return store.setPermissions(change.path, change.permissions)
  }
}

function changeStore(store: LocalStore, { transaction, changes }: StoreChanges): void {
  const givenUp = new Error('the transaction is given up, as it was when it was taken down')
  const changeAll = (to: LocalOperations | LocalStore): void => {
    for (const change of changes) changeNode(to, change)
  }
  if (transaction === 'none') return changeAll(store)
  try {
    store.transaction((own) => {
      changeAll(own)
      if (transaction === 'abort') throw givenUp
    })
  } catch (error) {
    if (error !== givenUp) throw error
  }
}

/** Instructions after which it is looked again whether a guest has made a request, and how often. */
const STEP = 1000
const MOST_STEPS = 1000

/** A request is made at the time of its answer at the latest: the answer waits for that. The disk's own store is to stay silent. */
async function answerDisk({ guests, parts: { loop } }: HostInsides, { domid, device, ...answer }: DiskAnswer): Promise<void> {
  const disks = guests.devices.service(SERVED_DISKS)
  const served = (): ServedDisk | undefined => disks.served(domid as DomId, device)
  const waits = (): boolean => served()?.waitsFor(answer.request) === true
  for (let steps = 0; !waits() && steps < MOST_STEPS; steps += 1) await loop.step(STEP)
  if (!waits()) throw new XenError('INVALID_STATE', `domain ${domid} has not made request ${answer.request} of disk ${device}`)
  served()?.answer(answer)
}

/** A call that was fed, and can be aborted at the place at which its caller has. */
class FedCall {
  private readonly controller = new AbortController()
  private reports = 0
  private within: { readonly report: number; readonly act: () => void } | undefined

  /** `aborted`: its caller had given up before it began. */
  constructor(aborted: boolean) {
    if (aborted) this.controller.abort()
  }

  get signal(): AbortSignal {
    return this.controller.signal
  }

  get isAborted(): boolean {
    return this.controller.signal.aborted
  }

  abort(): void {
    this.controller.abort()
  }

  /** Hears what the call answers: an operation tells its progress. */
  watch(answer: unknown): void {
    if (!(answer instanceof Promise) || !('progress' in answer)) return
    (answer as Operation<unknown, EventBase>).progress.onAny(() => {
      this.reports += 1
      if (this.reports === this.within?.report) this.within.act()
    })
  }

  /** Does something from within a report of progress that is still to come. */
  at(report: number, act: () => void): void {
    this.within = { report, act }
  }
}

/** What is told while inputs are fed. */
export interface FeedHooks {
  /** An input is about to be put in. */
  before?(record: InputRecord): void
  /** What came of it: the call's own answer, a promise as a rule; one that rejects is its hearer's to handle. */
  answered?(record: InputRecord, answer: unknown): void
}

/** Turns of JavaScript that a creation is given to read its files in, before a run. */
const TURNS = 20

/** The limits of a run that was recorded. */
export const runOf = ({ source: _, ...run }: Extract<HostInput, { readonly source: 'run' }>): RunLimits => run

/** Feeds one host. */
export class InputFeeder {
  private readonly host: Host
  private readonly insides: HostInsides
  /** By the sequence numbers that they had where they were taken down. */
  private readonly calls = new Map<number, FedCall>()

  constructor(host: Host) {
    this.host = host
    this.insides = insidesOf(host)
  }

  /**
   * Feeds all records in their order. The host stands but for them meanwhile, and takes its time from them where it follows
   * the wall. Throws NOT_SUPPORTED, before anything is fed, for a call that came with what is no plain data; rejects with
   * INVALID_STATE where the host is not at an input's time: the records are those of another.
   */
  async feed(records: readonly InputRecord[], hooks: FeedHooks = {}): Promise<void> {
    for (const { input } of records) if (input.source === 'call' && input.call === 'other') CALLS.other(this.host, input, {})
    const { wall, loop } = this.insides.parts
    wall?.hold()
    const goOn = await loop.halt()
    try {
      for (const record of records) {
        const { sequence, input } = record
        if (input.source === 'abort' && input.report !== undefined) {
          await this.abortWithin(record, input, () => hooks.before?.(record))
          continue
        }
        if (record.ticks > 0) await this.reach(record)
        this.checkTime(record)
        hooks.before?.(record)
        const answer = this.put(sequence, input)
        // A disk's answer waits for its request.
        if (input.source === 'disk' || input.source === 'run') await answer
        hooks.answered?.(record, answer)
      }
    } finally {
      wall?.follow()
      goOn()
    }
  }

  /** Comes to where a run that is played by itself begins. */
  async approach(record: InputRecord): Promise<void> {
    await this.reach(record)
    this.checkTime(record)
  }

  /** Brings the host to an input's place. */
  private async reach({ time, ticks, input }: InputRecord): Promise<void> {
    const { wall, loop, clock } = this.insides.parts
    const isLater = wall === undefined && time > clock.now()
    if (isLater || input.source === 'clock' || input.source === 'run') await this.letReadFiles()
    if (isLater) await loop.runTo(time)
    else if (ticks === MOST_TICKS) await turn()
    // Whoever waits for this function gives them one more.
    else for (let tick = 1; tick < ticks; tick += 1) await Promise.resolve()
  }

  /** Aborts a call from within the report of progress from which its caller did. */
  private async abortWithin(record: InputRecord, { call: sequence, report = 0 }: CallAbort, before: () => void): Promise<void> {
    const call = this.calls.get(sequence)
    call?.at(report, () => {
      before()
      call.abort()
    })
    const { wall, loop } = this.insides.parts
    if (wall === undefined) await loop.runTo(record.time)
    for (let turns = 0; turns < TURNS && call?.isAborted === false; turns += 1) await turn()
    this.checkTime(record)
    if (call?.isAborted === true) return
    throw new XenError('INVALID_STATE', `call ${sequence} has not come to where it was aborted`, { details: { call: sequence, report } })
  }

  /** When files were read is no input: what reads some is given a while before time goes on. */
  private async letReadFiles(): Promise<void> {
    const { operations } = this.insides.guests
    for (let turns = 0; turns < TURNS && operations.isOutside; turns += 1) await turn()
  }

  private checkTime({ time }: InputRecord): void {
    const now = this.insides.parts.clock.now()
    if (now === time) return
    throw new XenError('INVALID_STATE', `an input came at ${time} ns, and the host is at ${now} ns`, { details: { time, now } })
  }

  /** Puts an input in at once; what it throws becomes a promise that rejects. */
  private put(sequence: number, input: HostInput): unknown {
    try {
      return this.enter(sequence, input)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  private enter(sequence: number, input: HostInput): unknown {
    const { host, insides: { parts: { wall, loop } } } = this
    switch (input.source) {
      case 'console': return consoleOf(host, input).write(input.bytes)
      case 'screen': return host.domain(input.domid).screen(input.screen).input(input.inputs)
      case 'frame': return host.bridge(input.bridge).send(input.port, input.bytes)
      case 'network': return host.network(input.bridge).feed(input.said)
      case 'store': return changeStore(host.store, input)
      case 'disk': return answerDisk(this.insides, input)
      case 'call': return this.call(sequence, input)
      case 'abort': return this.calls.get(input.call)?.abort()
      case 'run': return loop.play(runOf(input))
      case 'clock': return wall === undefined ? loop.skipTo(input.time) : wall.moveTo(input.time)
    }
  }

  private call(sequence: number, input: HostCall): unknown {
    const call = new FedCall(input.aborted === true)
    this.calls.set(sequence, call)
    const { timeout } = input
    // The table pairs each call with its own input; TypeScript cannot follow that through a lookup.
    const make = CALLS[input.call] as (host: Host, input: HostCall, options: CallOptions) => unknown
    const answer = make(this.host, input, { signal: call.signal, ...(timeout === undefined ? {} : { timeout }) })
    call.watch(answer)
    return answer
  }
}

/**
 * Hears all that comes into a host from outside, before it takes effect, until the returned function is called or the host is brought back to
 * a moment; `runs`: also each run and each jump of the clock, by which another host goes again cut for cut.
 */
export const recordInputs = (host: Host, listener: (record: InputRecord) => void, options: { readonly runs?: boolean } = {}): (() => void) =>
  insidesOf(host).parts.inputs.listen(listener, options)

/**
 * Puts inputs in that were recorded on a host that was made like this one, each at its place. Rejects with NOT_SUPPORTED, before
 * anything is put in, for a call that came with what is no plain data, and with INVALID_STATE where the records are those of another host.
 */
export const feedInputs = (host: Host, records: readonly InputRecord[], hooks: FeedHooks = {}): Promise<void> => new InputFeeder(host).feed(records, hooks)
