/** The example page, built by Vite, in Debian's Chromium: a Linux that begins at a moment, is typed at, and moves to another host of the page. */
import { readFileSync, readdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Browser, Page } from 'playwright-core'
import { build } from 'vite'
import { debianGuests, folderCache } from '../../src/node/index.ts'
import { linux, type LinuxOptions } from '../../src/testing/index.ts'
import { bundled, EMPTY_PAGE, FileServer, startChromium, whyNoChromium, type Served } from '../support/browser/chromium.ts'
import type { Offered } from '../support/browser/page.ts'
import { GUESTS_FOLDER, whyMissing } from '../support/guests.ts'
import { LINUX_FILES } from '../support/linux.ts'

const missing = whyNoChromium() ?? whyMissing(...LINUX_FILES)
const EXAMPLE = resolve(import.meta.dirname, '../../examples/browser')
const TYPES: Readonly<Record<string, string>> = { html: 'text/html', js: 'text/javascript', css: 'text/css' }
const PATIENCE = 60_000

/** Everything that Vite has built, by path. */
function builtFiles(folder: string): Record<string, Served> {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.includes('.'))
  return Object.fromEntries(files.map((name) =>
    [name === 'index.html' ? '/' : `/${name}`, { type: TYPES[name.split('.').at(-1)!] ?? 'application/octet-stream', body: readFileSync(join(folder, name)) }]))
}

/** Pixels of a picture that are not dark. */
async function litPixels(page: Page, id: string): Promise<number> {
  const picture = (await page.locator(`#${id}`).screenshot()).toString('base64')
  return page.evaluate(async (data) => {
    const bitmap = await createImageBitmap(await (await fetch(`data:image/png;base64,${data}`)).blob())
    const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d')!
    context.drawImage(bitmap, 0, 0)
    const { data: bytes } = context.getImageData(0, 0, bitmap.width, bitmap.height)
    let lit = 0
    for (let at = 0; at < bytes.length; at += 4) if (bytes[at]! > 128) lit += 1
    return lit
  }, picture)
}

/** Debian's Linux at its shell, as a file. */
async function momentOf(options: Pick<LinuxOptions, 'modules'>): Promise<Served> {
  const chunks: Uint8Array[] = []
  const moment = await linux({ guests: debianGuests(GUESTS_FOLDER), cache: folderCache(), memory: 128, ...options }).moment()
  await moment.save({ write: (chunk) => void chunks.push(chunk.slice()), close: () => undefined, abort: () => undefined })
  return { type: 'application/octet-stream', body: Buffer.concat(chunks) }
}

/** The page's side of what is evaluated in a tab. */
declare const offered: Offered

describe.skipIf(missing !== undefined)(`two tabs${missing ?? ''}`, () => {
  test('are joined by a wire over which a Linux in one pings a Linux in the other', { timeout: 3 * PATIENCE }, async () => {
    const [script, worker] = await Promise.all(['page', 'host-worker'].map((name) => bundled(`test/support/browser/${name}.ts`)))
    const html = { type: 'text/html', body: `${EMPTY_PAGE.body}<script type="module" src="/page.js"></script>` }
    const server = await FileServer.start({ '/': html, '/page.js': script!, '/worker.js': worker!, '/wired.moment': await momentOf({ modules: ['xen-netfront'] }) })
    const browser = await startChromium()
    try {
      const context = await browser.newContext()
      const tabs: Page[] = []
      for (const last of [1, 2]) {
        const tab = await context.newPage()
        await tab.goto(server.url)
        await tab.evaluate((name) => offered.keep(name), `linux /wired.moment 00:16:3e:00:00:0${last}`)
        // The interface comes when Linux's driver has met the back-end.
        await tab.evaluate((text) => offered.say(text), `until ip link set eth0 up; do sleep 0.1; done; ip addr add 10.0.0.${last}/24 dev eth0; echo up as $((${last} + 40))\n`)
        await tab.evaluate((text) => offered.waitFor(text), `up as ${last + 40}`)
        tabs.push(tab)
      }
      await tabs[1]!.evaluate((text) => offered.say(text), 'ping -c 3 10.0.0.1; echo over $((6 * 7))\n')
      const text = await tabs[1]!.evaluate(() => offered.waitFor('over 42'))
      expect(text).toContain('3 packets transmitted, 3 packets received, 0% packet loss')
      await tabs[0]!.evaluate((line) => offered.say(line), 'ip neigh; echo over $((6 * 7))\n')
      expect(await tabs[0]!.evaluate(() => offered.waitFor('over 42'))).toMatch(/10\.0\.0\.2 dev eth0 lladdr 00:16:3e:00:00:02/)
    } finally {
      await browser.close()
      await server.close()
    }
  })
})

