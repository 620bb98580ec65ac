/** What a host has of a domain's screen: its framebuffer as pictures, and the keyboard and pointer beside it. */
import { encodePng, KEY_CODES, keyCode, MAX_KEY, MAX_PLACE, strokesOf, type FramebufferEvent, type FramebufferStatistics, type KeyInput, type Picture, type ScreenArea, type ScreenInput, type ServedFramebuffer, type ServedKeyboard } from '../../drivers/index.ts'
import { checkArgument, checkOptions, flag, listOf, named, nearestWord, oneOf, shown, text as anyText, whole, XenError, type Check, type DomId, type EventSource } from '../../util/index.ts'
import { FRAMEBUFFER } from '../device-kinds/framebuffer/framebuffer.ts'
import { SERVED_FRAMEBUFFERS } from '../device-kinds/framebuffer/framebuffer-service.ts'
import { SERVED_KEYBOARDS } from '../device-kinds/keyboard/keyboard-service.ts'
import type { Devices } from '../devices/devices.ts'
import type { ConsoleHost } from '../domains/domain-console.ts'
import type { DomainFate } from './domain-fate.ts'

/** What screens need of their host. */
export interface ScreenHost {
  readonly devices: Devices
  /** What a console of a domain needs: a screen needs the same. */
  consoleHost(fate: DomainFate): ConsoleHost
}

/** Names of a pointer's buttons. */
export type ScreenButton = 'left' | 'middle' | 'right'

const BUTTONS: Readonly<Record<ScreenButton, number>> = { left: KEY_CODES['ButtonLeft']!, middle: KEY_CODES['ButtonMiddle']!, right: KEY_CODES['ButtonRight']! }
const side = /* @__PURE__ */ whole(1, MAX_PLACE)
const place = /* @__PURE__ */ whole(0, MAX_PLACE)
const AREA_CHECKS = { x: place, y: place, width: side, height: side }
const key: Check = (value) => {
  const code = typeof value === 'string' || typeof value === 'number' ? keyCode(value) : undefined
  if (code !== undefined && Number.isInteger(code) && code >= 0 && code <= MAX_KEY) return undefined
  const nearest = typeof value === 'string' ? nearestWord(value, Object.keys(KEY_CODES)) : undefined
  return `must be a character, a name such as Enter, or Linux's number of a key, got ${shown(value)}${nearest === undefined ? '' : `; did you mean ${nearest}?`}`
}
const input: Check = (value) => {
  const { type, code, pressed, x, y, wheel } = (value ?? {}) as Partial<Record<string, unknown>>
  if (type === 'key') return whole(0, MAX_KEY)(code) ?? flag(pressed)
  if (type !== 'pointer') return `must be a key or a pointer, got ${shown(type)}`
  return place(x) ?? place(y) ?? (wheel === undefined ? undefined : whole(-MAX_PLACE, MAX_PLACE)(wheel))
}

/** One screen of a domain: what its guest draws, and what is typed and pointed there. Made by `domain.screen()`. */
export class Screen {
  /** Number of the domain. */
  readonly domid: DomId
  /** Number of the screen in its domain: that of its framebuffer and of its keyboard. */
  readonly id: number
  private readonly host: ScreenHost
  private readonly fate: DomainFate

  constructor(host: ScreenHost, fate: DomainFate, id: number) {
    this.host = host
    this.fate = fate
    this.domid = fate.id
    this.id = id
  }

  private get framebuffer(): ServedFramebuffer {
    const { host: { devices }, domid, id } = this
    const served = devices.service(SERVED_FRAMEBUFFERS).served(domid, id)
    if (served !== undefined) return served
    throw new XenError('INVALID_STATE', `screen ${id} of domain ${domid} is not served`, { details: { domid, id } })
  }

  private get keyboard(): ServedKeyboard {
    const { host: { devices }, domid, id } = this
    const served = devices.service(SERVED_KEYBOARDS).served(domid, id)
    if (served !== undefined) return served
    throw new XenError('INVALID_STATE', `screen ${id} of domain ${domid} has no keyboard that is served`, { details: { domid, id } })
  }

  /** True while a guest has connected its framebuffer. */
  get connected(): boolean {
    return this.framebuffer.size !== undefined
  }

  /** Pixels; undefined while no guest is connected. */
  get size(): { readonly width: number; readonly height: number } | undefined {
    return this.framebuffer.size
  }

