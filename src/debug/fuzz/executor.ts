/** Executes inputs on a host of a moment, one after the other: back to the moment, the input in, until the execution is over; then what went wrong is told. */
import { recordCoverage, symbolsOf, type HeldHost, type Host, type HostCoverage } from '../../toolstack/index.ts'
import { XenError } from '../../util/index.ts'
import { classified } from '../coverage/coverage.ts'
import { kernelSymbols } from '../kernel-symbols.ts'
import { VirtualMemory } from '../memory/virtual-memory.ts'
import { DoubleFetches } from './double-fetch.ts'
import type { Finding, FuzzOptions, FuzzSubject, Outcome } from './fuzz-types.ts'

/** What a kernel says of itself when it has gone wrong. */
const COMPLAINTS = /^.*(?:BUG: |BUG at |kernel BUG|Oops: |Oops\b|general protection fault|Kernel panic|KASAN: |UBSAN: |WARNING: CPU|Unable to handle kernel|invalid opcode: ).*$/m
const MOST_OUTPUT = 1 << 16

/** What stays the same where the same mistake shows again. */
const withoutNumbers = (line: string): string => line.replace(/^\[ *[\d.]+\] */, '').replace(/\b(?:0x)?[0-9a-f]*\d[0-9a-f]*\b/gi, '#').trim()

/** One host that executes inputs. */
export class Executor {
  private readonly options: FuzzOptions
  private readonly host: Host
  private readonly coverage: HostCoverage
  private held: HeldHost | undefined
  private readonly decoder = new TextDecoder()
  private output = ''
  private followed: { readonly console: object; readonly end: () => void } | undefined

  private constructor(options: FuzzOptions, host: Host, coverage: HostCoverage) {
    this.options = options
    this.host = host
    this.coverage = coverage
  }

  /** A host of the moment, with its coverage. Rejects with CLOSED for a moment that is gone, DOMAIN_NOT_FOUND. */
  static async begin(options: FuzzOptions): Promise<Executor> {
    const host = await options.moment.branch()
    try {
      host.domain(options.target)
      const executor = new Executor(options, host, await recordCoverage(host))
      // It runs nothing but inputs, however long nobody gives one.
      executor.held = await host.hold()
      return executor
    } catch (error) {
      await host.shutdown()
      throw error
    }
  }

  /** Counters of edges as they stand. */
  get map(): Uint8Array {
    return this.coverage.map
  }

  /** Executes an input. What `inject` throws is the caller's mistake, and rejects. */
  async execute(input: Uint8Array): Promise<readonly Finding[]> {
    const subject = await this.arrive()
    await this.run(subject, input)
    return this.judge(subject)
  }

  /** The same with its coverage. */
  async outcome(input: Uint8Array): Promise<Outcome> {
    const findings = await this.execute(input)
    return { findings, classes: classified(this.map) }
  }

  /** Executes an input once more, slowly: where the guest reads shared bytes twice. */
  async doubleFetches(input: Uint8Array): Promise<readonly Finding[]> {
    const { shared } = this.options
    if (shared === undefined) return []
    const subject = await this.arrive()
    const watch = new DoubleFetches(subject, shared(subject), (address) => this.nameOf(subject, address))
    try {
      await this.run(subject, input)
    } finally {
      watch.end()
    }
    return watch.findings()
  }

  async end(): Promise<void> {
    this.followed?.end()
    this.held?.release()
    await this.coverage.stop()
    await this.host.shutdown()
  }

  private async arrive(): Promise<FuzzSubject> {
    const { host, held } = this
    await host.reset(this.options.moment)
    this.held = await host.hold()
    held?.release()
    this.coverage.reset()
    const domain = host.domain(this.options.target)
    this.output = ''
    if (this.followed?.console !== domain.console) {
      this.followed?.end()
      const end = domain.console.events.on('output', ({ bytes }) => { if (this.output.length < MOST_OUTPUT) this.output += this.decoder.decode(bytes) })
      this.followed = { console: domain.console, end }
    }
    return { host, domain, memory: new VirtualMemory(() => host.hypervisor, domain.id), address: (symbol) => this.addressOf(symbol) }
  }

  /** What is injected may need the guest to run before it is done, as what is typed. */
  private async run(subject: FuzzSubject, input: Uint8Array): Promise<void> {
    const { instructions = 300_000, every = 20_000, until = waits, input: { inject } } = this.options
    let failure: { readonly error: unknown } | undefined
    const injecting = (async () => inject(input, subject))().catch((error: unknown) => { failure = { error } })
    await Promise.race([injecting, Promise.resolve()])
    for (let left = instructions; left > 0; left -= every) {
      await this.held!.run(Math.min(every, left))
      if (failure !== undefined) throw failure.error
      if (!subject.domain.exists || subject.domain.crash !== undefined || until(subject)) return
    }
  }

  private judge(subject: FuzzSubject): readonly Finding[] {
    const findings: Finding[] = []
    const { crash } = subject.domain
    if (crash !== undefined) findings.push({ kind: 'crash', signature: withoutNumbers(crash.message), text: crash.text })
    const complaint = COMPLAINTS.exec(this.output)?.[0]
    if (complaint !== undefined) findings.push({ kind: 'console', signature: withoutNumbers(complaint), text: this.output })
    const broken = subject.domain.exists ? this.options.invariant?.(subject) : undefined
    if (broken !== undefined) findings.push({ kind: 'invariant', signature: withoutNumbers(broken), text: broken })
    return findings
  }

  private nameOf({ host, domain }: FuzzSubject, address: number): string | undefined {
    const place = symbolsOf(host, domain)?.find(address)
    return place === undefined ? undefined : `${place.name}+0x${place.offset.toString(16)}`
  }

  private addressOf(symbol: string): number {
    const address = kernelSymbols(this.host, this.options.target)?.addressOf(symbol)
    if (address === undefined) throw new XenError('NOT_SUPPORTED', `nobody knows where ${symbol} is in ${this.options.target}`, { details: { symbol } })
    return address
  }
}

/** All vCPUs of the domain wait. */
function waits({ domain }: FuzzSubject): boolean {
  return domain.info().blocked
}
