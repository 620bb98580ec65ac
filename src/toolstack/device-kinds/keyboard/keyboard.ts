/** Keyboards with their pointers: `vkbd` devices. Reference: xl.cfg(5), VKB; libxl_vkb.c; libxl_types.idl, libxl_device_vkb. */
import * as z from 'zod/mini'
import { XenError } from '../../../util/index.ts'
import type { DescribedDevice, DeviceSaved } from '../described-device.ts'
import { present, unlessDefault } from '../saved-fields.ts'
import { formatKeyboard, parseKeyboard, resolveKeyboard, type KeyboardConfig, type KeyboardDescription } from './keyboard-specification.ts'

/** As the driver has it; said here once more, so that who only describes keyboards brings no driver along. */
const NAME = 'vkbd'

const text = /* @__PURE__ */ z.string()
const side = /* @__PURE__ */ z.optional(/* @__PURE__ */ z.int())
const schema = /* @__PURE__ */ z.object({
  backend_domname: z.optional(text), backend_type: z.optional(text), unique_id: z.optional(text), width: side, height: side,
  feature_disable_keyboard: z.optional(z.boolean()), feature_disable_pointer: z.optional(z.boolean()), feature_abs_pointer: z.optional(z.boolean()),
})

/** Keyboards of a saved domain, as libxl's JSON has them. */
const SAVED: DeviceSaved<KeyboardConfig> = {
  key: 'vkbs',
  schema,
  write: ({ keyboard, pointer, absolute, width, height, uniqueId, backend }, index) => ({
    backend_domname: unlessDefault(backend, '0'), devid: index,
    // What the features say counts with this type; a device model has its own, which are the usual ones here.
    backend_type: keyboard && pointer && absolute ? 'QEMU' : 'LINUX', unique_id: uniqueId,
    // A bool of libxl's is left out where it is false.
    feature_disable_keyboard: keyboard ? undefined : true, feature_disable_pointer: pointer ? undefined : true, feature_abs_pointer: absolute ? true : undefined,
    width, height,
  }),
  read(saved: z.infer<typeof schema>) {
    const { backend_domname: backend, backend_type: type, unique_id: uniqueId, width, height, feature_disable_keyboard: noKeyboard, feature_disable_pointer: noPointer, feature_abs_pointer: absolute } = saved
    const features = type === 'LINUX' ? { absolute: absolute === true, keyboard: noKeyboard !== true, pointer: noPointer !== true } : {}
    return resolveKeyboard(present({ backend, uniqueId, width: width === 0 ? undefined : width, height: height === 0 ? undefined : height, ...features }))
  },
}

/** What the guest is told that there is. */
const offers = ({ keyboard, pointer, absolute, width, height, uniqueId }: KeyboardConfig): readonly (readonly [string, string])[] => [
  ['feature-disable-keyboard', keyboard ? '0' : '1'], ['feature-disable-pointer', pointer ? '0' : '1'], ['feature-abs-pointer', absolute ? '1' : '0'], ['feature-raw-pointer', '0'],
  ['width', String(width)], ['height', String(height)], ...(uniqueId === undefined ? [] : [['unique-id', uniqueId] as const]),
]

/** Keyboards. */
export const KEYBOARD = {
  name: NAME,
  title: 'keyboard',
  about: 'Keyboards with their pointers; each framebuffer has one unless others are said.',
  words: { option: 'vkb' as const, parse: (specification: string) => parseKeyboard(specification), format: formatKeyboard },
  saved: SAVED,
  resolve: (description) => resolveKeyboard(description as string | KeyboardDescription),
  label: ({ uniqueId }) => (uniqueId === undefined ? 'keyboard' : `keyboard ${uniqueId}`),
  hostNames: () => ({}),
  settle: (config, { isFree }) => {
    let id = 0
    while (!isFree(id)) id += 1
    return { id, config }
  },
  nameOf: (_config, id) => String(id),
  facts: ({ keyboard, pointer, absolute, width, height, uniqueId }) => ({ keyboard, pointer, absolute, width, height, uniqueId }),
  numberOf: Number,
  spelled: (name) => name,
  // What is offered is there from the start: Linux looks once, as soon as it sees the device.
  rows: (config) => ({ backendHead: [], backendMiddle: [], backendTail: [['backend-type', 'qemu'], ...offers(config)], frontend: [] }),
  isOpened: false,
  leavesAnyway: false,
} satisfies DescribedDevice<KeyboardConfig>

/** The keyboard that comes with a framebuffer. */
const usual = (): KeyboardConfig => resolveKeyboard({})

/** A domain's keyboards where `framebuffers` say none of their own: one for each, and behind them those that `vkb` says, as xl has it. */
export const withKeyboards = (framebuffers: number, others: readonly KeyboardConfig[] = []): readonly KeyboardConfig[] =>
  [...Array.from({ length: framebuffers }, usual), ...others]

/** The keyboards that have to be said where each framebuffer brings one. Throws INVALID_CONFIG where one has to be missing. */
export function beyondFramebuffers(framebuffers: number, keyboards: readonly KeyboardConfig[]): readonly KeyboardConfig[] {
  const first = formatKeyboard(usual())
  if (keyboards.length < framebuffers || !keyboards.slice(0, framebuffers).every((keyboard) => formatKeyboard(keyboard) === first)) {
    throw new XenError('INVALID_CONFIG', 'keyboards cannot stand in a description file: each framebuffer there has one, as usual', { details: { key: 'keyboards' } })
  }
  return keyboards.slice(framebuffers)
}
