/** Screens of a host's domains: what a guest draws as pictures and PNG, keys and the pointer, from descriptions, attached and detached, saved, in moments. */
import { describe, expect, test } from 'vitest'
import { FRAMEBUFFER_TYPE, FramebufferFrontend, KEYBOARD_TYPE, KeyboardBackend, KeyboardFrontend, type GuestScreen } from '../../src/drivers/index.ts'
import { BackendBus, FrontendBus, type GuestProgram } from '../../src/guest/index.ts'
import { formatDescription, narrow, parseDescription, transportPair, type Domain, type Host, type XenError } from '../../src/index.ts'
import { FRAMEBUFFER } from '../../src/toolstack/device-kinds/framebuffer/framebuffer.ts'
import { KEYBOARD } from '../../src/toolstack/device-kinds/keyboard/keyboard.ts'
import { configFromJson, configToJson } from '../../src/toolstack/index.ts'
import { feedInputs, recordInputs } from '../../src/toolstack/host/feed-input.ts'
import type { InputRecord } from '../../src/toolstack/run/inputs.ts'
import { migrateBetween } from '../../src/testing/index.ts'
import { hostsOfTests } from '../support/mini.ts'

const boot = hostsOfTests({ memory: 64, dom0Memory: 8 })
const [WIDTH, HEIGHT] = [64, 40]

/** Draws a blue picture with a red corner, and says what is done at its keyboard. */
const painter: GuestProgram = async (kernel) => {
  const screens = new FramebufferFrontend({ width: WIDTH, height: HEIGHT })
  const bus = new FrontendBus(kernel)
  await bus.register(screens)
  await bus.register(new KeyboardFrontend((input) => kernel.console!.log(`heard ${JSON.stringify(input)}`)))
  const screen: GuestScreen = await screens.screen(0)
  screen.fill({ x: 0, y: 0, width: WIDTH, height: HEIGHT }, [0, 0, 255])
  screen.fill({ x: 0, y: 0, width: 8, height: 8 }, [255, 0, 0])
  kernel.console!.log('painted')
}
const create = async (host: Host, more: object = {}): Promise<Domain> => {
  const domain = await host.createDomain({ name: 'desk', memory: 4, kernel: painter, framebuffers: [{ vnc: false }], ...more })
  await domain.console.waitFor('painted')
  await host.settled()
  return domain
}
const pixel = (domain: Domain, x: number, y: number): readonly number[] => [...domain.screen().picture({ x, y, width: 1, height: 1 }).pixels]

