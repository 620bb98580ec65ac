/**
 * A host for one test: a {@link Host} with virtual time that knows its seed, keeps what a failure wants to know, and is held against
 * leaks and broken books when it is given back. It needs no test runner: `await using` gives it back, or `dispose()` where
 * there is no such statement, or the form with a body.
 */
import { Host, type Domain, type HostInterference, type HostOptions, type Moment, type UntilOptions } from '../../toolstack/index.ts'
import { anything, callable, checkOptions, flag, having, parseDuration, shown, text as textCheck, XenError, type Duration } from '../../util/index.ts'
import { injectorOf, type FaultInjector } from '../faults/fault-injector.ts'
import { ruleText, type FaultPlan } from '../faults/fault-spec.ts'
import type { Fixture } from '../fixture.ts'
import { resourceSnapshot, type ResourceSnapshot } from '../resources.ts'
import { writeArtifacts, type ArtifactWriter } from './artifacts.ts'
import { BridgeCapture } from './bridge-capture.ts'
import { timeText } from './event-text.ts'
import { attachReport, EventTail, reportText, type FailureReport } from './failure-report.ts'
import { findLeaks } from './leaks.ts'
import { onFailure, type TestContext } from './test-context.ts'
import { waitForNode, type NodeWish } from './wait-for-node.ts'

/** How a host for a test is made, beside what hosts are booted with. */
export interface TestHostOptions extends HostOptions {
  /** Where it begins instead of being booted: a moment, or a fixture. Options of hosts are that one's then, but for the seed. */
  readonly from?: Moment<Host> | Fixture | undefined
  /** Faults that are to fire on it, as a plan or as an injector of one's own. */
  readonly faults?: FaultPlan | FaultInjector | undefined
  /** Whether what it still holds at its end makes the disposal reject. Default true. */
  readonly leaks?: boolean | undefined
  /** Whether a domain that the test has left is a leak. Default false: it is destroyed. */
  readonly ownDomains?: boolean | undefined
  /** Whether frames on its bridges are captured for a failure. Default true. */
  readonly capture?: boolean | undefined
  /** Where the report and the capture of a failure go. */
  readonly artifacts?: ArtifactWriter | undefined
  /** What files of a failure are called. Default: the test's name where its runner tells it. */
  readonly name?: string | undefined
  /** The test itself, as vitest or node:test gives it: a failure then shows the report by itself. */
  readonly test?: TestContext | undefined
}

/** What a host for a test has beside what every host has. */
export interface TestHostCalls {
  /** With which its run repeats; undefined for one that goes on with its moment's. */
  readonly seed: number | undefined
  /** The faults that fire on it; more may be added. */
  readonly faults: FaultInjector
  /** Lets so much host time pass, to the nanosecond, and everything that happens in it. */
  advance(time: Duration): Promise<void>
  /** Waits until a node of XenStore holds a value; see `waitForNode`. */
  waitForNode(path: string, wish?: NodeWish, options?: UntilOptions): Promise<string | undefined>
  /** What a failure would show now. */
  report(): FailureReport
  /** Runs a part of the test; what it throws has the report behind its message. */
  run<T>(body: () => T | Promise<T>): Promise<T>
  /** What it still holds, in words, after its guests were ended: for a test of its own that wants to see leaks. */
  findLeaks(): Promise<readonly string[]>
  /** Ends it. Rejects with INVALID_STATE, and the report, when it holds what it should not, or its books do not add up. */
  dispose(): Promise<void>
}

/** A host for one test. */
export interface TestHost extends Host, TestHostCalls {}

/** Seeds are 32 bits. */
const SEEDS = 2 ** 32
/** Faults that a report shows. */
const SHOWN_FAULTS = 20
/** MiB of a test's host where nobody says: enough for small guests, and little to be cleared. */
const MEMORY = { memory: 128, dom0Memory: 16 } as const

const OWN = {
  from: having('branch'), faults: anything, leaks: flag, ownDomains: flag, capture: flag, artifacts: having('write'), name: textCheck, test: anything,
}

/** What is the test's, and what is the host's. */
function split(options: TestHostOptions) {
  if (typeof options !== 'object' || options === null) throw new XenError('INVALID_ARGUMENT', `the options of testHost must be an object, got ${shown(options)}`)
  const { from, faults, leaks, ownDomains, capture, artifacts, name, test, ...host } = options
  const start = (value: unknown): string | undefined => (having('branch')(value) === undefined || having('host')(value) === undefined ? undefined : `must be a moment or a fixture, got ${shown(value)}`)
  checkOptions('testHost', { from, faults, leaks, ownDomains, capture, artifacts, name, test }, { ...OWN, from: start })
  return { own: { from, faults, leaks, ownDomains, capture, artifacts, name, test }, host }
}

