/**
 * Screens: a guest in TypeScript that draws whole frames of 800 x 600 by its framebuffer, each of which its host is told of and looks at, on one host as the toolstack boots it; against
 * turning the same pixels into pictures with nothing in between. Updates of 8 x 16, a character each, that nobody looks at. Keys from the host to the guest. A PNG of a frame. Figures are of
 * processor time.
 * Targets: 60 frames and their 110 MiB in a second, 50,000 updates, 100,000 keys, 5 PNGs.
 */
import { FramebufferFrontend, KeyboardFrontend, type GuestScreen } from '../../src/drivers/index.ts'
import { FrontendBus, type GuestKernel } from '../../src/guest/index.ts'
import { Host, type Domain } from '../../src/index.ts'
import type { Report } from './report.ts'
import { bestRates, type Work } from './support/rates.ts'

const [WIDTH, HEIGHT] = [800, 600]
const AREA = { x: 0, y: 0, width: WIDTH, height: HEIGHT }
const BYTES = WIDTH * HEIGHT * 4

interface Setup {
  readonly host: Host
  readonly domain: Domain
  readonly kernel: GuestKernel
  readonly screen: GuestScreen
  readonly heard: { keys: number }
}

async function setUp(): Promise<Setup> {
  const host = await Host.boot({ memory: 96, dom0Memory: 16 })
  const heard = { keys: 0 }
  const found: { kernel?: GuestKernel; screen?: GuestScreen } = {}
  const domain = await host.createDomain({
    name: 'bench', memory: 16, framebuffers: [{ vnc: false }],
    kernel: async (kernel: GuestKernel) => {
      const screens = new FramebufferFrontend({ width: WIDTH, height: HEIGHT })
      const bus = new FrontendBus(kernel)
      await bus.register(screens)
      await bus.register(new KeyboardFrontend(() => { heard.keys += 1 }))
      found.screen = await screens.screen(0)
      found.kernel = kernel
    },
  })
  await host.until('the screen and the keyboard', () => found.kernel !== undefined && domain.devices().every(({ frontendState }) => frontendState === 4))
  return { host, domain, kernel: found.kernel!, screen: found.screen!, heard }
}

/** Draws so often and waits until the host is told of all of it. */
const drawing = ({ host, domain, kernel, screen }: Setup, area: (at: number) => { readonly x: number; readonly y: number; readonly width: number; readonly height: number }, look: () => void): Work => async (count) => {
  const told = { left: count }
  const stop = domain.screen().events.onAny((event) => {
    if (event.type !== 'drawn') return
    told.left -= 1
    look()
  })
  for (let at = 0; at < count; at += 1) {
    kernel.post(() => screen.fill(area(at), [at & 255, 7, 7]))
    if (at % 32 === 31) await host.settled()
  }
  await host.until('all to be told of', () => told.left <= 0)
  stop()
}

export async function run(report: Report): Promise<void> {
  const setup = await setUp()
  const { domain, host, heard } = setup
  const view = domain.screen()
  const pixels = new Uint8Array(BYTES).fill(0x40)
  const characters = (at: number) => ({ x: (at % 100) * 8, y: (at % 37) * 16, width: 8, height: 16 })
  const straight: Work = (count) => {
    for (let at = 0; at < count; at += 1) {
      const rgba = new Uint8Array(BYTES)
      for (let place = 0; place < BYTES; place += 4) {
        rgba[place] = pixels[place + 2]!
        rgba[place + 1] = pixels[place + 1]!
        rgba[place + 2] = pixels[place]!
        rgba[place + 3] = 255
      }
    }
  }
  const [frames = 0, base = 0] = await bestRates([{ work: drawing(setup, () => AREA, () => void view.picture()), count: 40 }, { work: straight, count: 40 }])
  report({ case: 'frames of 800 x 600, drawn and looked at', value: frames, unit: 'frames/s', baseline: 'pixels turned into a picture', ratio: frames / base, target: 60, met: frames >= 60 })
  report({ case: 'the same, their pixels', value: (frames * BYTES) / (1 << 20), unit: 'MiB/s', baseline: 'pixels turned into a picture', ratio: frames / base, target: 110, met: (frames * BYTES) / (1 << 20) >= 110 })
  const [updates = 0] = await bestRates([{ work: drawing(setup, characters, () => undefined), count: 4000 }])
  report({ case: 'updates of 8 x 16', value: updates, unit: 'updates/s', baseline: '', ratio: null, target: 50_000, met: updates >= 50_000 })
  const keys: Work = async (count) => {
    const end = heard.keys + count
    for (let at = 0; at < count; at += 200) {
      view.input(Array.from({ length: 200 }, (_, key) => ({ type: 'key', code: 30, pressed: key % 2 === 0 }) as const))
      await host.settled()
    }
    await host.until('all to be heard', () => heard.keys >= end)
  }
  const [typed = 0] = await bestRates([{ work: keys, count: 10_000 }])
  report({ case: 'keys', value: typed, unit: 'events/s', baseline: '', ratio: null, target: 100_000, met: typed >= 100_000 })
  const [pngs = 0] = await bestRates([{ work: async (count) => { for (let at = 0; at < count; at += 1) await view.png() }, count: 5 }])
  report({ case: 'PNGs of 800 x 600', value: pngs, unit: 'files/s', baseline: '', ratio: null, target: 5, met: pngs >= 5 })
  await host.shutdown()
}