describe('a screen of a domain', () => {
  test('is of the kinds that their drivers serve', () => {
    expect([FRAMEBUFFER.name, KEYBOARD.name]).toEqual([FRAMEBUFFER_TYPE, KEYBOARD_TYPE])
  })

  test('shows what its guest draws, is listed and counted', async () => {
    const host = await boot()
    const domain = await create(host)
    const screen = domain.screen()
    expect([screen.connected, screen.size, pixel(domain, 0, 0), pixel(domain, 8, 8)]).toEqual([true, { width: WIDTH, height: HEIGHT }, [255, 0, 0, 255], [0, 0, 255, 255]])
    expect(screen.picture().pixels.length).toBe(WIDTH * HEIGHT * 4)
    expect(domain.devices()).toMatchObject([
      { kind: 'vfb', device: 0, backendState: 4, frontendState: 4, facts: { vnc: false }, statistics: { updates: 2, pixels: WIDTH * HEIGHT + 64 } },
      { kind: 'vkbd', device: 0, backendState: 4, frontendState: 4, facts: { absolute: true, width: 800, height: 600 }, statistics: { keys: 0, moves: 0 } },
    ])
    expect(() => screen.picture({ x: WIDTH, y: 0, width: 1, height: 1 })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }) as Error)
    expect(() => screen.picture({ x: 0, y: 0, width: 0, height: 1 })).toThrow(/width must be a whole number/)
    expect(() => domain.screen(1)).toThrow(expect.objectContaining({ code: 'DEVICE_NOT_FOUND' }) as Error)
    expect(() => domain.screen('x' as never)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }) as Error)
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test('is a PNG file, whose pixels are the picture\'s', async () => {
    const domain = await create(await boot())
    const bytes = await domain.screen().png({ x: 4, y: 4, width: 8, height: 6 })
    expect(Buffer.from(bytes.subarray(0, 8)).toString('latin1')).toBe('\x89PNG\r\n\x1a\n')
    const view = new DataView(bytes.buffer, bytes.byteOffset)
    expect([view.getUint32(16), view.getUint32(20), bytes[24], bytes[25]]).toEqual([8, 6, 8, 2])
    const { inflateSync, crc32 } = await import('node:zlib') as typeof import('node:zlib') & { readonly crc32?: (bytes: Uint8Array) => number }
    const chunks: Uint8Array[] = []
    for (let at = 8; at < bytes.length; at += view.getUint32(at) + 12) {
      const end = at + 8 + view.getUint32(at)
      // Node 20 has no such function.
      if (crc32 !== undefined) expect(view.getUint32(end)).toBe(crc32(bytes.subarray(at + 4, end)))
      if (Buffer.from(bytes.subarray(at + 4, at + 8)).toString() === 'IDAT') chunks.push(bytes.subarray(at + 8, end))
    }
    const rows = inflateSync(Buffer.concat(chunks))
    expect(rows.length).toBe(6 * 25)
    expect([...rows.subarray(0, 7)]).toEqual([0, 255, 0, 0, 255, 0, 0])
    expect([...rows.subarray(5 * 25, 5 * 25 + 4)]).toEqual([0, 0, 0, 255])
  })

  test('is typed and pointed at', async () => {
    const domain = await create(await boot())
    const screen = domain.screen()
    const heard = (): string[] => domain.console.text().split('\n').filter((line) => line.startsWith('heard')).map((line) => line.slice(6))
    screen.type('aB')
    screen.press('Control', 'Alt', 'Delete')
    screen.point(3, 4, { wheel: 1 })
    screen.click(5, 6, { button: 'right' })
    await domain.console.waitFor('"code":273,"pressed":false')
    const keys = heard().map((line) => JSON.parse(line) as Record<string, unknown>)
    expect(keys.map((input) => (input['type'] === 'key' ? `${input['pressed'] === true ? '+' : '-'}${String(input['code'])}` : `${String(input['x'])},${String(input['y'])},${String(input['wheel'])}`)))
      .toEqual(['+30', '-30', '+42', '+48', '-48', '-42', '+29', '+56', '+111', '-111', '-56', '-29', '3,4,1', '5,6,0', '+273', '-273'])
    expect(domain.devices()[1]!.statistics).toMatchObject({ keys: 14, moves: 2, waitingEvents: 0 })
    for (const [act, message] of [
      [() => screen.type('ä'), 'no key writes "ä"'], [() => screen.press('Entr'), 'did you mean Enter?'], [() => screen.press(9999), 'must be a character'], [() => screen.input([{ type: 'mouse' } as never]), 'must be a key or a pointer'],
      [() => screen.input('x' as never), 'must be a list'], [() => screen.point(-1, 0), 'must be a whole number'], [() => screen.click(0, 0, { button: 'top' as never }), 'must be one of'],
    ] as const) expect(act).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(message) as string }) as Error)
    expect(domain.devices()[1]!.statistics).toMatchObject({ keys: 14, moves: 2 })
  })

  test('stands in XenStore as libxl writes it, but for its password, which the guest could read there', async () => {
    const host = await boot()
    await host.createDomain('name = "desk"\nmemory = 4\nvfb = [ "vnc=1,vnclisten=127.0.0.1:3,vncpasswd=secret,keymap=de" ]')
    const back = '/local/domain/0/backend'
    const read = (path: string, names: string): unknown => names.split(' ').map((name) => host.store.tryRead(`${path}/${name}`))
    expect(read(`${back}/vfb/1/0`, 'frontend-id online state vnc vnclisten vncdisplay vncunused sdl opengl keymap vncpasswd')).toEqual(['1', '1', '2', '1', '127.0.0.1', '3', '1', '0', '0', 'de', undefined])
    expect(read(`${back}/vkbd/1/0`, 'frontend-id state feature-abs-pointer feature-disable-keyboard width height')).toEqual(['1', '2', '1', '0', '800', '600'])
    expect(host.domain('desk').config.framebuffers[0]!.password).toBe('secret')
  })

  test('comes and goes while its domain runs, and leaves nothing', async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'desk', memory: 4, kernel: painter })
    await host.settled()
    expect(() => domain.screen()).toThrow(expect.objectContaining({ code: 'DEVICE_NOT_FOUND' }) as Error)
    expect([await domain.attachDevice('vfb', 'vnc=0'), await domain.attachDevice('vkbd', {})]).toEqual([0, 0])
    await domain.console.waitFor('painted')
    const screen = domain.screen()
    const told: string[] = []
    screen.events.onAny(({ type }) => told.push(type))
    await domain.detachDevice('vfb', 0)
    await domain.detachDevice('vkbd', 0)
    await host.settled()
    expect([told, domain.devices(), host.hypervisor.checkInvariants()]).toEqual([['disconnected', 'closed'], [], []])
    expect(() => screen.picture()).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }) as Error)
    await domain.attachDevice('vfb', 'vnc=0')
    await host.until('the screen to be there again', () => domain.screen().connected)
    await domain.destroy()
    await host.settled()
    expect(host.store.list('/libxl')).toEqual([])
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test('has its keyboard served by a driver domain where that is said; its pictures only by dom0, which may see the guest\'s memory', async () => {
    const host = await boot()
    let keyboards: KeyboardBackend | undefined
    await host.createDomain({ name: 'driver', memory: 4, kernel: async (kernel) => {
      await new BackendBus(kernel).register(keyboards = new KeyboardBackend())
      kernel.console!.log('serving')
    } }).then((driver) => driver.console.waitFor('serving'))
    const domain = await create(host, { keyboards: [{ backend: 'driver' }] })
    await host.until('the keyboard to be served', () => keyboards!.keyboard(domain.id, 0)?.connected === true)
    keyboards!.keyboard(domain.id, 0)!.send([{ type: 'key', code: 28, pressed: true }])
    await domain.console.waitFor('"code":28')
    expect(() => domain.screen().type('a')).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }) as Error)
    await expect(host.createDomain({ name: 'other', memory: 4, framebuffers: [{ backend: 'driver' } as never] })).rejects.toMatchObject({ code: 'INVALID_CONFIG', message: expect.stringContaining('must be dom0') as string })
  })

  test('is only looked at by a handle that may only look', async () => {
    const domain = await create(await boot())
    const looked = narrow(domain, { readOnly: true })
    expect(looked.screen().picture().width).toBe(WIDTH)
    expect(() => looked.screen().type('a')).toThrow(expect.objectContaining({ code: 'PERMISSION_DENIED' }) as Error)
  })
})

