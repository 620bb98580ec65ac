/**
 * A screen of Debian's Linux as a PVH guest, seen and typed at by noVNC, which Debian has as a package and nobody here wrote, in Debian's Chromium: what is typed at its
 * canvas comes out of Linux's text console, and what Linux draws is on the canvas.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { once } from 'node:events'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { WebSocketServer } from 'ws'
import type { Page } from 'playwright-core'
import { serveScreens } from '../../src/node/index.ts'
import { EMPTY_PAGE, FileServer, startChromium, whyNoChromium, type Served } from '../support/browser/chromium.ts'
import { GUESTS_FOLDER, whyMissing } from '../support/guests.ts'
import { bootLinuxHost, createLinux, LINUX_FILES } from '../support/linux.ts'

const missing = whyNoChromium() ?? whyMissing(...LINUX_FILES, 'novnc')
const PASSWORD = 'sesame'

/** The viewer's files, and a page that connects to a WebSocket. */
function viewerFiles(address: string): Record<string, Served> {
  const root = join(GUESTS_FOLDER, 'novnc/usr/share/novnc')
  const scripts = ['core', 'vendor'].flatMap((folder) => readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.js')).map((name) => join(folder, name)))
  const page = `${EMPTY_PAGE.body}<div id="screen" style="width:800px;height:600px"></div><script type="module">
    import RFB from '/core/rfb.js'
    const viewer = new RFB(document.getElementById('screen'), '${address}', { credentials: { password: '${PASSWORD}' } })
    for (const type of ['connect', 'disconnect', 'securityfailure']) viewer.addEventListener(type, () => { document.title = type })
  </script>`
  return {
    '/': { type: 'text/html', body: page },
    ...Object.fromEntries(scripts.map((name) => [`/${name}`, { type: 'text/javascript', body: readFileSync(join(root, name)) }])),
  }
}

/** What websockify is for: each WebSocket is a connection to a port. */
async function bridgeTo(port: number): Promise<{ readonly address: string; close(): void }> {
  const http = createServer()
  const sockets = new WebSocketServer({ server: http })
  sockets.on('connection', (socket) => {
    const screen = connect(port, '127.0.0.1')
    screen.on('data', (bytes) => socket.send(bytes))
    screen.on('error', () => socket.close())
    screen.on('close', () => socket.close())
    socket.on('message', (bytes) => screen.write(bytes))
    socket.on('close', () => screen.destroy())
  })
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  return { address: `ws://127.0.0.1:${(http.address() as AddressInfo).port}`, close: () => { sockets.close(); http.close() } }
}

/** Colours of the canvas: how many pixels are lit in its first row of characters, and in the rest. */
const litPixels = (page: Page): Promise<readonly number[]> => page.evaluate(() => {
  const canvas = document.querySelector('canvas')!
  const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height)
  const lit = [0, 0]
  for (let at = 0; at < data.length; at += 4) if (data[at]! > 60) lit[at < canvas.width * 4 * 16 ? 0 : 1]! += 1
  return [canvas.width, canvas.height, ...lit]
})

/** Keys that are struck with Shift for characters that want it. */
const SHIFTED: Readonly<Record<string, string>> = { 'H': 'KeyH', 'W': 'KeyW', '_': 'Minus', '!': 'Digit1', '~': 'Backquote', '"': 'Quote' }

/** Strikes keys as somebody at a keyboard does. */
async function type({ keyboard }: Page, text: string): Promise<void> {
  for (const character of text) await keyboard.press(SHIFTED[character] === undefined ? character : `Shift+${SHIFTED[character]}`)
}

describe.skipIf(missing !== undefined)(`Debian's noVNC at Debian's Linux as a PVH guest${missing ?? ''}`, { timeout: 600_000 }, () => {
  test('shows what Linux draws, and types at its text console by the keys of its own keyboard', async () => {
    const host = await bootLinuxHost({ idle: 'wait' })
    const screens = serveScreens(host, { firstPort: 0 })
    const linux = await createLinux(host, { domain: { type: 'pvh', memory: 160, framebuffers: [{ password: PASSWORD }] } })
    await linux.ready()
    expect(await linux.run('until [ -c /dev/fb0 ]; do sleep 0.1; done; cat /sys/class/graphics/fb0/name /sys/class/graphics/fb0/virtual_size')).toMatch(/xen.*\n800,600/)
    const bridge = await bridgeTo((await screens.listening(linux.domain.id)).port)
    const server = await FileServer.start(viewerFiles(bridge.address))
    const browser = await startChromium()
    try {
      const page = await browser.newPage()
      page.setDefaultTimeout(200_000)
      await page.goto(server.url)
      await page.waitForFunction(() => document.title === 'connect')
      await linux.run('echo 0 > /sys/class/graphics/fbcon/cursor_blink; printf "\\033c\\033[?25l" > /dev/tty1; sleep 0.3; echo Debian > /dev/tty1; sleep 0.3')
      await expect.poll(() => litPixels(page), { timeout: 200_000 }).toEqual([800, 600, expect.toSatisfy((lit: number) => lit > 50 && lit < 400), 0])
      await linux.run('(head -n 2 < /dev/tty1 > /typed; touch /done) & true')
      await page.locator('canvas').click({ position: { x: 100, y: 100 } })
      await type(page, 'Hello, World_42!')
      await page.keyboard.press('Enter')
      await type(page, 'wrongg')
      for (let at = 0; at < 2; at += 1) await page.keyboard.press('Backspace')
      await type(page, '[/\\~"]')
      await page.keyboard.press('Enter')
      // The guest's time flies while it waits for what is on its way through a browser.
      expect(await linux.run('until [ -f /done ]; do sleep 1; done; cat /typed', { timeout: Infinity })).toBe('Hello, World_42!\nwron[/\\~"]')
      expect(linux.domain.devices()).toMatchObject([{ kind: 'vfb', frontendState: 4 }, { kind: 'vkbd', frontendState: 4 }])
      expect(host.hypervisor.checkInvariants()).toEqual([])
    } finally {
      await browser.close()
      await server.close()
      bridge.close()
      await screens.close()
      await host.shutdown()
    }
  })
})
