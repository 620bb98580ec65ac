/**
 * The crashes of a host's domains: taken down when the hypervisor reports them, kept for those who still wait for such a
 * domain when it is long gone. It knows each domain's symbols, and what guests in TypeScript have thrown.
 */
import type { ControlInterface, CrashReport } from '../../hypervisor/index.ts'
import type { ProcessorLevel } from '../../machine/index.ts'
import { XenError, type DomId } from '../../util/index.ts'
import { describeCrash } from './describe-crash.ts'
import { crashError, type DiskError, type DomainCrash } from './domain-crash.ts'
import { GuestKernels } from '../symbols/guest-kernels.ts'
import type { Kallsyms } from '../symbols/kallsyms.ts'
import type { SymbolLookup, SymbolTable } from '../symbols/symbol-table.ts'

/** Crashes of domains that are gone: whoever waits for one hears of it at once, so that few are needed. */
const KEPT_CRASHES = 64

/** What a host knows about a domain that has crashed. */
export interface CrashBookHost {
  /** Nanoseconds of host time. */
  now(): number
  /** What its processors are. */
  readonly level: ProcessorLevel
  /** Its name, whether there is a handle for it or not. */
  nameOf(domid: DomId): string
  diskErrors(domid: DomId): readonly DiskError[]
}

/** Codes of errors that follow from a domain's end. */
const CONSEQUENCES = ['DOMAIN_NOT_FOUND', 'INVALID_STATE', 'CLOSED', 'TIMED_OUT'] as const

/** The crashes of one host. */
export class CrashBook {
  private readonly crashes = new Map<DomId, DomainCrash>()
  private readonly symbols = new Map<DomId, SymbolTable>()
  private readonly kernels: GuestKernels
  private readonly thrown = new Map<DomId, unknown>()
  private readonly control: ControlInterface
  private readonly host: CrashBookHost

  constructor(control: ControlInterface, host: CrashBookHost) {
    this.control = control
    this.host = host
    this.kernels = new GuestKernels(control, () => host.now())
    control.events.on('domain-crashed', ({ domid, report }) => this.describe(domid, report))
    control.events.on('domain-resumed', ({ domid }) => this.crashes.delete(domid))
    control.events.on('domain-created', ({ domid }) => this.crashes.delete(domid))
  }

  /** A domain runs code whose functions have these names. */
  know(domid: DomId, symbols: SymbolTable | undefined): void {
    if (symbols !== undefined) this.symbols.set(domid, symbols)
  }

  private describe(domid: DomId, report: CrashReport): void {
    const { host } = this
    const facts = {
      name: host.nameOf(domid), level: host.level, symbols: report.state === undefined ? undefined : this.lookUp(domid), threw: this.thrown.has(domid),
      cause: this.thrown.get(domid), diskErrors: host.diskErrors(domid),
    }
    this.keep(domid, describeCrash(report, facts))
  }

  /** Takes the crash of a domain down again that the hypervisor still has: it was loaded. */
  recall(domid: DomId): void {
    const report = this.control.crashReport(domid)
    if (report !== undefined) this.describe(domid, report)
  }

  /** What knows a domain's functions: the symbols that were given for it, or those that its kernel carries. */
  lookUp(domid: DomId): SymbolLookup | undefined {
    return this.symbols.get(domid) ?? this.kernels.of(domid)
  }

  /** The symbols that a domain's own kernel carries in its memory. */
  kernelOf(domid: DomId): Kallsyms | undefined {
    return this.kernels.of(domid)
  }

  /** The symbols of a domain, for its successor. */
  symbolsOf(domid: DomId): SymbolTable | undefined {
    return this.symbols.get(domid)
  }

  /** A guest in TypeScript threw; its crash follows. */
  noteThrown(domid: DomId, error: unknown): void {
    this.thrown.set(domid, error)
  }

  /** How a domain has crashed; undefined when it has not. */
  of(domid: DomId): DomainCrash | undefined {
    return this.crashes.get(domid)
  }

  /** Throws DOMAIN_CRASHED when a domain has crashed: who waits for `what` waits in vain. */
  check(domid: DomId, what: string): void {
    const crash = this.crashes.get(domid)
    if (crash !== undefined) throw crashError(crash, what)
  }

  /** Why something with a domain has failed: an error that only says that it is no longer there is its crash's. */
  explain(domid: DomId, what: string, error: unknown): unknown {
    const crash = this.crashes.get(domid)
    if (crash === undefined || !CONSEQUENCES.some((code) => XenError.is(error, code))) return error
    return crashError(crash, `${what} failed`, { failure: error })
  }

  /** The domain is gone; its crash is still told to those who waited for it. */
  forget(domid: DomId): void {
    this.symbols.delete(domid)
    this.kernels.forget(domid)
    this.thrown.delete(domid)
  }

  private keep(domid: DomId, crash: DomainCrash): void {
    this.crashes.delete(domid)
    this.crashes.set(domid, crash)
    for (const oldest of this.crashes.keys()) {
      if (this.crashes.size <= KEPT_CRASHES) break
      this.crashes.delete(oldest)
    }
  }
}
