/**
 * One viewer of a screen: the protocol as a machine of states, with bytes in and bytes out, over no socket. A viewer is a stranger: lengths are checked before
 * they are believed, nothing of a text is kept, one update is under way at most, and what contradicts the protocol ends the session.
 *
 * Reference: RFC 6143.
 */
import { joinedArea, KEY_CODES, overlapOfAreas, type Picture, type ScreenArea, type ScreenInput } from '../../drivers/index.ts'
import { joinBytes } from '../../util/index.ts'
import { codeOfSymbol } from './key-symbols.ts'
import {
  CHALLENGE_LENGTH, ENCODING, LENGTHS, OFFERED, readPixelFormat, SECURITY, SECURITY_RESULT, SERVER, VERSION, VERSION_LENGTH, VIEWER, writePixelFormat, writePixels, type PixelFormat,
} from './protocol.ts'

/** A size in pixels. */
export interface Size {
  readonly width: number
  readonly height: number
}

/** What is looked at. */
export interface Viewed {
  /** What the screen is called. */
  readonly name: string
  /** Its size now; undefined while there is no picture. */
  size(): Size | undefined
  /** A rectangle of the picture. */
  picture(area: ScreenArea): Picture | undefined
  /** Something is done at its keyboard or pointer. */
  input(inputs: readonly ScreenInput[]): void
}

/** What a session is made with. */
export interface SessionOptions {
  readonly viewed: Viewed
  /** Bytes to the viewer. */
  send(bytes: Uint8Array): void
  /** The session is over, and why; it says no more. */
  end(why: string): void
  /** Whoever is let in has to answer this; undefined where everybody is. */
  readonly lock: { readonly challenge: Uint8Array; opens(answer: Uint8Array): boolean } | undefined
}

/** What is shown while there is no picture. */
const NOTHING: Size = { width: 640, height: 400 }
/** Encodings that a viewer may list: more are none. */
const MOST_ENCODINGS = 1024

const numbers16 = (...values: readonly number[]): Uint8Array => {
  const bytes = new Uint8Array(values.length * 2)
  const view = new DataView(bytes.buffer)
  for (const [at, value] of values.entries()) view.setUint16(at * 2, value)
  return bytes
}
const number32 = (value: number): Uint8Array => {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setInt32(0, value)
  return bytes
}
const textBytes = (text: string): Uint8Array => {
  const bytes = new TextEncoder().encode(text)
  return joinBytes([number32(bytes.length), bytes])
}

/** What a session waits for. */
type Step = 'version' | 'security' | 'answer' | 'init' | 'messages' | 'over'

/** One viewer. */
export class RfbSession {
  private readonly options: SessionOptions
  private step: Step = 'version'
  /** The last digit of the version that is spoken: 3, 7 or 8. */
  private minor = 8
  private waiting: Uint8Array = new Uint8Array()
  /** Bytes of a text that are passed over. */
  private skipping = 0
  private format: PixelFormat = OFFERED
  private knowsSizes = false
  /** What the viewer has been told that the picture's size is. */
  private told: Size = NOTHING
  private dirty: ScreenArea | undefined
  private wanted: ScreenArea | undefined
  private buttons = 0

  constructor(options: SessionOptions) {
    this.options = options
    options.send(new TextEncoder().encode(VERSION))
  }

  /** Takes what the viewer has sent. */
  receive(bytes: Uint8Array): void {
    let rest = bytes
    if (this.skipping > 0) {
      const skipped = Math.min(this.skipping, rest.length)
      this.skipping -= skipped
      rest = rest.subarray(skipped)
    }
    this.waiting = this.waiting.length === 0 ? rest.slice() : joinBytes([this.waiting, rest])
    let taken = 0
    while (this.step !== 'over') {
      const count = this.take(this.waiting.subarray(taken))
      if (count === 0) break
      taken += count
    }
    this.waiting = this.waiting.slice(taken)
  }

  /** A rectangle has been drawn anew. */
  drawn(area: ScreenArea): void {
    this.dirty = joinedArea(this.dirty, area)
    this.update()
  }

