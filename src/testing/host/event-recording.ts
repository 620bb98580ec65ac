/**
 * What happened on a host, as lines of text: recorded from now on, compared with what was expected, or with a golden file. The
 * same host with the same seed gives the same lines.
 */
import type { HypervisorEvent } from '../../hypervisor/index.ts'
import type { Host, HostEvent } from '../../toolstack/index.ts'
import type { StoreEvent } from '../../xenstore/index.ts'
import { checkOptions, flag, XenError } from '../../util/index.ts'
import { eventText, isOfOperation, timeText } from './event-text.ts'
import { compareWithGolden, type GoldenFiles } from './golden.ts'
import { differenceOfLines } from './text-difference.ts'

/** What is recorded. */
export interface RecordOptions {
  /** Events of the host: all of them, some by name, or none. Default: all but those of operations, which tell of each step. */
  readonly host?: boolean | readonly HostEvent['type'][] | undefined
  /** Events of the hypervisor. Default none: there are thousands of them. */
  readonly hypervisor?: boolean | readonly HypervisorEvent['type'][] | undefined
  /** Events of XenStore. Default none. */
  readonly store?: boolean | readonly StoreEvent['type'][] | undefined
  /** Begins each line with the host time in seconds. Default false. */
  readonly times?: boolean | undefined
}

/** Lines that are kept: a recording of everything must not fill the memory of a test. */
const MOST_LINES = 100_000

type Choice = boolean | readonly string[] | undefined

const layer: (value: unknown) => string | undefined = (value) =>
  typeof value === 'boolean' || (Array.isArray(value) && value.every((name) => typeof name === 'string')) ? undefined
    : 'must be true, false or a list of names of events'

/** Events of one host, from the moment at which it was made until it is stopped. */
export class EventRecording {
  /** One for each event. */
  readonly lines: readonly string[]
  /** Events of which there was no room. */
  lost = 0
  private readonly kept: string[] = []
  private readonly ends: (() => void)[] = []

  /** Made by {@link recordEvents}. */
  constructor(host: Host, options: RecordOptions) {
    this.lines = this.kept
    const times = options.times === true
    const take = (prefix: string) => (event: { readonly type: string; readonly time: number }): void => {
      if (this.kept.length >= MOST_LINES) this.lost += 1
      else this.kept.push(`${times ? `[${timeText(event.time)}] ` : ''}${prefix}${eventText(event)}`)
    }
    const listen = (choice: Choice, source: { onAny(listener: (event: { type: string; time: number }) => void): () => void }, note: ReturnType<typeof take>): void => {
      if (choice === undefined || choice === false) return
      this.ends.push(source.onAny((event) => {
        if (choice === true || choice.includes(event.type)) note(event)
      }))
    }
    const told = take('')
    if (options.host === undefined) this.ends.push(host.events.onAny((event) => { if (!isOfOperation(event)) told(event) }))
    else listen(options.host, host.events, told)
    listen(options.hypervisor, host.hypervisorEvents, take('hypervisor: '))
    listen(options.store, host.xenstore.events, take('store: '))
  }

  /** All lines as one text. */
  text(): string {
    return this.kept.map((line) => `${line}\n`).join('')
  }

  /** Forgets what was recorded so far. */
  clear(): void {
    this.kept.length = 0
    this.lost = 0
  }

  /** Records no more; what was recorded stays. */
  stop(): void {
    for (const end of this.ends.splice(0)) end()
  }

  /** In what these events differ from the expected lines, for people; undefined where they do not. */
  diff(expected: string | readonly string[]): string | undefined {
    const lines = typeof expected === 'string' ? expected.split('\n').filter((line, place, all) => line !== '' || place < all.length - 1) : expected
    return differenceOfLines(lines, this.kept)
  }

  /** Throws INVALID_STATE with the difference where the events are others than these. */
  expect(expected: string | readonly string[]): void {
    const difference = this.diff(expected)
    if (difference !== undefined) throw new XenError('INVALID_STATE', `the events are others than expected:\n${difference}`, { details: { difference } })
  }

  /**
   * Compares the events with a golden file, or writes it where there is none or golden files are to be updated. Rejects with
   * INVALID_STATE and the difference.
   */
  async expectGolden(files: GoldenFiles, name: string): Promise<void> {
    await compareWithGolden(files, name, this.text())
  }
}

/**
 * Records the events of a host from now on.
 *
 * @example
 * const events = recordEvents(host)
 * await domain.shutdown()
 * events.expect(['domain-shutdown domid=1 reason=poweroff action=destroy', 'domain-destroyed domid=1 name=web reason=shutdown'])
 */
export function recordEvents(host: Host, options: RecordOptions = {}): EventRecording {
  checkOptions('recordEvents', options, { host: layer, hypervisor: layer, store: layer, times: flag })
  return new EventRecording(host, options)
}

