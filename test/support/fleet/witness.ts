/**
 * Who watches what domains do, not what anybody says of them: each guest writes a line into one journal as it runs, every 20 ms. Lines are appended by the
 * system's own call, so their order is the order in which it happened, whichever processes the guests are in.
 */
import { readFileSync } from 'node:fs'

/** One run of a domain, from its first line to its last. */
export interface WitnessedRun {
  readonly domain: string
  readonly host: string
  /** Milliseconds of the system's monotonic clock. */
  readonly first: number
  last: number
  lines: number
  /** What the guest had counted to in its memory, at its first line and its last: one that was started anew begins with 1. */
  readonly firstBeat: number
  lastBeat: number
}

/** What the journal comes to. */
export interface Testimony {
  /** In the order of their first lines. */
  readonly runs: readonly WitnessedRun[]
  readonly lines: number
  /** Domains of which an older run wrote again behind the first line of a newer one: that ran twice. */
  readonly doubles: readonly string[]
}

/** Milliseconds of the clock that the journal's lines have. */
export const witnessTime = (): number => Number(process.hrtime.bigint() / 1_000_000n)

/** A line: when, where, which domain, which run of it, and what it counts in its memory. */
export const witnessLine = (run: { readonly host: string; readonly domain: string; readonly id: string }, beat: number): string =>
  `${witnessTime()} ${run.host} ${run.domain} ${run.id} ${beat}\n`

/** Reads a journal. */
export function hearWitness(journal: string): Testimony {
  const runs = new Map<string, WitnessedRun>()
  const latest = new Map<string, string>()
  const doubles: string[] = []
  let lines = 0
  for (const line of readFileSync(journal, 'utf8').split('\n').slice(0, -1)) {
    const [time, host, domain, id, beat] = line.split(' ') as [string, string, string, string, string]
    lines += 1
    const known = runs.get(id)
    if (known === undefined) {
      runs.set(id, { domain, host, first: Number(time), last: Number(time), lines: 1, firstBeat: Number(beat), lastBeat: Number(beat) })
      latest.set(domain, id)
      continue
    }
    if (latest.get(domain) !== id) doubles.push(`${domain} runs at ${host} at ${time}, when ${runs.get(latest.get(domain)!)!.host} has it`)
    known.last = Number(time)
    known.lines += 1
    known.lastBeat = Number(beat)
  }
  return { runs: [...runs.values()], lines, doubles }
}

/** The host at which each domain has run last, of those that have run since a time. */
export function whereabouts({ runs }: Testimony, since: number): Map<string, string> {
  return new Map(runs.filter(({ last }) => last >= since).map(({ domain, host }) => [domain, host]))
}