  /** Another size, another guest, or none: all is to be sent again. */
  changed(): void {
    this.drawn({ x: 0, y: 0, ...(this.options.viewed.size() ?? NOTHING) })
  }

  private end(why: string): 0 {
    this.step = 'over'
    this.options.end(why)
    return 0
  }

  /** Carries one message out; bytes that it took, 0 while it is not whole. */
  private take(bytes: Uint8Array): number {
    switch (this.step) {
      case 'version': return bytes.length < VERSION_LENGTH ? 0 : this.takeVersion(bytes)
      case 'security': return bytes.length < 1 ? 0 : this.takeSecurity(bytes[0]!)
      case 'answer': return bytes.length < CHALLENGE_LENGTH ? 0 : this.takeAnswer(bytes.slice(0, CHALLENGE_LENGTH))
      case 'init': return bytes.length < 1 ? 0 : this.begin()
      case 'messages': return bytes.length < 1 ? 0 : this.takeMessage(bytes)
      case 'over': return 0
    }
  }

  // Being let in

  private takeVersion(bytes: Uint8Array): number {
    const [, minor] = /^RFB 003\.(\d{3})\n$/.exec(new TextDecoder('latin1').decode(bytes.subarray(0, VERSION_LENGTH))) ?? []
    if (minor === undefined) return this.end('it speaks no version of the protocol')
    this.minor = Number(minor) >= 8 ? 8 : Number(minor) === 7 ? 7 : 3
    const { send, lock } = this.options
    const kind = lock === undefined ? SECURITY.NONE : SECURITY.VNC
    if (this.minor === 3) {
      // The server decides.
      send(number32(kind))
      this.ask(kind)
    } else {
      send(Uint8Array.of(1, kind))
      this.step = 'security'
    }
    return VERSION_LENGTH
  }

  private takeSecurity(kind: number): number {
    const wanted = this.options.lock === undefined ? SECURITY.NONE : SECURITY.VNC
    if (kind !== wanted) return this.refuse('this is no way to be let in')
    this.ask(kind)
    return 1
  }

  private ask(kind: number): void {
    const { send, lock } = this.options
    if (kind === SECURITY.VNC && lock !== undefined) {
      send(lock.challenge)
      this.step = 'answer'
      return
    }
    // Whoever speaks 3.8 is told that all is well; older viewers are not.
    if (this.minor === 8) send(number32(SECURITY_RESULT.OK))
    this.step = 'init'
  }

  private takeAnswer(answer: Uint8Array): number {
    if (this.options.lock?.opens(answer) !== true) return this.refuse('the password is wrong')
    this.options.send(number32(SECURITY_RESULT.OK))
    this.step = 'init'
    return CHALLENGE_LENGTH
  }

  private refuse(why: string): 0 {
    this.options.send(number32(SECURITY_RESULT.FAILED))
    if (this.minor === 8) this.options.send(textBytes(why))
    return this.end(why)
  }

  private begin(): number {
    const { viewed, send } = this.options
    this.told = viewed.size() ?? NOTHING
    send(joinBytes([numbers16(this.told.width, this.told.height), writePixelFormat(OFFERED), textBytes(viewed.name)]))
    this.step = 'messages'
    return 1
  }

  // Messages

  private takeMessage(bytes: Uint8Array): number {
    const type = bytes[0]!
    const length = LENGTHS[type]
    if (length === undefined) return this.end(`it sent a message ${type}, which is none`)
    if (bytes.length < length) return 0
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    switch (type) {
      case VIEWER.SET_PIXEL_FORMAT: return this.takeFormat(bytes.subarray(4, 20)) ? length : 0
      case VIEWER.SET_ENCODINGS: return this.takeEncodings(view, length)
      case VIEWER.UPDATE_REQUEST: return this.takeRequest(view, length)
      case VIEWER.KEY: return this.takeKey(view, length)
      case VIEWER.POINTER: return this.takePointer(view, length)
      default: return this.takeText(view.getUint32(4), bytes.length - length) + length
    }
  }

  private takeFormat(bytes: Uint8Array): boolean {
    const format = readPixelFormat(bytes)
    if (format === undefined) this.end('it wants pixels that cannot be')
    else this.format = format
    return format !== undefined
  }

