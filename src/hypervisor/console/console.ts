/**
 * The hypervisor's own console: a bounded ring of text that guests write to and the toolstack reads. An unprivileged
 * guest's lines carry its number, and it may write only so much in a second, or it could flood the host's log.
 */
import { type DomId, type EventHub, type StateOf, type Stateful, shape } from '../../util/index.ts'
import type { DomainRegistry } from '../domains/registry.ts'
import type { HostClock } from '../time/host-clock.ts'
import type { HypervisorEvent } from '../hypervisor-events.ts'

/** Bytes that the ring keeps (Xen's default console ring). */
const RING_BYTES = 16384
/** Bytes that an unprivileged domain may write in one second of host time. */
const RATE = 65536
const SECOND = 1_000_000_000

/** What a saved console looks like. */
export const consoleShape = /* @__PURE__ */ shape.record({
  text: /* @__PURE__ */ shape.text(RING_BYTES),
  /** What each domain has begun and not ended, and what it has written in the second it wrote last. */
  lines: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.tuple(shape.word, /* @__PURE__ */ shape.text(RING_BYTES))),
  spent: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.tuple(
    shape.word, /* @__PURE__ */ shape.record({ second: shape.time, bytes: shape.time }),
  )),
})

/** A console as plain data. */
export type ConsoleState = StateOf<typeof consoleShape>

/** What the console works on. */
export interface ConsoleParts {
  readonly clock: HostClock
  readonly domains: DomainRegistry
  readonly hub: EventHub<HypervisorEvent>
}

/** Text of guests and hypervisor. */
export class HypervisorConsole implements Stateful<ConsoleState> {
  private readonly parts: ConsoleParts
  private text = ''
  private readonly spent = new Map<DomId, { second: number; bytes: number }>()
  private readonly lines = new Map<DomId, string>()
  private readonly decoder = new TextDecoder('latin1')

  constructor(parts: ConsoleParts) {
    this.parts = parts
  }

  /** Takes text of a domain; false when it has written too much and the rest is dropped. */
  write(domid: DomId, bytes: Uint8Array): boolean {
    const text = this.decoder.decode(bytes)
    const privileged = this.parts.domains.get(domid)?.privileged === true
    if (!privileged && !this.allow(domid, bytes.length)) return false
    if (privileged) this.append(text)
    else this.appendLines(domid, text)
    if (this.parts.hub.wants('console')) this.parts.hub.emit({ type: 'console', domid, text })
    return true
  }

  /** The hypervisor's own words about a domain, one line each. */
  report(domid: DomId, lines: readonly string[]): void {
    const text = lines.map((line) => `(XEN) ${line}\n`).join('')
    this.append(text)
    if (this.parts.hub.wants('console')) this.parts.hub.emit({ type: 'console', domid, text })
  }

  /** What the ring holds; `clear` empties it. */
  read(clear: boolean): string {
    const { text } = this
    if (clear) this.text = ''
    return text
  }

  /** Forgets a domain that is gone; the line that it did not finish is kept. */
  forget(domid: DomId): void {
    const rest = this.lines.get(domid) ?? ''
    if (rest !== '') this.append(`(d${domid}) ${rest}\n`)
    this.spent.delete(domid)
    this.lines.delete(domid)
  }

  save(): ConsoleState {
    return {
      text: this.text, lines: [...this.lines],
      spent: [...this.spent].map(([domid, account]) => [domid, { ...account }] as const),
    }
  }

  load({ text, lines, spent }: ConsoleState): void {
    this.text = text
    this.lines.clear()
    this.spent.clear()
    for (const [domid, line] of lines) this.lines.set(domid as DomId, line)
    for (const [domid, account] of spent) this.spent.set(domid as DomId, { ...account })
  }

  private allow(domid: DomId, bytes: number): boolean {
    const second = Math.floor(this.parts.clock.now() / SECOND)
    const account = this.spent.get(domid)
    if (account?.second !== second) {
      this.spent.set(domid, { second, bytes })
      return bytes <= RATE
    }
    account.bytes += bytes
    return account.bytes <= RATE
  }

  private appendLines(domid: DomId, text: string): void {
    const lines = ((this.lines.get(domid) ?? '') + text).split('\n')
    this.lines.set(domid, (lines.pop() ?? '').slice(-RING_BYTES))
    if (lines.length > 0) this.append(lines.map((line) => `(d${domid}) ${line}\n`).join(''))
  }

  private append(text: string): void {
    this.text = (this.text + text).slice(-RING_BYTES)
  }
}
