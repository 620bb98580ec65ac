/**
 * The hypervisor's own console: a bounded ring of text that guests write to and the toolstack reads, and what is typed at it, which
 * a privileged guest reads. An unprivileged guest's lines carry its number, and it may write only so much in a second, or it could
 * flood the host's log.
 * Reference: xen/drivers/char/console.c.
 */
import { type DomId, type EventHub, type Shape, type Stateful, shape, sameEntries, sameState } from '../../util/index.ts'
import type { DomainRegistry } from '../domains/registry.ts'
import type { HostClock } from '../time/host-clock.ts'
import type { HypervisorEvent } from '../hypervisor-events.ts'

/** Bytes that the ring keeps (Xen's default console ring). */
const RING_BYTES = 16384
/** Bytes of input that wait for the privileged domain (Xen's receive ring). */
const INPUT_BYTES = 16384
/** Bytes that an unprivileged domain may write in one second of host time. */
const RATE = 65536
const SECOND = 1_000_000_000

/** A console as plain data. */
export interface ConsoleState {
  /** Characters ever written, as 32 bits count them. */
  readonly written: number
  /** Typed, and not yet read. */
  readonly input: Uint8Array
  readonly text: string
  /** What each domain has begun and not ended, and what it has written in the second it wrote last. */
  readonly lines: readonly (readonly [domid: number, text: string])[]
  readonly spent: readonly (readonly [domid: number, account: { second: number; bytes: number }])[]
}

/** What a saved console looks like. */
export const consoleShape: Shape<ConsoleState> = /* @__PURE__ */ shape.record({
  written: shape.word,
  input: /* @__PURE__ */ shape.array(Uint8Array, 0, INPUT_BYTES),
  text: /* @__PURE__ */ shape.text(RING_BYTES),
  lines: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.tuple(shape.word, /* @__PURE__ */ shape.text(RING_BYTES))),
  spent: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.tuple(
    shape.word, /* @__PURE__ */ shape.record({ second: shape.time, bytes: shape.time }),
  )),
})

/** What the console works on. */
export interface ConsoleParts {
  readonly clock: HostClock
  readonly domains: DomainRegistry
  readonly hub: EventHub<HypervisorEvent>
  /** Something was typed: who reads it is to be told. */
  typed(): void
}

/** A character a byte, whatever it is. A decoder of latin1 is one of windows-1252, which has other characters for 0x80 to 0x9f. */
function characters(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += String.fromCharCode(byte)
  return text
}

/** Text of guests and hypervisor. */
export class HypervisorConsole implements Stateful<ConsoleState> {
  private readonly parts: ConsoleParts
  private text = ''
  private input = new Uint8Array(0)
  private written = 0
  private readonly spent = new Map<DomId, { second: number; bytes: number }>()
  private readonly lines = new Map<DomId, string>()

  constructor(parts: ConsoleParts) {
    this.parts = parts
  }

  /** Takes text of a domain; false when it has written too much and the rest is dropped. */
  write(domid: DomId, bytes: Uint8Array): boolean {
    const text = characters(bytes)
    const privileged = this.parts.domains.get(domid)?.privileged === true
    if (!privileged && !this.allow(domid, bytes.length)) return false
    // A privileged domain's own lines go out as they are, and are not kept: its log is its own, as with Xen's `console_to_ring=false`.
    if (!privileged) this.appendLines(domid, text)
    if (this.parts.hub.wants('console')) this.parts.hub.emit({ type: 'console', domid, text })
    return true
  }

  /** The hypervisor's own words about a domain, one line each. */
  report(domid: DomId, lines: readonly string[]): void {
    const text = lines.map((line) => `(XEN) ${line}\n`).join('')
    this.append(text)
    if (this.parts.hub.wants('console')) this.parts.hub.emit({ type: 'console', domid, text })
  }

  /** Lines of the hypervisor's own that are about no domain. */
  log(lines: readonly string[]): void {
    const text = lines.map((line) => `(XEN) ${line}\n`).join('')
    this.append(text)
    if (this.parts.hub.wants('console')) this.parts.hub.emit({ type: 'console', domid: 0 as DomId, text })
  }

  /** Bytes that can be typed before some are read. */
  get room(): number {
    return INPUT_BYTES - this.input.length
  }

  /** Types at the console; how many bytes there was room for. */
  type(bytes: Uint8Array): number {
    const taken = bytes.subarray(0, this.room)
    if (taken.length === 0) return 0
    const all = new Uint8Array(this.input.length + taken.length)
    all.set(this.input)
    all.set(taken, this.input.length)
    this.input = all
    this.parts.typed()
    return taken.length
  }

  /** The next bytes that were typed, at most `count`. They stay until they are {@link HypervisorConsole.taken | taken}. */
  typedBytes(count: number): Uint8Array {
    return this.input.subarray(0, count)
  }

  /** The first bytes of what was typed have been read. */
  taken(count: number): void {
    this.input = this.input.slice(count)
  }

  /** What the ring holds; `clear` empties it. */
  read(clear: boolean): string {
    const { text } = this
    if (clear) this.text = ''
    return text
  }

  /**
   * XEN_SYSCTL_readconsole: at most so many characters from where a reader stopped last (`index`, undefined for all that there is), and
   * where it goes on; `clear` drops what lies before that.
   */
  readFrom(index: number | undefined, { most, clear }: { readonly most: number; readonly clear: boolean }): { readonly text: string; readonly index: number } {
    const start = (this.written - this.text.length) >>> 0
    const skipped = index === undefined ? 0 : (index - start) >>> 0
    const text = this.text.slice(skipped <= this.text.length ? skipped : 0).slice(0, most)
    const from = skipped <= this.text.length ? start + skipped : start
    const end = (from + text.length) >>> 0
    if (clear) this.text = this.text.slice((end - start) >>> 0)
    return { text, index: end }
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
      written: this.written, input: this.input.slice(), text: this.text, lines: [...this.lines],
      spent: [...this.spent].map(([domid, account]) => [domid, { ...account }] as const),
    }
  }

  isAsSaved({ text, written, input, lines, spent }: ConsoleState): boolean {
    return this.text === text && this.written === written && sameState(this.input, input)
      && sameEntries<number, string>(this.lines, lines) && sameEntries<number, unknown>(this.spent, spent)
  }

  load({ written, input, text, lines, spent }: ConsoleState): void {
    this.written = written
    this.input = input.slice()
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
    this.written = (this.written + text.length) >>> 0
    this.text = (this.text + text).slice(-RING_BYTES)
  }
}