  private takeEncodings(view: DataView, length: number): number {
    const count = view.getUint16(2)
    if (count > MOST_ENCODINGS) return this.end(`it knows ${count} encodings`)
    if (view.byteLength < length + count * 4) return 0
    const known = Array.from({ length: count }, (_, at) => view.getInt32(length + at * 4))
    this.knowsSizes = known.includes(ENCODING.DESKTOP_SIZE)
    return length + count * 4
  }

  private takeRequest(view: DataView, length: number): number {
    this.wanted = { x: view.getUint16(2), y: view.getUint16(4), width: view.getUint16(6), height: view.getUint16(8) }
    if (view.getUint8(1) === 0) this.dirty = joinedArea(this.dirty, this.wanted)
    this.update()
    return length
  }

  private takeKey(view: DataView, length: number): number {
    const code = codeOfSymbol(view.getUint32(4))
    if (code !== undefined) this.options.viewed.input([{ type: 'key', code, pressed: view.getUint8(1) !== 0 }])
    return length
  }

  private takePointer(view: DataView, length: number): number {
    const [mask, x, y] = [view.getUint8(1), view.getUint16(2), view.getUint16(4)]
    const changed = mask ^ this.buttons
    // Buttons 4 and 5 are the wheel.
    const wheel = ((changed & mask & 8) === 0 ? 0 : 1) - ((changed & mask & 16) === 0 ? 0 : 1)
    const inputs: ScreenInput[] = [{ type: 'pointer', x, y, wheel }]
    for (const [bit, name] of ['ButtonLeft', 'ButtonMiddle', 'ButtonRight'].entries()) {
      if ((changed & (1 << bit)) !== 0) inputs.push({ type: 'key', code: KEY_CODES[name]!, pressed: (mask & (1 << bit)) !== 0 })
    }
    this.buttons = mask
    this.options.viewed.input(inputs)
    return length
  }

  /** A viewer's clipboard, for which a keyboard has no place. Bytes of it that are there already. */
  private takeText(length: number, there: number): number {
    const here = Math.min(length, there)
    this.skipping = length - here
    return here
  }

  // Updates

  /** Sends what has changed of what the viewer has asked for, if there is any. */
  private update(): void {
    const { wanted, dirty, knowsSizes } = this
    if (wanted === undefined || dirty === undefined || this.step !== 'messages') return
    const now = this.options.viewed.size() ?? NOTHING
    if (knowsSizes && (now.width !== this.told.width || now.height !== this.told.height)) return this.resize(now)
    const visible = overlapOfAreas(dirty, { x: 0, y: 0, ...this.told })
    const shown = visible && overlapOfAreas(visible, wanted)
    if (visible === undefined || shown === undefined) return
    this.wanted = undefined
    // What the viewer did not ask for is sent when it does.
    this.dirty = shown.width === visible.width && shown.height === visible.height ? undefined : dirty
    this.options.send(joinBytes([Uint8Array.of(SERVER.UPDATE, 0), numbers16(1), this.rectangle(shown)]))
  }

  private resize(size: Size): void {
    this.told = size
    this.wanted = undefined
    this.dirty = { x: 0, y: 0, ...size }
    this.options.send(joinBytes([Uint8Array.of(SERVER.UPDATE, 0), numbers16(1, 0, 0, size.width, size.height), number32(ENCODING.DESKTOP_SIZE)]))
  }

  private rectangle(area: ScreenArea): Uint8Array {
    return joinBytes([numbers16(area.x, area.y, area.width, area.height), number32(ENCODING.RAW), writePixels(this.pixels(area), this.format)])
  }

  /** The pixels of a rectangle; black where the viewer believes in a picture that is not there. */
  private pixels(area: ScreenArea): Uint8ClampedArray {
    const found = this.options.viewed.picture(area)
    if (found !== undefined && found.width === area.width && found.height === area.height) return found.pixels
    const pixels = new Uint8ClampedArray(area.width * area.height * 4)
    for (let row = 0; found !== undefined && row < found.height; row += 1) {
      pixels.set(found.pixels.subarray(row * found.width * 4, (row + 1) * found.width * 4), row * area.width * 4)
    }
    return pixels
  }
}