/** Boots it, or branches. */
async function start(from: Moment<Host> | Fixture | undefined, options: HostOptions, interference: HostInterference): Promise<Host> {
  if (from === undefined) return Host.boot({ ...MEMORY, interference, ...options })
  const { seed, ...others } = options
  const [other] = Object.keys(others)
  if (other !== undefined) throw new XenError('INVALID_ARGUMENT', `testHost: a host that begins at a moment has its options; ${other} cannot be given`, { details: { key: other } })
  const branch = seed === undefined ? { interference } : { seed, interference }
  return 'branch' in from ? from.branch(branch) : from.host(branch)
}

/** What a host for a test is made of. */
interface Made {
  readonly seed: number | undefined
  readonly faults: FaultInjector
  readonly own: ReturnType<typeof split>['own']
}

/** All that a host for a test has beside the host. */
class TestHostKeeper implements TestHostCalls {
  readonly seed: number | undefined
  readonly faults: FaultInjector
  private readonly host: Host
  private readonly own: ReturnType<typeof split>['own']
  private readonly tail: EventTail
  private readonly capture: BridgeCapture | undefined
  private readonly before: ResourceSnapshot | undefined
  private readonly close: () => Promise<void>
  private readonly bringBack: Host['reset']
  private readonly consoles = new Map<string, Domain>()
  private closed = false
  private disposing: Promise<void> | undefined

  constructor(host: Host, { seed, faults, own }: Made) {
    this.host = host
    this.seed = seed
    this.faults = faults
    this.own = own
    this.tail = new EventTail(host)
    this.capture = own.capture === false ? undefined : new BridgeCapture(() => host.now())
    // A host from a moment has guests, whose frames are theirs.
    this.before = host.domains().length > 0 ? undefined : resourceSnapshot(host)
    // `shutdown` is about to be another one.
    this.close = host.shutdown.bind(host)
    this.bringBack = host.reset.bind(host)
    faults.attach(host)
    for (const domain of host.domains()) this.know(domain)
    host.events.on('domain-created', ({ domid }) => this.know(host.domain(domid)))
    if (own.test !== undefined) onFailure(own.test, async () => (await this.keep()).text)
  }

  private know(domain: Domain): void {
    this.consoles.set(`${domain.name} (${domain.id})`, domain)
    for (const nic of domain.config.nics ?? []) this.capture?.watch(this.host.bridge(nic.bridge))
  }

  async advance(time: Duration): Promise<void> {
    const nanoseconds = parseDuration(time, 'the time of advance')
    if (nanoseconds === 0) return this.host.settled()
    try {
      await this.host.until('the time of advance', () => false, { timeout: nanoseconds })
    } catch (error) {
      if (!XenError.is(error, 'TIMED_OUT')) throw error
    }
  }

  waitForNode(path: string, wish?: NodeWish, options?: UntilOptions): Promise<string | undefined> {
    return waitForNode(this.host, path, wish, options)
  }

  report(): FailureReport {
    const consoles = [...this.consoles].map(([name, { console }]) => [name, console.text()] as const)
    const text = reportText(this.host, { seed: this.seed, events: this.tail.last, consoles, more: [['faults that fired', this.firedText()], ['faults that had no opportunity', this.faults.unmet.map(ruleText).join('\n')]] })
    return { seed: this.seed, text, capture: this.capture?.pcapng }
  }

  private firedText(): string {
    const { fired } = this.faults
    const shown = fired.slice(-SHOWN_FAULTS).map(({ time, fault, text }) => `[${timeText(time)}] ${fault}: ${text}`)
    return [...(fired.length > shown.length ? [`(${fired.length - shown.length} before)`] : []), ...shown].join('\n')
  }

  /** The same, back at a moment; faults count anew. */
  async reset(moment: Moment<Host>): Promise<void> {
    await this.bringBack(moment)
    this.faults.attach(this.host)
  }

  /** The report of a failure, with what of it goes into files. */
  private async keep(): Promise<FailureReport> {
    const report = this.report()
    const { artifacts, name, test } = this.own
    if (artifacts !== undefined) await writeArtifacts(artifacts, name ?? test?.task?.name ?? test?.name ?? `seed-${this.seed ?? 'of-the-moment'}`, report)
    return report
  }

