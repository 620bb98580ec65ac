/** Debian's Chromium, driven by playwright-core, and a server on the loopback address for what it loads. */
import { existsSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { join, resolve } from 'node:path'
import { build, type Plugin } from 'esbuild'
import { chromium, type Browser } from 'playwright-core'

const PATHS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
const path = PATHS.find((each) => existsSync(each))

/** Why there is no browser here; undefined where there is one. CI fails without. */
export function whyNoChromium(): string | undefined {
  if (path !== undefined) return undefined
  if (process.env['CI'] === 'true') throw new Error('there is no Chromium: apt-get install chromium')
  return ' SKIPPED: no Chromium (apt-get install chromium)'
}

/** Starts it. */
export const startChromium = (): Promise<Browser> =>
  chromium.launch({ executablePath: path!, args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] })

/** What is served at a path. */
export interface Served {
  readonly type: string
  readonly body: string | Uint8Array
}

/** A server of files that are in memory, with ETag and ranges as any has. */
export class FileServer {
  /** Requests by path. */
  readonly asked: string[] = []
  private readonly server: Server
  private readonly files: Map<string, Served>

  private constructor(files: Map<string, Served>) {
    this.files = files
    this.server = createServer((request, response) => this.answer(request, response))
  }

  static async start(files: Readonly<Record<string, Served>>): Promise<FileServer> {
    const made = new FileServer(new Map(Object.entries(files)))
    made.server.listen(0, '127.0.0.1')
    await once(made.server, 'listening')
    return made
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`
  }

  set(file: string, served: Served): void {
    this.files.set(file, served)
  }

  async close(): Promise<void> {
    this.server.closeAllConnections()
    await new Promise((resolve) => this.server.close(resolve))
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    const file = new URL(request.url ?? '/', 'http://host').pathname
    this.asked.push(file)
    const served = this.files.get(file)
    if (served === undefined) return void response.writeHead(404).end()
    const body = typeof served.body === 'string' ? Buffer.from(served.body) : served.body
    const tag = `"${body.length}-${body[body.length >>> 1] ?? 0}"`
    const headers = { 'content-type': served.type, 'etag': tag, 'accept-ranges': 'bytes' }
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []
    const condition = request.headers['if-range']
    if (first === undefined || last === undefined || (condition !== undefined && condition !== tag)) {
      return void response.writeHead(200, { ...headers, 'content-length': body.length }).end(body)
    }
    const part = body.subarray(Number(first), Math.min(Number(last) + 1, body.length))
    response.writeHead(206, { ...headers, 'content-length': part.length, 'content-range': `bytes ${first}-${Number(first) + part.length - 1}/${body.length}` }).end(part)
  }
}

/** A program for the browser, out of one of this folder's files. */
export async function bundled(entry: string): Promise<Served> {
  const { outputFiles } = await build({ entryPoints: [entry], bundle: true, write: false, format: 'esm', platform: 'browser', target: 'es2022', logLevel: 'silent' })
  return { type: 'text/javascript', body: outputFiles[0]!.text }
}

/** A program of a guide, as a user's bundler makes it of the package. */
export async function bundledText(contents: string): Promise<Served> {
  const root = resolve(import.meta.dirname, '../../..')
  const sources: Plugin = {
    name: 'sources',
    setup: (build) => build.onResolve({ filter: /^paravirt(\/|$)/ }, ({ path }) => ({ path: join(root, 'src', path.slice('paravirt'.length), 'index.ts') })),
  }
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: root, loader: 'ts' }, plugins: [sources], bundle: true, write: false, format: 'esm', platform: 'browser', target: 'es2022', logLevel: 'silent',
  })
  return { type: 'text/javascript', body: outputFiles[0]!.text }
}

/** A page with nothing on it. */
export const EMPTY_PAGE: Served = { type: 'text/html', body: '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">' }
