/**
 * The hypervisor's console as the serial line that it is on a real host: dom0 writes to it by console_io and reads what is typed, and
 * the hypervisor says its own there. Not here: what guests write, which stands in the hypervisor's ring.
 */
import { CONSOLE_EVENTS, CONSOLE_LOG_LIMIT, ConsoleLog, byteLogState, type ConsoleEvent, type ConsoleOutputOptions } from '../../drivers/index.ts'
import type { ControlInterface } from '../../hypervisor/index.ts'
import { EventHub, XenError, part, type DomId, type EventSource, type Part } from '../../util/index.ts'

/** What it stands on. */
export interface HostConsoleParts {
  readonly control: ControlInterface
  /** The domain whose words it shows, beside the hypervisor's own. */
  readonly from: DomId
  now(): number
  /** Lets JavaScript have its turn soon. */
  turn(): void
}

const encoded = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0))

/** The console of a host, as a stream. */
export class HostConsole {
  readonly domid = 0 as DomId
  /** The domain whose words it shows. */
  readonly from: DomId
  /** What happens on it. */
  readonly events: EventSource<ConsoleEvent>
  private readonly parts: HostConsoleParts
  private readonly hub: EventHub<ConsoleEvent>
  private readonly log: ConsoleLog
  private isEnded = false
  private known: Part | undefined

  constructor(parts: HostConsoleParts) {
    this.parts = parts
    this.from = parts.from
    this.events = this.hub = new EventHub<ConsoleEvent>(() => parts.now(), undefined, { names: CONSOLE_EVENTS })
    this.log = new ConsoleLog(CONSOLE_LOG_LIMIT, () => parts.turn())
    parts.control.events.on('console', ({ domid, text }) => { if (domid === 0 || domid === parts.from) this.take(encoded(text)) })
  }

  /** How often its output was taken back, because its host was brought back in place. */
  get rewound(): number {
    return this.log.rewound
  }

  /** The output that is kept, oldest first. */
  history(): Uint8Array {
    return this.log.history()
  }

  /** The output as it comes. */
  output(options: ConsoleOutputOptions = {}): AsyncGenerator<Uint8Array, void> {
    return this.log.output(options)
  }

  /** Types; rejects with OUT_OF_RESOURCES, and types nothing, when dom0 has not read what was typed before. */
  write(data: Uint8Array): Promise<void> {
    if (this.isEnded) return Promise.reject(new XenError('CLOSED', 'the console of the host is closed', { details: { domid: 0 } }))
    const { control } = this.parts
    const room = control.consoleRoom()
    if (data.length > room) {
      return Promise.reject(new XenError('OUT_OF_RESOURCES', `dom0 does not read its console: there is room for ${room} bytes`, { details: { room } }))
    }
    control.typeConsole(data)
    return Promise.resolve()
  }

  /** Nothing more will come. */
  end(): void {
    if (this.isEnded) return
    this.isEnded = true
    this.log.end()
    this.hub.emit({ type: 'closed', domid: this.domid })
  }

  /** The log as a part of the host; what was typed is the hypervisor's. */
  part(): Part {
    return (this.known ??= part({ name: 'console', version: 1, shape: byteLogState }, {
      save: () => this.log.save(), isAsSaved: (state) => this.log.isAsSaved(state), load: (state) => this.log.load(state),
      rewind: (state) => () => this.log.takeBack(state),
    }))
  }

  private take(bytes: Uint8Array): void {
    this.log.append(bytes)
    if (this.hub.wants('output')) this.hub.emit({ type: 'output', domid: this.domid, bytes })
  }
}
