/**
 * What a failed test wants to know of its host: the seed that repeats it, the domains, the last events, the hypervisor's console,
 * the last words of each guest. It is kept while the test runs, costs next to nothing, and is written when something fails.
 */
import { formatDomainList, type Host } from '../../toolstack/index.ts'
import { eventText, isOfOperation, timeText } from './event-text.ts'

/** Events that are kept. */
const EVENTS = 40
/** Characters of each console that are shown. */
const TAIL = 1500

/** A report, and what goes into files beside it. */
export interface FailureReport {
  /** The seed with which the host repeats its run; undefined where it goes on with its moment's. */
  readonly seed: number | undefined
  /** All of it, for people. */
  readonly text: string
  /** Frames that entered the host's bridges, as pcapng; undefined where none was seen or none was captured. */
  readonly capture: Uint8Array | undefined
}

/** The last events of a host. */
export class EventTail {
  private readonly lines: string[] = []
  private readonly end: () => void

  constructor(host: Host) {
    this.end = host.events.onAny((event) => {
      if (isOfOperation(event)) return
      this.lines.push(`[${timeText(event.time)}] ${eventText(event)}`)
      if (this.lines.length > EVENTS) this.lines.shift()
    })
  }

  /** What happened last, the oldest first. */
  get last(): readonly string[] {
    return this.lines
  }

  /** Notes no more. */
  stop(): void {
    this.end()
  }
}

/** What is told beside the host itself. */
export interface ReportFacts {
  readonly seed: number | undefined
  readonly events: readonly string[]
  /** Consoles of guests, the ended ones too, by name. */
  readonly consoles: readonly (readonly [name: string, text: string])[]
  /** More sections, each with its heading. */
  readonly more: readonly (readonly [heading: string, text: string])[]
}

const indented = (text: string): string => text.replace(/\s+$/, '').split('\n').map((line) => `    ${line}`).join('\n')

const tailOf = (text: string): string => (text.length > TAIL ? `...${text.slice(-TAIL)}` : text)

/** What a host can say of itself; one that is closed says nothing. */
function asked<T>(question: () => T, otherwise: T): T {
  try {
    return question()
  } catch {
    return otherwise
  }
}

/** The report as text. */
export function reportText(host: Host, { seed, events, consoles, more }: ReportFacts): string {
  const now = asked(() => host.now(), 0)
  const sections: (readonly [string, string])[] = [
    ['domains', asked(() => formatDomainList(host.listDomains()), '')],
    ...more,
    ['last events', events.join('\n')],
    ["hypervisor's console", asked(() => tailOf(host.hypervisor.readConsole()), '')],
    ...consoles.map(([name, text]) => [`console of ${name}`, tailOf(text)] as const),
  ]
  const shown = sections.filter(([, text]) => text.trim() !== '').map(([heading, text]) => `  ${heading}:\n${indented(text)}`)
  return [`paravirt: seed ${seed ?? 'of its moment'}, at ${timeText(now)} s of host time`, ...shown].join('\n')
}

/** Puts a report behind what an error says; one that is no Error, or has a report, stays as it is. */
export function attachReport(error: unknown, report: FailureReport): void {
  if (!(error instanceof Error) || 'report' in error) return
  const { message, stack } = error
  Object.defineProperty(error, 'report', { value: report, enumerable: false })
  // An error that is frozen keeps its report at least.
  try {
    error.message = `${message}\n\n${report.text}`
    if (stack !== undefined && stack.includes(message)) error.stack = stack.replace(message, () => error.message)
  } catch {
    return
  }
}
