/** Screens by VNC: what Debian's vncsnapshot sees of a guest's picture, passwords, pixel formats, and what strangers may send. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { FramebufferFrontend, KeyboardFrontend } from '../../../src/drivers/index.ts'
import { FrontendBus, type GuestProgram } from '../../../src/guest/index.ts'
import type { Domain, FramebufferDescription, Host } from '../../../src/index.ts'
import { serveScreens, type Screens } from '../../../src/node/index.ts'
import { codeOfSymbol } from '../../../src/node/vnc/key-symbols.ts'
import { readPixelFormat, writePixels, OFFERED } from '../../../src/node/vnc/protocol.ts'
import { whyMissing } from '../../support/guests.ts'
import { hostsOfTests } from '../../support/mini.ts'
import { BareViewer, passwordFile, vncSnapshot } from '../../support/vnc.ts'

const missing = whyMissing('vncsnapshot', 'jpegLibrary', 'djpeg')
const boot = hostsOfTests({ memory: 64, dom0Memory: 8, idle: 'wait' })
const [WIDTH, HEIGHT] = [64, 48]
const COLOURS = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]] as const

/** Draws four stripes; draws the first anew, and goes to half the height, where that is typed. */
const stripes: GuestProgram = async (kernel) => {
  const screens = new FramebufferFrontend({ width: WIDTH, height: HEIGHT })
  const bus = new FrontendBus(kernel)
  await bus.register(screens)
  const screen = await screens.screen(0)
  for (const [at, colour] of COLOURS.entries()) screen.fill({ x: at * 16, y: 0, width: 16, height: HEIGHT }, colour)
  await bus.register(new KeyboardFrontend((input) => {
    kernel.console!.log(`heard ${input.type === 'key' ? `${input.pressed ? '+' : '-'}${input.code}` : `${input.x},${input.y},${input.wheel}`}`)
    if (input.type === 'key' && input.pressed && input.code === 25) screen.fill({ x: 0, y: 0, width: 16, height: HEIGHT }, [0, 0, 0])
    if (input.type === 'key' && input.pressed && input.code === 35) screen.resize(WIDTH, HEIGHT / 2)
  }))
  kernel.console!.log('painted')
}

async function start(framebuffer: FramebufferDescription = {}): Promise<{ readonly host: Host; readonly domain: Domain; readonly screens: Screens; readonly port: number }> {
  const host = await boot()
  const screens = serveScreens(host, { firstPort: 0 })
  const domain = await host.createDomain({ name: 'desk', memory: 4, kernel: stripes, framebuffers: [framebuffer] })
  await domain.console.waitFor('painted')
  return { host, domain, screens, port: (await screens.listening(domain.id)).port }
}

/** How far a picture is from the stripes at most: JPEG is never exact. */
function farthest(pixels: Uint8Array, width: number): number {
  let most = 0
  for (let at = 0; at < pixels.length; at += 3) {
    // Colours run into each other at the stripes' edges.
    const x = (at / 3) % width
    if (x % 16 < 8 || x % 16 > 14) continue
    for (let of = 0; of < 3; of += 1) most = Math.max(most, Math.abs(pixels[at + of]! - COLOURS[Math.floor(x / 16)]![of]!))
  }
  return most
}

describe.skipIf(missing !== undefined)(`Debian's vncsnapshot${missing ?? ''}`, () => {
  test('sees the picture that a guest has drawn', async () => {
    const { port } = await start()
    const seen = await vncSnapshot(port)
    if (typeof seen === 'string') throw new Error(seen)
    expect([seen.width, seen.height, seen.pixels.length]).toEqual([WIDTH, HEIGHT, WIDTH * HEIGHT * 3])
    expect(farthest(seen.pixels, WIDTH)).toBeLessThan(16)
  })

  test('is let in by the right password alone', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'paravirt-vnc-'))
    const { port } = await start({ password: 'sesame' })
    for (const [name, password] of [['right', 'sesame'], ['wrong', 'sesami']] as const) writeFileSync(join(folder, name), passwordFile(password), { mode: 0o600 })
    expect(await vncSnapshot(port, join(folder, 'right'))).toMatchObject({ width: WIDTH })
    expect(typeof await vncSnapshot(port, join(folder, 'wrong'))).toBe('string')
    rmSync(folder, { recursive: true })
  })
})

