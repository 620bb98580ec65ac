/**
 * Specifications of framebuffers: `vnc=1,vnclisten=ADDRESS[:DISPLAY],vncdisplay=NUMBER,vncunused=1,vncpasswd=PASSWORD,keymap=NAME`, and the same as objects.
 * Reference: xl.cfg(5), vfb; tools/xl/xl_parse.c; libxl_vfb.c.
 */
import { checkConfig, flag, whole, XenError, type OptionChecks } from '../../../util/index.ts'
import { MAX_SPECIFICATION } from '../described-device.ts'
import { parameters, parametersOf, parameterText, unless } from '../parameters.ts'

/** One framebuffer, and who may look at it by VNC. */
export interface FramebufferConfig {
  /** Whether its picture is offered by VNC, where the process of the host does so (`serveScreens` of `paravirt/node`). */
  readonly vnc: boolean
  /** Address of the host at which it is. */
  readonly listen: string
  /** Number of the display: its port is 5900 and that. */
  readonly display: number
  /** Whether the next free display is taken where that one is in use. */
  readonly findUnused: boolean
  /** What viewers must know; 8 characters at most count. */
  readonly password?: string
  /** Layout of the keyboards of viewers, for device models that ask; ours takes symbols as on a keyboard of the United States. */
  readonly keymap?: string
  /** Domain that serves it: dom0. */
  readonly backend: string
}

/** A framebuffer as an object. */
export interface FramebufferDescription {
  /** Default true. */
  readonly vnc?: boolean | undefined
  /** Default 127.0.0.1. */
  readonly listen?: string | undefined
  /** Default 0. */
  readonly display?: number | undefined
  /** Default true with VNC. */
  readonly findUnused?: boolean | undefined
  readonly password?: string | undefined
  readonly keymap?: string | undefined
}

const LONGEST = 256
/** Displays whose ports there are. */
const MAX_DISPLAY = 65535 - 5900
const KEYS = ['vnc', 'vnclisten', 'vncdisplay', 'vncunused', 'vncpasswd', 'keymap', 'sdl', 'opengl', 'display', 'xauthority'] as const
/** Of a window of the host's own, which none here opens. */
const OF_WINDOWS: readonly string[] = ['sdl', 'opengl', 'display', 'xauthority']

/** Throws INVALID_CONFIG for what cannot be. `shown` is what was given, without a password. */
function checked({ vnc = true, listen = '127.0.0.1', display = 0, findUnused = vnc, password, keymap }: FramebufferDescription, shown: string): FramebufferConfig {
  const fault = (message: string): XenError => new XenError('INVALID_CONFIG', `framebuffer \`${shown}\`: ${message}`, { details: { framebuffer: shown } })
  for (const [what, value] of [['address', listen], ['password', password ?? ''], ['keymap', keymap ?? '']] as const) {
    if (value.length > LONGEST) throw fault(`its ${what} has more than ${LONGEST} characters`)
    if (/[\0-\x1f\x7f]/.test(value)) throw fault(`its ${what} has control characters`)
  }
  if (!Number.isInteger(display) || display < 0 || display > MAX_DISPLAY) throw fault(`display ${display} is not from 0 to ${MAX_DISPLAY}`)
  return { vnc, listen, display, findUnused, ...(password === undefined ? {} : { password }), ...(keymap === undefined ? {} : { keymap }), backend: '0' }
}

/** How a specification is read. */
export interface FramebufferOptions {
  /** Told of each parameter that has no effect; without it one is an error. */
  readonly onIgnored?: (message: string) => void
}

/** A specification as it may be shown: without its password. */
const withoutPassword = (specification: string): string => specification.replace(/(vncpasswd\s*=)[^,]*/g, '$1...')

/** Those of its parameters that have an effect; the others are passed over. */
function effective(specification: string, { onIgnored }: FramebufferOptions): Partial<Record<(typeof KEYS)[number], string>> {
  const wrong = (message: string): string => `framebuffer \`${withoutPassword(specification)}\`: ${message}`
  const pass = (message: string): void => {
    if (onIgnored === undefined) throw new XenError('INVALID_CONFIG', wrong(message), { details: { framebuffer: withoutPassword(specification) } })
    onIgnored(wrong(message))
  }
  const found = parametersOf(specification, { keys: KEYS, malformed: pass, unknown: pass })
  for (const key of KEYS) {
    const value = found[key]
    if (value === undefined || !OF_WINDOWS.includes(key)) continue
    if (value !== '0' && value !== '') pass(`\`${key}\` is of a window of the host's own, which nobody opens here`)
    delete found[key]
  }
  return found
}

/** Parses one specification. Throws INVALID_CONFIG naming it. */
export function parseFramebuffer(specification: string, options: FramebufferOptions = {}): FramebufferConfig {
  const shown = withoutPassword(specification)
  const fault = (message: string): XenError => new XenError('INVALID_CONFIG', `framebuffer \`${shown}\`: ${message}`, { details: { framebuffer: shown } })
  if (specification.length > MAX_SPECIFICATION) throw fault(`it has more than ${MAX_SPECIFICATION} characters`)
  const { vnc, vnclisten, vncdisplay, vncunused, vncpasswd: password, keymap } = effective(specification, options)
  const number = (value: string | undefined, name: string): number | undefined => {
    if (value !== undefined && !/^\d{1,6}$/.test(value)) throw fault(`${name}=${value} is no number`)
    return value === undefined ? undefined : Number(value)
  }
  // The address may have the display behind it.
  const [, listen, behind] = /^(.*?)(?::(\d{1,6}))?$/.exec(vnclisten ?? '') ?? []
  const [on, unused] = [number(vnc, 'vnc'), number(vncunused, 'vncunused')]
  return checked({
    vnc: on === undefined ? undefined : on !== 0, listen: listen === '' ? undefined : listen, display: number(vncdisplay, 'vncdisplay') ?? number(behind, 'vnclisten'),
    findUnused: unused === undefined ? undefined : unused !== 0, password: password === '' ? undefined : password, keymap: keymap === '' ? undefined : keymap,
  }, shown)
}

const DESCRIPTION_CHECKS: OptionChecks<FramebufferDescription & { readonly backend?: string }> = {
  vnc: flag, listen: parameterText, display: /* @__PURE__ */ whole(0, MAX_DISPLAY), findUnused: flag, password: parameterText, keymap: parameterText,
  backend: (value) => (value === '0' || value === undefined ? undefined : 'must be dom0: a front-end names its pages by their frames, which no other domain may map'),
}

/** A framebuffer out of a text or an object, with its defaults. Throws INVALID_CONFIG. */
export function resolveFramebuffer(framebuffer: string | FramebufferDescription): FramebufferConfig {
  if (typeof framebuffer === 'string') return parseFramebuffer(framebuffer)
  checkConfig('framebuffer', framebuffer, DESCRIPTION_CHECKS)
  const { password, ...rest } = framebuffer
  return checked(framebuffer, JSON.stringify(password === undefined ? rest : { ...rest, password: '...' }))
}

/** A framebuffer as a specification. */
export function formatFramebuffer({ vnc, listen, display, findUnused, password, keymap }: FramebufferConfig): string {
  const bit = (value: boolean): string => (value ? '1' : '0')
  return parameters('framebuffers', [
    ['vnc', bit(vnc)], ['vnclisten', unless(listen, '127.0.0.1')], ['vncdisplay', unless(display, 0)], ['vncunused', findUnused === vnc ? undefined : bit(findUnused)],
    ['vncpasswd', password], ['keymap', keymap],
  ]).join(',')
}