  async run<T>(body: () => T | Promise<T>): Promise<T> {
    try {
      return await body()
    } catch (error) {
      attachReport(error, await this.keep())
      throw error
    }
  }

  async findLeaks(): Promise<readonly string[]> {
    const { ownDomains = false } = this.own
    // What is to be let go is let go as where all is well.
    this.faults.quiet()
    const left = ownDomains ? this.host.domains().map(({ id, name }) => `domain ${id} (${name}) was left`) : []
    return [...left, ...await findLeaks(this.host, this.before)]
  }

  dispose(): Promise<void> {
    this.disposing ??= this.end()
    return this.disposing
  }

  /** The host was shut down by the test: there is nothing left to be looked at. */
  shutdown(): Promise<void> {
    this.closed = true
    this.stop()
    return this.close()
  }

  private stop(): void {
    this.tail.stop()
    this.capture?.stop()
  }

  private async end(): Promise<void> {
    if (this.closed) return this.close()
    try {
      if (this.own.leaks !== false) await this.check()
    } finally {
      await this.shutdown()
    }
  }

  private async check(): Promise<void> {
    const { text: before } = this.report()
    const leaks = await this.findLeaks()
    if (leaks.length === 0) return
    const error = new XenError('INVALID_STATE', `the host still holds what it should not:\n${leaks.map((leak) => `  ${leak}`).join('\n')}`, { details: { leaks, seed: this.seed } })
    // As it stood before its guests were ended for the look.
    attachReport(error, { ...await this.keep(), text: before })
    throw error
  }
}

/** Puts the calls of a test upon a host: it stays the host that it is, for everything that takes one. */
function extend(host: Host, keeper: TestHostKeeper): TestHost {
  const calls: TestHostCalls & Pick<Host, 'shutdown' | 'reset'> = {
    seed: keeper.seed,
    faults: keeper.faults,
    reset: (moment) => keeper.reset(moment),
    advance: (time) => keeper.advance(time),
    waitForNode: (path, wish, options) => keeper.waitForNode(path, wish, options),
    report: () => keeper.report(),
    run: (body) => keeper.run(body),
    findLeaks: () => keeper.findLeaks(),
    dispose: () => keeper.dispose(),
    shutdown: () => keeper.shutdown(),
  }
  return Object.assign(host, calls, { [Symbol.asyncDispose]: () => keeper.dispose() })
}

async function make(options: TestHostOptions): Promise<TestHost> {
  const { own, host: hostOptions } = split(options)
  const seed = hostOptions.seed ?? (own.from === undefined ? 1 : undefined)
  if (own.faults !== undefined && hostOptions.interference !== undefined) throw new XenError('INVALID_ARGUMENT', 'testHost: faults come between by themselves; interference cannot be given as well')
  const faults = injectorOf(own.faults ?? [], seed ?? 1)
  const host = await start(own.from, hostOptions, faults.interference)
  await host.settled()
  return extend(host, new TestHostKeeper(host, { seed, faults, own }))
}

/** A seed that nobody has chosen, for tests that try another one each time: the failure tells which it was. */
export const anySeed = (): number => Math.floor(Math.random() * SEEDS)

/**
 * A host for one test. With a body it is given back behind it, and what the body throws has the report behind its message: the seed,
 * the last events, the consoles.
 *
 * @example
 * await using host = await testHost({ seed: 7 })
 * const domain = await host.createDomain({ name: 'web', memory: 32 })
 * await domain.console.expect('mini> ', { timeout: '5s' })
 */
export function testHost(options?: TestHostOptions): Promise<TestHost>
export function testHost<T>(options: TestHostOptions, body: (host: TestHost) => T | Promise<T>): Promise<T>
export async function testHost<T>(options: TestHostOptions = {}, body?: (host: TestHost) => T | Promise<T>): Promise<TestHost | T> {
  if (body === undefined) return make(options)
  if (callable(body) !== undefined) throw new XenError('INVALID_ARGUMENT', `the body of testHost ${callable(body)}`)
  const host = await make(options)
  let result: T
  try {
    result = await host.run(() => body(host))
  } catch (error) {
    // What the body has failed with goes before what it has left behind.
    await host.dispose().catch(() => undefined)
    throw error
  }
  await host.dispose()
  return result
}
