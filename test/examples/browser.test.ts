/** The library in Debian's Chromium: the same host as in Node to the last bit, disks that are there at the next visit, moments at URLs. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Browser, Page } from 'playwright-core'
import { Host, type Moment } from '../../src/index.ts'
import { bundled, bundledText, EMPTY_PAGE, FileServer, startChromium, whyNoChromium } from '../support/browser/chromium.ts'
import { echo } from '../support/browser/echo.ts'
import { startWispRelay } from '../support/wisp-relay.ts'
import type { Offered } from '../support/browser/page.ts'

const missing = whyNoChromium()

/** A tab, and what its worker is. */
interface Tab {
  readonly tab: Page
  readonly name: string
}

/** The page's side of what is evaluated there. */
declare const offered: Offered

describe.skipIf(missing !== undefined)(`in Chromium${missing ?? ''}`, { timeout: 120_000 }, () => {
  let browser: Browser
  let server: FileServer
  let page: Page
  beforeAll(async () => {
    const [script, worker] = await Promise.all(['page', 'host-worker'].map((name) => bundled(`test/support/browser/${name}.ts`)))
    const html = { type: 'text/html', body: `${EMPTY_PAGE.body}<script type="module" src="/page.js"></script>` }
    server = await FileServer.start({ '/': html, '/page.js': script!, '/worker.js': worker! })
    browser = await startChromium()
    // Its tabs share what they keep and hear each other.
    page = await (await browser.newContext()).newPage()
    await page.goto(server.url)
  }, 60_000)
  afterAll(async () => {
    await browser?.close()
    await server?.close()
  })

  test('a host in a worker does what it does in Node, to the last bit', async () => {
    const host = await Host.boot({ memory: 64, dom0Memory: 16 })
    const here = await echo(host, await host.createDomain({ name: 'hello', memory: 16 }))
    expect(await page.evaluate(() => offered.run('talk'))).toEqual(here)
  })

  test('the page calls it as if it were its own', async () => {
    expect(await page.evaluate(() => offered.talk('plain'))).toBe('hello browser')
  })

  /** The programs below a heading of the guide, and what it says that they print. */
  function section(heading: string): { readonly programs: readonly string[]; readonly printed: readonly string[] } {
    const [, text] = new RegExp(`^## ${heading}\n(.*?)(?=^## |$(?![^]))`, 'ms').exec(readFileSync('docs/guides/browser.md', 'utf8'))!
    const blocks = (kind: string): string[] => [...text!.matchAll(new RegExp(`\`\`\`${kind}\n(.*?)\`\`\``, 'gs'))].map(([, block]) => block!)
    return { programs: blocks('ts'), printed: blocks('text').flatMap((block) => block.trim().split('\n')) }
  }

  test.each([
    ['page and worker', () => ({ worker: section('The worker').programs[0]!, page: section('The page').programs[0]!, printed: section('The page').printed })],
    ['two hosts', () => ({ worker: section('Two hosts').programs[0]!, page: section('Two hosts').programs[1]!, printed: section('Two hosts').printed })],
  ])('the guide\'s %s do what it says', async (_, parts) => {
    const { worker, page: code, printed } = parts()
    server.set('/guide/worker.js', await bundledText(worker))
    server.set('/guide/page.js', await bundledText(code))
    // A worker's address is the page's.
    server.set('/guide/', { type: 'text/html', body: `${EMPTY_PAGE.body}<script type="module" src="page.js"></script>` })
    const other = await browser.newPage()
    const lines: string[] = []
    other.on('console', (message) => lines.push(message.text()))
    await other.goto(`${server.url}/guide/`)
    expect(printed.length).toBeGreaterThan(0)
    await expect.poll(() => lines, { timeout: 60_000 }).toEqual(printed)
    await other.close()
  })

  test('the guide\'s worker with disks has them as it says: a private file, and an image at an address', async () => {
    server.set('/images/debian.img', { type: 'application/octet-stream', body: new Uint8Array(1 << 20) })
    server.set('/disks.js', await bundledText(section('Disks').programs[0]!))
    const disks = ['home,raw,xvda,rw', 'system,raw,xvdb,rw']
    expect(await page.evaluate((list) => offered.openDisks('/disks.js', list), disks)).toBe(2)
    expect(server.asked).toContain('/images/debian.img')
    expect((await page.evaluate(() => offered.run('sizeOf home'))) as number).toBe(1 << 26)
  })

  test('a worker without a host, and one without a script, are told by a code', async () => {
    expect(await page.evaluate(() => offered.refusal('fails'))).toMatch(/^INVALID_CONFIG: the worker has no host: host option memory/)
    expect(await page.evaluate(() => offered.refusal('plain', '/nowhere.js'))).toMatch(/^IO: the worker's script cannot be run/)
  })

  test('disks in private files, in IndexedDB and in blobs are block stores', async () => {
    const results = await page.evaluate(() => offered.run('contract')) as Record<string, string>
    expect(Object.keys(results).length).toBe(18)
    expect(Object.entries(results).filter(([, result]) => result !== 'holds')).toEqual([])
  })

  test('what was written is there when they are opened again, once at a time', async () => {
    expect(await page.evaluate(() => offered.run('kept'))).toEqual({ found: [7, 7, 0, 1 << 20, 7, 7, 0, 1 << 20], codes: ['BUSY', 'IO'] })
  })

  test('of moments that are kept those go that were used least recently, but for one that is in use', async () => {
    const [sum, ...steps] = await page.evaluate(() => offered.run('room')) as [number, ...string[]]
    expect(sum).toBe(1000 * (1000 & 255))
    expect(steps).toEqual(['room a,room b,room c', 'room a,room c,room d', 'room c,room e', 'room f', ''])
  })

  test('a guest works in a private folder, whose files the browser then has', async () => {
    const large = new Uint8Array(100_000).map((_, at) => at).reduce((sum, byte) => sum + byte, 0)
    expect(await page.evaluate(() => offered.run('folder'))).toEqual({ said: 'read "written by a guest", ENOENT, large,note', note: 'written by a guest', large })
  })

  test('frames of a guest in one tab reach a guest in another, and come back', async () => {
    const tabs = await Promise.all(['tab lab listens', 'tab lab calls', 'tab else listens'].map(async (name) => {
      const tab = await page.context().newPage()
      await tab.goto(server.url)
      return { tab, name }
    }))
    const [listens, calls, elsewhere] = tabs as [Tab, Tab, Tab]
    for (const { tab, name } of [listens, elsewhere, calls]) {
      await tab.evaluate((kind) => offered.keep(kind), name)
      if (name.endsWith('listens')) await tab.evaluate(() => offered.waitFor('listening'))
    }
    const answers = [1, 2, 3].map((count) => `answered hello ${count} too by 00:16:3e:00:00:0a\n`)
    expect(await calls.tab.evaluate(() => offered.waitFor('done'))).toBe(`${answers.join('')}done\n`)
    const heard = [1, 2, 3].map((count) => `heard hello ${count} from 00:16:3e:00:00:0c\n`)
    expect(await listens.tab.evaluate(() => offered.waitFor('heard hello 3 from 00:16:3e:00:00:0c\n'))).toBe(`listening\n${heard.join('')}`)
    // A wire of another name is another wire.
    expect(await elsewhere.tab.evaluate(() => offered.waitFor('listening'))).toBe('listening\n')
    for (const { tab } of tabs) await tab.close()
  })

  test('a relay takes connections to where a page cannot', async () => {
    const web = createServer((request, response) => void response.end(`to ${request.headers.host}`)).listen(0, '127.0.0.1')
    await once(web, 'listening')
    const relay = await startWispRelay()
    const { port } = web.address() as AddressInfo
    const answer = await page.evaluate(([url, at]) => offered.fetchBy(url, 'web.example', at), [relay.url, port] as const)
    expect(answer).toMatch(/^HTTP\/1.1 200 OK\r\n[^]*to web\.example/)
    await relay.close()
    web.close()
  })

  test('of a disk at a URL what is asked for is fetched, and a little ahead', async () => {
    const body = new Uint8Array(1 << 20).map((_, at) => at % 251)
    server.set('/disk.img', { type: 'application/octet-stream', body })
    const found = await page.evaluate(() => offered.run('http /disk.img')) as { size: number; sum: number; requests: number; bytes: number }
    expect(found).toMatchObject({ size: 1 << 20, sum: body.subarray(5000, 15_000).reduce((sum, byte) => sum + byte, 0) })
    expect(found.bytes).toBeLessThan(64 << 10)
    expect(found.requests).toBe(4)
  })

  test('a moment that Node has saved goes on there, is kept for the next visit, and is fetched anew when it is another', async () => {
    const host = await Host.boot({ memory: 64, dom0Memory: 16 })
    await (await host.createDomain({ name: 'one', memory: 16 })).console.waitFor('mini> ')
    const moment = await host.checkpoint()
    const chunks: Uint8Array[] = []
    await moment.save({ write: (chunk) => void chunks.push(chunk.slice()), close: () => undefined, abort: () => undefined })
    server.set('/one.moment', { type: 'application/octet-stream', body: Buffer.concat(chunks) })
    const visit = () => page.evaluate(() => offered.run('fetched /one.moment'))
    expect(await visit()).toEqual({ wasKept: false, hashes: moment.hashes() })
    expect(await visit()).toEqual({ wasKept: true, hashes: moment.hashes() })
    server.set('/one.moment', { type: 'application/octet-stream', body: Buffer.concat([...chunks]).subarray(0, 1000) })
    await expect(visit()).rejects.toThrow(/INVALID_STREAM|cut|end/)
    server.set('/one.moment', { type: 'application/octet-stream', body: Buffer.concat(chunks) })

    // Another version takes the place of the one before; of other addresses nothing goes.
    server.set('/other.moment', { type: 'application/octet-stream', body: Buffer.concat(chunks) })
    await page.evaluate(() => offered.run('fetched /other.moment'))
    await host.domain('one').console.write('echo later\n')
    await host.domain('one').console.waitFor('later')
    const [later, parts]: [Moment<Host>, Uint8Array[]] = [await host.checkpoint(), []]
    await later.save({ write: (chunk) => void parts.push(chunk.slice()), close: () => undefined, abort: () => undefined })
    server.set('/one.moment', { type: 'application/octet-stream', body: Buffer.concat(parts) })
    const versions = async () => (await page.evaluate(() => offered.run('versions .moment')) as string[]).map((key) => key.replace(/^.*\/(\S+) .*/, '$1'))
    const before = await page.evaluate(() => offered.run('versions one.moment'))
    expect(await visit()).toEqual({ wasKept: false, hashes: later.hashes() })
    expect(await versions()).toEqual(['one.moment', 'other.moment'])
    expect(await page.evaluate(() => offered.run('versions one.moment'))).not.toEqual(before)
    expect(await visit()).toEqual({ wasKept: true, hashes: later.hashes() })
    server.set('/one.moment', { type: 'application/octet-stream', body: Buffer.concat(chunks) })

    const branch = await moment.branch()
    const here = await echo(branch, branch.domain('one'))
    expect(await page.evaluate(() => offered.run('goOn /one.moment'))).toEqual(here)
    await host.shutdown()
  })
})