describe('a viewer', () => {
  test('is sent what it asks for, then what is drawn anew, and the size where it knows of sizes', async () => {
    const { domain, screens, port } = await start()
    const viewer = new BareViewer(port)
    expect(await viewer.begin()).toEqual({ width: WIDTH, height: HEIGHT })
    // It knows raw pixels and sizes.
    viewer.send(2, 0, 0, 2, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x21)
    viewer.send(3, 0, 0, 0, 0, 0, 0, WIDTH, 0, HEIGHT)
    const head = await viewer.read(16)
    expect([...head]).toEqual([0, 0, 0, 1, 0, 0, 0, 0, 0, WIDTH, 0, HEIGHT, 0, 0, 0, 0])
    const pixels = await viewer.read(WIDTH * HEIGHT * 4)
    expect([[...pixels.subarray(0, 4)], [...pixels.subarray(16 * 4, 16 * 4 + 4)], [...pixels.subarray(47 * 4, 47 * 4 + 4)]]).toEqual([[0, 0, 255, 0], [0, 255, 0, 0], [255, 0, 0, 0]])
    // The key p has the guest draw its first stripe anew.
    viewer.send(3, 1, 0, 0, 0, 0, 0, WIDTH, 0, HEIGHT, 4, 1, 0, 0, 0, 0, 0, 'p', 4, 0, 0, 0, 0, 0, 0, 'p')
    expect([...await viewer.read(16)]).toEqual([0, 0, 0, 1, 0, 0, 0, 0, 0, 16, 0, HEIGHT, 0, 0, 0, 0])
    expect(new Set(await viewer.read(16 * HEIGHT * 4))).toEqual(new Set([0]))
    // The pointer with its left button, then the wheel; h has the guest go to half the height.
    viewer.send(5, 1, 0, 3, 0, 4, 5, 8, 0, 3, 0, 4, 3, 1, 0, 0, 0, 0, 0, WIDTH, 0, HEIGHT, 4, 1, 0, 0, 0, 0, 0, 'h')
    expect([...await viewer.read(16)]).toEqual([0, 0, 0, 1, 0, 0, 0, 0, 0, WIDTH, 0, HEIGHT / 2, 0xff, 0xff, 0xff, 0x21])
    await domain.console.waitFor('heard +35')
    expect(domain.console.text()).toContain('heard 3,4,0\nheard +272\nheard 3,4,1\nheard -272\nheard +35\n')
    expect(screens.served).toMatchObject([{ domid: domain.id, screen: 0, port, viewers: 1 }])
    await domain.destroy()
    await viewer.ended()
    expect(screens.served).toEqual([])
  })

  test('of the older versions of the protocol is let in as these say', async () => {
    const { port } = await start()
    const old = new BareViewer(port)
    await old.read(12)
    old.send('RFB 003.003\n')
    expect([...await old.read(4)]).toEqual([0, 0, 0, 1])
    old.send(1)
    expect((await old.read(24)).readUInt16BE(0)).toBe(WIDTH)
    const seven = new BareViewer(port)
    await seven.read(12)
    seven.send('RFB 003.007\n')
    expect([...await seven.read(2)]).toEqual([1, 1])
    seven.send(1, 1)
    expect((await seven.read(24)).readUInt16BE(2)).toBe(HEIGHT)
    for (const viewer of [old, seven]) viewer.socket.destroy()
  })

  const HEAD = ['RFB 003.008\n', 1, 1] as const
  test.each<readonly [string, readonly (number | string)[]]>([
    ['no version', ['GET / HTTP/1.1\r\n\r\n']], ['a way in that there is none of', ['RFB 003.008\n', 2]], ['a message of no type', [...HEAD, 99]],
    ['colours by a table', [...HEAD, 0, 0, 0, 0, 8, 8, 0, 0, 0, 7, 0, 7, 0, 3, 0, 3, 6, 0, 0, 0]], ['pixels of 7 bits', [...HEAD, 0, 0, 0, 0, 7, 7, 0, 1, 0, 7, 0, 7, 0, 3, 0, 3, 6, 0, 0, 0]],
    ['a shift beyond the pixel', [...HEAD, 0, 0, 0, 0, 8, 8, 0, 1, 0, 7, 0, 7, 0, 3, 99, 3, 6, 0, 0, 0]], ['more encodings than there can be', [...HEAD, 2, 0, 0xff, 0xff]],
  ])('that sends %s is let go, and the next is served', async (_, bytes) => {
    const { port } = await start()
    const viewer = new BareViewer(port)
    viewer.send(...bytes)
    await viewer.ended()
    const next = new BareViewer(port)
    expect(await next.begin()).toEqual({ width: WIDTH, height: HEIGHT })
    next.socket.destroy()
  })

  test('that pastes 4 GiB, asks beyond the picture and names keys that there are none of is served all the same', async () => {
    const { port, domain } = await start()
    const viewer = new BareViewer(port)
    await viewer.begin()
    viewer.send(6, 0, 0, 0, 0, 0, 0, 5, 'paste', 3, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 4, 1, 0, 0, 0xff, 0xff, 0xff, 0xf0, 3, 0, 0, 60, 0, 40, 0xff, 0xff, 0xff, 0xff)
    expect([...await viewer.read(16)]).toEqual([0, 0, 0, 1, 0, 60, 0, 40, 0, 4, 0, 8, 0, 0, 0, 0])
    viewer.send(6, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 'x'.repeat(100_000))
    viewer.socket.destroy()
    await viewer.ended()
    expect(domain.screen().connected).toBe(true)
  })
})

