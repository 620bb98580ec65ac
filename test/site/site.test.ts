/** The pages that `npm run docs` makes, in Debian's Chromium: whoever searches for what they want finds a guide or a class, not a number of the ABI. */
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Browser, Page } from 'playwright-core'
import { FileServer, startChromium, whyNoChromium, type Served } from '../support/browser/chromium.ts'

const SITE = resolve(import.meta.dirname, '../../docs/api')
const missing = whyNoChromium()
const TYPES: Readonly<Record<string, string>> = { html: 'text/html', js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml' }

function files(): Record<string, Served> {
  if (!existsSync(SITE)) throw new Error('there are no pages: npm run docs')
  return Object.fromEntries(readdirSync(SITE, { recursive: true, encoding: 'utf8' }).filter((name) => /\.\w+$/.test(name)).map((name) =>
    [`/${name}`, { type: TYPES[name.split('.').at(-1)!] ?? 'application/octet-stream', body: readFileSync(join(SITE, name)) }]))
}

describe.skipIf(missing !== undefined)(`the site's search${missing ?? ''}`, { timeout: 60_000 }, () => {
  let browser: Browser
  let server: FileServer
  let page: Page
  beforeAll(async () => {
    server = await FileServer.start(files())
    browser = await startChromium()
    page = await browser.newPage()
    await page.goto(`${server.url}/index.html`)
  }, 60_000)
  afterAll(async () => {
    await browser?.close()
    await server?.close()
  })

  // The first ten results are what a reader sees.
  test.each<[string, RegExp]>([
    ['network', /guides_networks/], ['fault', /documents\/.*faults/], ['browser', /guides_browser/], ['disk', /guides_disks/], ['migrate', /save-and-migrate|#migrate|Migrat/],
    ['moment', /guides_moments|classes\/.*Moment/], ['gdb', /debugging|Gdb/], ['xenstore', /guides_xenstore|classes\/.*XenStore/], ['linux', /guides_linux|functions\/.*linux/],
    ['explore', /documents\/.*exploring|functions\/.*explore/], ['unikernel', /guides_binary/], ['checkpoint', /#checkpoint|moments/],
  ])('finds for "%s" where it is told', async (word, wanted) => {
    await page.keyboard.press('Escape')
    await page.locator('#tsd-search-trigger').click()
    await page.locator('#tsd-search-input').fill(word)
    // The index is loaded when it is first searched.
    const found = async (): Promise<string[]> => (await page.locator('#tsd-search-results a').evaluateAll((links) => links.map((link) => link.getAttribute('href') ?? ''))).slice(0, 10)
    await expect.poll(async () => (await found()).filter((href) => wanted.test(href)), { timeout: 10_000 }).not.toEqual([])
  })

  test('every entry point has a page with text and an example', () => {
    const entries = readdirSync(join(SITE, 'modules')).filter((name) => name.endsWith('.html'))
    const bare = entries.filter((name) => !/<section class="tsd-panel tsd-comment".*?<code class="(?:ts|typescript)/s.test(readFileSync(join(SITE, 'modules', name), 'utf8')))
    expect(entries.length).toBeGreaterThan(12)
    expect(bare).toEqual([])
  })
})
