/** How often a processor's runs ended, by why: for its profile. */
import { EXIT, type ExitReason, type PrivilegedRequest } from '../../interface/processor.ts'

/** Exits that nothing more is known of. */
const NAMES: Readonly<Partial<Record<ExitReason, string>>> = {
  [EXIT.BUDGET]: 'budget', [EXIT.SYSCALL]: 'syscall', [EXIT.HALT]: 'halt', [EXIT.DEBUG]: 'debug', [EXIT.SHUTDOWN]: 'shutdown', [EXIT.PHYSICAL]: 'physical',
}
const VECTORS = 256
/** Ports that are told apart for an instruction; those behind are counted together: a guest may try all of them. */
const MOST_PORTS = 256
const OTHER_PORTS = -1

/** The counts. */
export class ExitCounts {
  private readonly reasons = new Float64Array(Object.keys(EXIT).length)
  private readonly vectors = new Float64Array(2 * VECTORS)
  /** Instructions that are the host's, by what they ask for and by port: 0 for those without one. */
  private readonly requests = new Map<string, Map<number, number>>()
  /** The instruction that was counted last, its count still to be added: a guest polls one port for thousands of times. */
  private readonly last = { operation: '', port: 0, count: 0 }

  /** Counts one; `vector` of an exception or interrupt, `request` of an instruction that is the host's. */
  add(reason: ExitReason, vector: number, request: PrivilegedRequest): void {
    this.reasons[reason]! += 1
    if (reason === EXIT.EXCEPTION) this.vectors[vector & 0xff]! += 1
    else if (reason === EXIT.INTERRUPT) this.vectors[VECTORS | vector & 0xff]! += 1
    else if (reason === EXIT.PRIVILEGED) this.addRequest(request)
  }

  private addRequest({ operation, port }: PrivilegedRequest): void {
    const { last } = this
    if (operation !== last.operation || port !== last.port) {
      this.addLast()
      last.operation = operation
      last.port = port
    }
    last.count += 1
  }

  private addLast(): void {
    const { last, last: { operation, port } } = this
    if (last.count === 0) return
    let ports = this.requests.get(operation)
    if (ports === undefined) this.requests.set(operation, ports = new Map<number, number>())
    const key = ports.size < MOST_PORTS || ports.has(port) ? port : OTHER_PORTS
    ports.set(key, (ports.get(key) ?? 0) + last.count)
    last.count = 0
  }

  /** All of them by name, the most frequent first. */
  byName(): Record<string, number> {
    this.addLast()
    const named = Object.entries(NAMES).map(([reason, name]) => [name, this.reasons[Number(reason)]!] as const)
    const vectors = [...this.vectors].map((count, index) => [`${index < VECTORS ? 'exception' : 'interrupt'} ${index % VECTORS}`, count] as const)
    const requests = [...this.requests].flatMap(([operation, ports]) =>
      [...ports].map(([port, count]) => [HAS_PORT.has(operation) ? `${operation} ${portName(port)}` : operation, count] as const))
    const all = [...named, ...vectors, ...requests]
    return Object.fromEntries(all.filter(([, count]) => count > 0).sort(([, one], [, other]) => other - one))
  }
}

const HAS_PORT: ReadonlySet<string> = new Set(['in', 'out', 'ins', 'outs'])
const portName = (port: number): string => (port === OTHER_PORTS ? 'other ports' : `0x${port.toString(16)}`)