test('screens that cannot be offered are told of, and take the next display where they may', async () => {
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  const { port } = taken.address() as { port: number }
  const host = await boot()
  const failed: string[] = []
  const screens = serveScreens(host, { firstPort: port, onFailed: ({ message }) => failed.push(message) })
  const fixed = await host.createDomain({ name: 'fixed', memory: 4, framebuffers: [{ findUnused: false }] })
  await expect(screens.listening(fixed.id)).rejects.toMatchObject({ code: 'IO' })
  expect(failed).toEqual([expect.stringMatching(/^screen 0 of domain 1 cannot be offered at 127.0.0.1: /)])
  const other = await host.createDomain({ name: 'other', memory: 4, framebuffers: [{}] })
  expect((await screens.listening(other.id)).port).toBeGreaterThan(port)
  const without = await host.createDomain({ name: 'without', memory: 4, framebuffers: [{ vnc: false }] })
  await expect(screens.listening(without.id)).rejects.toMatchObject({ code: 'DEVICE_NOT_FOUND' })
  await screens.close()
  taken.close()
})

test('pixels are written in the formats that viewers ask for', () => {
  const pixels = Uint8ClampedArray.of(255, 128, 0, 255)
  expect([...writePixels(pixels, OFFERED)]).toEqual([0, 128, 255, 0])
  const format = (...bytes: number[]): ReturnType<typeof readPixelFormat> => readPixelFormat(Uint8Array.from([...bytes, 0, 0, 0]))
  expect([...writePixels(pixels, format(16, 16, 1, 1, 0, 31, 0, 63, 0, 31, 11, 5, 0)!)]).toEqual([0xfc, 0x00])
  expect([...writePixels(pixels, format(8, 8, 0, 1, 0, 7, 0, 7, 0, 3, 0, 3, 6)!)]).toEqual([7 | (4 << 3)])
  expect(format(32, 24, 0, 1, 0, 0, 0, 255, 0, 255, 16, 8, 0)).toBeUndefined()
})

test('keys of viewers are keys of guests', () => {
  expect([0x61, 0x41, 0xff0d, 0xffbe, 0xffc9, 0xffe1, 0xffb7, 0x0100_0061].map(codeOfSymbol)).toEqual([30, 30, 28, 59, 88, 42, 71, 30])
  expect([0xe4, 0xfff0, 0].map(codeOfSymbol)).toEqual([undefined, undefined, undefined])
})