describe('screens that come along', () => {
  test('with a saved domain, whose guest connects anew where it is restored', async () => {
    const [host, target] = [await boot(), await boot({ seed: 2 })]
    const domain = await create(host)
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>(undefined, { highWaterMark: 1 << 20 })
    void domain.save(writable)
    const restored = await target.restore(readable, { kernel: painter })
    await restored.console.waitFor('painted')
    await target.settled()
    expect([pixel(restored, 0, 0), pixel(restored, 20, 20)]).toEqual([[255, 0, 0, 255], [0, 0, 255, 255]])
    restored.screen().press('Enter')
    await restored.console.waitFor('"code":28,"pressed":false')
    expect([host.hypervisor.checkInvariants(), target.hypervisor.checkInvariants()]).toEqual([[], []])
  })

  test('with a domain that moves while it runs, and stays with one whose move is cut', async () => {
    const [host, target] = [await boot(), await boot({ seed: 2 })]
    const domain = await create(host)
    expect(await migrateBetween(host, target, domain, { cutAt: 100_000 })).toMatchObject({ where: 'stayed' })
    domain.screen().press('Tab')
    await domain.console.waitFor('"code":15,"pressed":false')
    expect([pixel(domain, 0, 0), target.domains()]).toEqual([[255, 0, 0, 255], []])
    const { ends: [near, far] } = transportPair()
    const [moved] = await Promise.all([target.receiveMigration(far, { kernel: painter }), domain.migrate(near)])
    await moved.console.waitFor('painted')
    await target.settled()
    expect([host.domains(), pixel(moved, 0, 0), pixel(moved, 20, 20)]).toEqual([[], [255, 0, 0, 255], [0, 0, 255, 255]])
    moved.screen().press('Enter')
    await moved.console.waitFor('"code":28,"pressed":false')
    expect([host.hypervisor.checkInvariants(), target.hypervisor.checkInvariants()]).toEqual([[], []])
  })

  test('with one that listens beyond its machine, only where the receiver says so', async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'desk', memory: 8, framebuffers: [{ listen: '0.0.0.0' }] })
    await domain.console.waitFor('mini> ')
    const pieces: Uint8Array[] = []
    await domain.save({ write: (bytes) => void pieces.push(bytes.slice()) })
    const saved = new Uint8Array(Buffer.concat(pieces))
    await expect(host.restore(saved)).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
    expect((await host.restore(saved, { trust: { addresses: ['0.0.0.0'] } })).config.framebuffers).toMatchObject([{ listen: '0.0.0.0', vnc: true }])
  })

  test('with a host that is brought back, branched, and fed the same', async () => {
    const host = await boot()
    const records: InputRecord[] = []
    const stop = recordInputs(host, (record) => records.push(record))
    const domain = await host.createDomain({ name: 'desk', memory: 8, framebuffers: [{ vnc: false }] })
    await domain.console.waitFor('mini> ')
    // Mini has no driver for it: what is typed waits.
    domain.screen().type('waits')
    stop()
    const twin = await boot()
    await feedInputs(twin, records, { answered: (_record, answer) => void Promise.resolve(answer).catch(() => undefined) })
    const ofDevices = async (of: Host): Promise<unknown> => Object.entries(await of.stateHash()).filter(([name]) => name.startsWith('devices.'))
    const was = await ofDevices(host)
    expect(JSON.stringify(was)).toContain('backend/vkbd/1/0')
    expect(await ofDevices(twin)).toEqual(was)
    expect(records.at(-1)!.input).toMatchObject({ source: 'screen', domid: 1, screen: 0 })
    const moment = await host.checkpoint()
    domain.screen().type('more')
    await domain.detachDevice('vfb', 0, { force: true })
    await host.reset(moment)
    expect(await ofDevices(host)).toEqual(was)
    expect(host.domain('desk').devices()[1]!.statistics).toMatchObject({ waitingEvents: 10 })
    const branch = await moment.branch()
    expect(await ofDevices(branch)).toEqual(was)
    await branch.shutdown()
  })
})

