/**
 * One keyboard with its pointer that the back-end serves: the handshake, the page, and what waits for the guest. The guest is hostile: a ring whose
 * index contradicts itself gets nothing more.
 *
 * Reference: public/io/kbdif.h; QEMU, hw/display/xenfb.c, input_initialise.
 */
import { LAST_DOMID, PAGE_SIZE } from '../../abi/index.ts'
import { mapForeignPage, type BackendDevice, type BackendInstance, type MappedPage, type Page } from '../../guest/index.ts'
import { EventProducer, eventRingState } from '../../rings/index.ts'
import { shape, XenError, type DomId, type EventPort, type GrantRef, type StateOf } from '../../util/index.ts'
import type { InputFacts, KeyboardInterference } from './interference.ts'
import { eventOf, IN_RING, inputState, MAX_PLACE, WAITING_LIMIT, waitingOf, type PointerPlace, type ScreenInput, type WaitingInput } from './protocol.ts'

/** What has gone to a front-end. */
export interface KeyboardStatistics {
  /** Keys and buttons that went down or up, and moves of the pointer. */
  readonly keys: number
  readonly moves: number
  /** Events that the guest has not taken. */
  readonly waitingEvents: number
}

/** One keyboard as its back-end serves it. */
export interface ServedKeyboard {
  readonly domid: DomId
  /** Number of the device. */
  readonly id: number
  readonly connected: boolean
  readonly statistics: KeyboardStatistics
  /** Why its front-end gets nothing any more; undefined while all is well. */
  readonly broken: string | undefined
  /** Does something at it. What the ring has no room for, or comes before there is a front-end, waits. Throws OUT_OF_RESOURCES, with nothing done, where too much would. */
  send(inputs: readonly ScreenInput[]): void
}

const place = /* @__PURE__ */ shape.whole(0, MAX_PLACE)
/** The form in which a keyboard is saved. */
export const servedKeyboardState = /* @__PURE__ */ shape.record({
  domid: /* @__PURE__ */ shape.whole(0, LAST_DOMID),
  keys: shape.time, moves: shape.time, last: /* @__PURE__ */ shape.record({ x: place, y: place }), waiting: /* @__PURE__ */ shape.list(inputState, WAITING_LIMIT),
  connection: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.record({
    /** Of a granted page its handle, too. */
    frame: shape.word, handle: /* @__PURE__ */ shape.optional(shape.word), port: shape.word, produced: eventRingState, isAbsolute: shape.flag,
    broken: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.text(200)),
  })),
})
/** The same. */
export type ServedKeyboardState = StateOf<typeof servedKeyboardState>

interface Connection {
  readonly page: Page
  /** Of a granted page; undefined for one that the front-end named by its frame. */
  readonly granted: MappedPage | undefined
  readonly port: EventPort
  readonly ring: EventProducer
  readonly isAbsolute: boolean
  broken: string | undefined
}

/** One keyboard: the back-end's half of its handshake, and what waits. */
export class KeyboardInstance implements BackendInstance, ServedKeyboard {
  private readonly device: BackendDevice
  private readonly over: () => void
  private readonly interference: KeyboardInterference | undefined
  /** Until then nothing goes out. */
  private heldUntil = 0
  private keys = 0
  private moves = 0
  private last: PointerPlace = { x: 0, y: 0 }
  private waiting: WaitingInput[] = []
  private connection: Connection | undefined

  constructor(device: BackendDevice, { over, interference }: { readonly over: () => void; readonly interference: KeyboardInterference | undefined }) {
    this.device = device
    this.over = over
    this.interference = interference
  }

  get domid(): DomId {
    return this.device.otherEnd
  }

  get id(): number {
    return Number(this.device.id)
  }

  get connected(): boolean {
    return this.connection !== undefined
  }

  get broken(): string | undefined {
    return this.connection?.broken
  }

  get statistics(): KeyboardStatistics {
    return { keys: this.keys, moves: this.moves, waitingEvents: this.waiting.length }
  }

  send(inputs: readonly ScreenInput[]): void {
    const { device: { kernel, otherEnd, id }, waiting } = this
    if (waiting.length + inputs.length > WAITING_LIMIT) {
      throw new XenError('OUT_OF_RESOURCES', `domain ${otherEnd} does not take what is done at its keyboard ${id}`, { details: { waiting: waiting.length, limit: WAITING_LIMIT } })
    }
    waiting.push(...inputs.filter((input) => this.arrives(input.type)).map(waitingOf))
    kernel.post(() => this.pump())
  }