  /** What its guest does: `drawn` with the rectangle, `resized`, `connected`, `disconnected`, `closed`. */
  get events(): EventSource<FramebufferEvent> {
    return this.framebuffer.events
  }

  /** What has come from the guest; undefined while none is connected. */
  get statistics(): FramebufferStatistics | undefined {
    return this.framebuffer.statistics
  }

  /** What can be seen now, or in a rectangle of it: 4 bytes a pixel, red, green, blue and 255. Changes nothing. Throws INVALID_STATE while no guest is connected, INVALID_ARGUMENT for a rectangle outside. */
  picture(area?: ScreenArea): Picture {
    if (area !== undefined) checkOptions('screen.picture', area, AREA_CHECKS)
    const { framebuffer, domid, id } = this
    const { size } = framebuffer
    if (size === undefined) throw new XenError('INVALID_STATE', `no guest draws on screen ${id} of domain ${domid}`, { details: { domid, id } })
    const seen = framebuffer.read(area ?? { x: 0, y: 0, ...size })
    if (seen !== undefined) return seen
    throw new XenError('INVALID_ARGUMENT', `screen ${id} of domain ${domid} has ${size.width} x ${size.height} pixels, none of them there`, { details: { area, size } })
  }

  /** The same as the bytes of a PNG file. */
  async png(area?: ScreenArea): Promise<Uint8Array> {
    return encodePng(this.picture(area))
  }

  /**
   * Does something at its keyboard or pointer, key by key; the guest hears it in its own time. Throws OUT_OF_RESOURCES, with nothing done, where it has
   * taken nothing for long, INVALID_ARGUMENT, INVALID_STATE.
   */
  input(inputs: readonly ScreenInput[]): void {
    checkArgument('what is done at a screen', inputs, listOf(input))
    const { keyboard, host, domid, id } = this
    const { inputs: door, loop } = host.consoleHost(this.fate)
    const done = inputs.map((one): ScreenInput => (one.type === 'key'
      ? { type: 'key', code: one.code, pressed: one.pressed } : { type: 'pointer', x: one.x, y: one.y, ...(one.wheel === undefined ? {} : { wheel: one.wheel }) }))
    door.enter(() => ({ source: 'screen', domid, screen: id, inputs: done }), () => keyboard.send(done))
    loop.kick()
  }

  /**
   * Presses keys, one after the other, and lets them go in the opposite order: characters, names as in browsers' events, or Linux's numbers.
   *
   * @example
   * screen.press('Control', 'Alt', 'Delete')
   */
  press(...keys: readonly (string | number)[]): void {
    checkArgument('the keys of screen.press', keys, listOf(key))
    const codes = keys.map((one) => keyCode(one)!)
    this.input([...codes.map((code): KeyInput => ({ type: 'key', code, pressed: true })), ...codes.reverse().map((code): KeyInput => ({ type: 'key', code, pressed: false }))])
  }

  /** Types a text as on a keyboard of the United States. Throws INVALID_ARGUMENT for a character that has no key there. */
  type(text: string): void {
    checkArgument('the text of screen.type', text, anyText)
    const strokes = strokesOf(text)
    if (typeof strokes === 'string') throw new XenError('INVALID_ARGUMENT', `no key writes ${JSON.stringify(strokes)}`, { details: { character: strokes } })
    this.input(strokes)
  }

  /** Moves the pointer to a pixel; `wheel` turns its wheel by so many steps, away from the hand where it is above 0. */
  point(x: number, y: number, options: { readonly wheel?: number | undefined } = {}): void {
    checkOptions('screen.point', options, { wheel: whole(-MAX_PLACE, MAX_PLACE) })
    this.input([{ type: 'pointer', x, y, wheel: options.wheel }])
  }

  /** Moves the pointer to a pixel, and clicks there. */
  click(x: number, y: number, options: { readonly button?: ScreenButton | undefined } = {}): void {
    checkOptions('screen.click', options, { button: oneOf(...Object.keys(BUTTONS)) })
    const code = BUTTONS[options.button ?? 'left']
    this.input([{ type: 'pointer', x, y }, { type: 'key', code, pressed: true }, { type: 'key', code, pressed: false }])
  }
}

/** The screen of a number. Throws INVALID_ARGUMENT, DEVICE_NOT_FOUND. */
export function screenOf(host: ScreenHost, fate: DomainFate, number: number): Screen {
  checkArgument('the number of domain.screen', number, whole(0, 0xffff))
  return new Screen(host, fate, host.devices.find(fate.id, FRAMEBUFFER, named(number)).device)
}