describe('descriptions of screens', () => {
  const read = (lines: string): ReturnType<typeof parseDescription> => parseDescription(`name = "x"\nmemory = 4\n${lines}`, { strict: true })

  test('go through files and saved configurations, each framebuffer with its keyboard, as xl has it', () => {
    const { config } = read('vfb = [ "vnc=1,vnclisten=10.0.0.1,vncdisplay=7,vncunused=0", "vnc=0" ]\nvkb = [ "feature-disable-keyboard=1,width=1024,height=768,unique-id=tablet" ]')
    expect(config.framebuffers).toEqual([{ vnc: true, listen: '10.0.0.1', display: 7, findUnused: false, backend: '0' }, { vnc: false, listen: '127.0.0.1', display: 0, findUnused: false, backend: '0' }])
    expect(config.keyboards.map(({ keyboard, width }) => [keyboard, width])).toEqual([[true, 800], [true, 800], [false, 1024]])
    expect(parseDescription(formatDescription(config), { strict: true }).config).toEqual(config)
    const names = { kernel: undefined, ramdisk: undefined }
    const back = configFromJson(configToJson(config, names))
    expect([back.framebuffers, back.keyboards]).toEqual([config.framebuffers, config.keyboards])
  })

  test.each([
    ['vfb = [ "vnc" ]', /no KEY=VALUE/], ['vfb = [ "vnx=1" ]', /unknown parameter `vnx`; did you mean `vnc=`/], ['vfb = [ "vncdisplay=x" ]', /vncdisplay=x is no number/],
    ['vfb = [ "vncdisplay=70000" ]', /display 70000 is not from 0/], ['vfb = [ "sdl=1" ]', /nobody opens here/], [`vfb = [ "keymap=${'x'.repeat(300)}" ]`, /more than 256 characters/],
    ['vkb = [ "feature-raw-pointer=1" ]', /nothing that is served here/], ['vkb = [ "width=0" ]', /0 x 600 is not/], ['vkb = [ "width=x" ]', /NaN x 600/], ['vkb = [ "backend-type=xen" ]', /it is qemu or linux/],
    ['vkb = [ "feature-abs-pointer=yes" ]', /is 0 or 1/], ['vkb = [ "heigth=5" ]', /did you mean `height=`/],
  ])('that say none (%s) are refused by what is wrong', (line, message) => {
    expect(() => read(line)).toThrow(message)
  })

  test('are refused without their passwords being told', () => {
    try {
      read('vfb = [ "vncpasswd=secret,vnx=1" ]')
    } catch (error) {
      expect(JSON.stringify([(error as XenError).message, (error as XenError).details])).not.toContain('secret')
    }
    expect.assertions(1)
  })
})