  /** Whether an input comes at all; it may hold up all that is done from then on. */
  private arrives(kind: InputFacts['kind']): boolean {
    const effect = this.interference?.input({ domid: this.domid, keyboard: this.id, kind })
    if (effect?.delay !== undefined) this.hold(effect.delay)
    return effect?.isLost !== true
  }

  private hold(delay: number): void {
    const { kernel } = this.device
    this.heldUntil = Math.max(this.heldUntil, kernel.now() + delay)
    kernel.after(this.heldUntil - kernel.now(), () => this.pump())
  }

  /** Puts into the ring what there is room for. */
  private pump(): void {
    const { connection, device: { kernel } } = this
    if (connection === undefined || connection.broken !== undefined || kernel.now() < this.heldUntil) return
    let done = 0
    for (const input of this.waiting) {
      const added = connection.ring.add(eventOf(input, { isAbsolute: connection.isAbsolute, last: this.last }))
      if (added === undefined) connection.broken = 'its index is beyond the ring'
      if (added !== true) break
      done += 1
      if (input.code >= 0) this.keys += 1
      else {
        this.moves += 1
        this.last = { x: input.x, y: input.y }
      }
    }
    if (done === 0) return
    this.waiting = this.waiting.slice(done)
    kernel.events.notify(connection.port)
  }

  // Handshake

  /** What it offers is in XenStore from the start: Linux looks as soon as it sees the device. */
  async announce(): Promise<void> {}

  async connect(): Promise<boolean> {
    const { device } = this
    this.disconnect()
    const ref = await device.readOtherNumber('page-gref', { minimum: 1 })
    const frame = ref === undefined ? await device.requireOther('page-ref') : undefined
    const remote = await device.requireOther('event-channel', { minimum: 1 })
    const isAbsolute = (await device.readOther('request-abs-pointer')) === '1' && (await device.read('feature-abs-pointer')) === '1'
    this.open({ ref, frame: frame ?? 0, remote, isAbsolute })
    return true
  }

  private open({ ref, frame, remote, isAbsolute }: { readonly ref: number | undefined; readonly frame: number; readonly remote: number; readonly isAbsolute: boolean }): void {
    const { kernel, otherEnd } = this.device
    const granted = ref === undefined ? undefined : kernel.grants.map(otherEnd, ref as GrantRef)
    const page = granted ?? mapForeignPage(kernel.hypercalls, otherEnd, frame)
    try {
      const port = kernel.events.keep(kernel.events.bindInterdomain(otherEnd, remote as EventPort, () => this.pump()))
      this.connection = { page, granted, port, isAbsolute, broken: undefined, ring: this.ringOf(page) }
    } catch (error) {
      this.unmap(page, granted)
      throw error
    }
    kernel.post(() => this.pump())
  }

  private ringOf({ frame }: Pick<Page, 'frame'>): EventProducer {
    return new EventProducer({ memory: this.device.kernel.hypercalls.memory, base: frame * PAGE_SIZE }, IN_RING)
  }

  private unmap(page: Page, granted: MappedPage | undefined): void {
    const { kernel, otherEnd } = this.device
    if (granted === undefined) kernel.hypercalls.unmapForeign(otherEnd, page.frame)
    else kernel.grants.unmap(granted)
  }

  disconnect(): void {
    const { connection, device: { kernel } } = this
    if (connection === undefined) return
    this.connection = undefined
    kernel.events.close(connection.port)
    this.unmap(connection.page, connection.granted)
  }

  remove(): void {
    this.over()
  }

  // State

  save(): ServedKeyboardState {
    const { connection, domid, keys, moves, last, waiting } = this
    return {
      domid, keys, moves, last: { ...last }, waiting: [...waiting],
      connection: connection && {
        frame: connection.page.frame, handle: connection.granted?.handle, port: connection.port, produced: connection.ring.save(),
        isAbsolute: connection.isAbsolute, broken: connection.broken,
      },
    }
  }

  load({ keys, moves, last, waiting, connection }: ServedKeyboardState): void {
    const { attachments } = this.device.kernel
    this.keys = keys
    this.moves = moves
    this.last = { ...last }
    this.waiting = [...waiting]
    if (connection === undefined) return
    const { frame, handle, port, produced, isAbsolute, broken } = connection
    const page = attachments.attachPage({ frame, handle: handle ?? 0 })
    const ring = this.ringOf(page)
    ring.load(produced)
    this.connection = { page, granted: handle === undefined ? undefined : page, ring, isAbsolute, broken, port: attachments.attachPort(port, () => this.pump()) }
  }
}