describe.skipIf(missing !== undefined)(`the page${missing ?? ''}`, { timeout: 2 * PATIENCE }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-page-'))
  let browser: Browser
  let server: FileServer
  let page: Page
  const complaints: string[] = []
  beforeAll(async () => {
    await build({ root: EXAMPLE, configFile: join(EXAMPLE, 'vite.config.ts'), logLevel: 'error', build: { outDir: folder, emptyOutDir: true } })
    server = await FileServer.start({ ...builtFiles(folder), '/debian.moment': await momentOf({}) })
    browser = await startChromium()
    page = await browser.newPage()
    page.setDefaultTimeout(PATIENCE)
    page.on('console', (message) => { if (message.type() === 'error') complaints.push(message.text()) })
    page.on('pageerror', (error) => complaints.push(error.message))
    await page.goto(server.url)
    await page.waitForFunction(() => document.getElementById('status')?.textContent === 'on host a')
  }, 3 * PATIENCE)
  afterAll(async () => {
    await browser?.close()
    await server?.close()
    rmSync(folder, { recursive: true, force: true })
  })

  /** Types a command at the shell that is shown in a place, and waits for what it prints. */
  async function type(place: string, command: string, printed: string): Promise<void> {
    await page.locator(`#${place} textarea`).focus()
    await page.keyboard.type(`${command}\n`)
    await page.waitForFunction(([id, text]) => [...document.querySelectorAll(`#${id} .xterm-rows > div`)].some((row) => row.textContent?.trimEnd() === text), [place, printed] as const)
  }

  test('shows a shell that answers', async () => {
    expect(await litPixels(page, 'a')).toBeGreaterThan(200)
    await type('a', 'clear; echo cleared', 'cleared')
    const before = await litPixels(page, 'a')
    await type('a', 'echo $((6 * 7)) in $(uname -s)', '42 in Linux')
    expect(await litPixels(page, 'a')).toBeGreaterThan(before + 200)
    expect((await page.locator('#b .xterm-rows').textContent())?.trim()).toBe('')
  })

  test('keeps the domain where it is when the link is cut, and moves it when not', async () => {
    await type('a', 'export kept=yes', '/ # export kept=yes')
    await page.click('#migrate')
    await page.waitForFunction(() => document.getElementById('status')?.textContent?.startsWith('round') === true)
    await page.click('#cut')
    await page.waitForFunction(() => document.getElementById('status')?.textContent?.startsWith('it stays on host a') === true)
    await type('a', 'echo still $kept', 'still yes')
    await page.click('#migrate')
    await page.waitForFunction(() => document.getElementById('status')?.textContent === 'on host b')
    await type('b', 'echo here $kept', 'here yes')
  })

  test('begins anew at the next visit, where the moment is kept, and has complained of nothing', async () => {
    await page.reload()
    await page.waitForFunction(() => document.getElementById('status')?.textContent === 'on host a')
    await type('a', 'echo again ${kept:-no}', 'again no')
    expect(complaints).toEqual([])
  })
})
