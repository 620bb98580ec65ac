/** Framebuffers: `vfb` devices. Reference: xl.cfg(5), vfb; libxl_vfb.c; libxl_types.idl, libxl_device_vfb. */
import * as z from 'zod/mini'
import type { DescribedDevice, DeviceSaved } from '../described-device.ts'
import { jsonBool, jsonFlag, present } from '../saved-fields.ts'
import { formatFramebuffer, parseFramebuffer, resolveFramebuffer, type FramebufferConfig, type FramebufferDescription } from './framebuffer-specification.ts'

/** As the driver has it; said here once more, so that who only describes framebuffers brings no driver along. */
const NAME = 'vfb'

/** Addresses that nobody reaches from elsewhere. */
const LOOPBACK: readonly string[] = ['127.0.0.1', '::1', 'localhost']

const text = /* @__PURE__ */ z.string()
const schema = /* @__PURE__ */ z.object({
  vnc: z.optional(z.object({ enable: z.optional(jsonBool), listen: z.optional(text), passwd: z.optional(text), display: z.optional(z.int()), findunused: z.optional(jsonBool) })),
  keymap: z.optional(text),
})

const truth = (saved: 'True' | 'False' | '<default>' | undefined): boolean | undefined => (saved === undefined || saved === '<default>' ? undefined : saved === 'True')

/** Framebuffers of a saved domain, as libxl's JSON has them. */
const SAVED: DeviceSaved<FramebufferConfig> = {
  key: 'vfbs',
  schema,
  write: ({ vnc, listen, display, findUnused, password, keymap }, index) => ({
    devid: index, vnc: { enable: jsonFlag(vnc), listen, passwd: password, display, findunused: jsonFlag(findUnused) }, sdl: { enable: 'False', opengl: 'False' }, keymap,
  }),
  read({ vnc, keymap }: z.infer<typeof schema>) {
    return resolveFramebuffer(present({ vnc: truth(vnc?.enable), listen: vnc?.listen, display: vnc?.display, findUnused: truth(vnc?.findunused), password: vnc?.passwd, keymap }))
  },
}

/** Framebuffers. */
export const FRAMEBUFFER = {
  name: NAME,
  title: 'framebuffer',
  about: 'Framebuffers, which the guest draws and its host has as `domain.screen()`, each with a keyboard and a pointer; viewers see them by VNC.',
  words: { option: 'vfb' as const, parse: parseFramebuffer, format: formatFramebuffer },
  saved: SAVED,
  resolve: (description) => resolveFramebuffer(description as string | FramebufferDescription),
  label: ({ listen, display }) => `framebuffer of display ${listen}:${display}`,
  hostNames: ({ vnc, listen }) => ({ addresses: vnc && !LOOPBACK.includes(listen) ? listen : undefined }),
  settle: (config, { isFree }) => {
    let id = 0
    while (!isFree(id)) id += 1
    return { id, config }
  },
  nameOf: (_config, id) => String(id),
  facts: ({ vnc, listen, display, findUnused }) => ({ vnc, listen, display, findUnused }),
  numberOf: Number,
  spelled: (name) => name,
  // The guest may read these: the password stays with the host.
  rows: ({ vnc, listen, display, findUnused, keymap }) => ({
    backendHead: [], backendMiddle: [],
    backendTail: [
      ['vnc', vnc ? '1' : '0'], ['vnclisten', listen], ['vncdisplay', String(display)], ['vncunused', findUnused ? '1' : '0'], ['sdl', '0'], ['opengl', '0'],
      ...(keymap === undefined ? [] : [['keymap', keymap] as const]),
    ],
    frontend: [],
  }),
  isOpened: false,
  leavesAnyway: false,
} satisfies DescribedDevice<FramebufferConfig>
