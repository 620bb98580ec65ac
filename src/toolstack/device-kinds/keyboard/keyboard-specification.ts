/**
 * Specifications of keyboards with their pointers: `backend-type=qemu,unique-id=ID,feature-abs-pointer=1,width=800,height=600,...`, and the same as objects.
 * Reference: xl.cfg(5), VKB; tools/xl/xl_parse.c, parse_vkb_config; libxl_vkb.c.
 */
import { checkConfig, flag, whole, XenError, type OptionChecks } from '../../../util/index.ts'
import { MAX_SPECIFICATION } from '../described-device.ts'
import { parameters, parametersOf, parameterText, unless } from '../parameters.ts'

/** One keyboard with a pointer. */
export interface KeyboardConfig {
  /** Whether the guest is to have the keyboard, and the pointer. */
  readonly keyboard: boolean
  readonly pointer: boolean
  /** Whether the pointer's places are offered, in pixels of the picture: without, or to a guest that does not ask for them, it is told by how much it moves. */
  readonly absolute: boolean
  /** Pixels that the pointer's places go to. */
  readonly width: number
  readonly height: number
  /** By which the guest knows it. */
  readonly uniqueId?: string
  /** Domain that serves it. */
  readonly backend: string
}

/** A keyboard as an object. */
export interface KeyboardDescription {
  /** Default true, both. */
  readonly keyboard?: boolean | undefined
  readonly pointer?: boolean | undefined
  /** Default true. */
  readonly absolute?: boolean | undefined
  /** Default 800 x 600, as the picture of Linux's front-end. */
  readonly width?: number | undefined
  readonly height?: number | undefined
  readonly uniqueId?: string | undefined
  /** Domain that serves it, by name or number. Default dom0. */
  readonly backend?: string | undefined
}

const LONGEST = 256
const MAX_SIDE = 65535
/** The side of a picture of Linux's front-end. */
const [USUAL_WIDTH, USUAL_HEIGHT] = [800, 600]
const SWITCHES = ['feature-disable-keyboard', 'feature-disable-pointer', 'feature-abs-pointer', 'feature-raw-pointer', 'feature-multi-touch'] as const
const KEYS = [...SWITCHES, 'backend', 'backend-type', 'unique-id', 'width', 'height', 'multi-touch-width', 'multi-touch-height', 'multi-touch-num-contacts'] as const

/** Throws INVALID_CONFIG for what cannot be. `shown` is what was given. */
function checked({ keyboard = true, pointer = true, absolute = true, width = USUAL_WIDTH, height = USUAL_HEIGHT, uniqueId, backend = '0' }: KeyboardDescription, shown: string): KeyboardConfig {
  const fault = (message: string): XenError => new XenError('INVALID_CONFIG', `keyboard \`${shown}\`: ${message}`, { details: { keyboard: shown } })
  if ([width, height].some((side) => !Number.isInteger(side) || side < 1 || side > MAX_SIDE)) throw fault(`${width} x ${height} is not from 1 to ${MAX_SIDE}`)
  if (uniqueId !== undefined && (uniqueId.length > LONGEST || /[\0-\x1f\x7f]/.test(uniqueId))) throw fault('its unique-id has more than 256 characters, or control characters')
  return { keyboard, pointer, absolute, width, height, ...(uniqueId === undefined ? {} : { uniqueId }), backend }
}

/** Parses one specification. Throws INVALID_CONFIG naming it, also for a parameter that there is none of, as xl does. */
export function parseKeyboard(specification: string): KeyboardConfig {
  const fault = (message: string): XenError => new XenError('INVALID_CONFIG', `keyboard \`${specification}\`: ${message}`, { details: { keyboard: specification } })
  if (specification.length > MAX_SPECIFICATION) throw fault(`it has more than ${MAX_SPECIFICATION} characters`)
  const refuse = (message: string): never => { throw fault(message) }
  const found = parametersOf(specification, { keys: KEYS, malformed: refuse, unknown: refuse })
  const wrong = SWITCHES.find((name) => found[name] !== undefined && !/^[01]$/.test(found[name]))
  if (wrong !== undefined) throw fault(`${wrong} is 0 or 1`)
  const missing = (['feature-raw-pointer', 'feature-multi-touch'] as const).find((name) => found[name] === '1')
  if (missing !== undefined) throw fault(`${missing} is nothing that is served here`)
  if (found['backend-type'] !== undefined && !['qemu', 'linux'].includes(found['backend-type'])) throw fault(`\`${found['backend-type']}\` is not a value for backend-type: it is qemu or linux`)
  const number = (name: 'width' | 'height'): number | undefined => (found[name] === undefined ? undefined : /^\d{1,6}$/.test(found[name]) ? Number(found[name]) : NaN)
  return checked({
    keyboard: found['feature-disable-keyboard'] !== '1', pointer: found['feature-disable-pointer'] !== '1', absolute: found['feature-abs-pointer'] !== '0',
    width: number('width'), height: number('height'), uniqueId: found['unique-id'], backend: found.backend === '' ? undefined : found.backend,
  }, specification)
}

const DESCRIPTION_CHECKS: OptionChecks<KeyboardDescription> = {
  keyboard: flag, pointer: flag, absolute: flag, width: /* @__PURE__ */ whole(1, MAX_SIDE), height: /* @__PURE__ */ whole(1, MAX_SIDE), uniqueId: parameterText, backend: parameterText,
}

/** A keyboard out of a text or an object, with its defaults. Throws INVALID_CONFIG. */
export function resolveKeyboard(keyboard: string | KeyboardDescription): KeyboardConfig {
  if (typeof keyboard === 'string') return parseKeyboard(keyboard)
  checkConfig('keyboard', keyboard, DESCRIPTION_CHECKS)
  return checked(keyboard, JSON.stringify(keyboard))
}

/** A keyboard as a specification. */
export const formatKeyboard = ({ keyboard, pointer, absolute, width, height, uniqueId, backend }: KeyboardConfig): string => parameters('keyboards', [
  ['feature-disable-keyboard', keyboard ? undefined : 1], ['feature-disable-pointer', pointer ? undefined : 1], ['feature-abs-pointer', absolute ? undefined : 0],
  ['width', unless(width, USUAL_WIDTH)], ['height', unless(height, USUAL_HEIGHT)], ['unique-id', uniqueId], ['backend', unless(backend, '0')],
]).join(',') || 'backend-type=qemu'
