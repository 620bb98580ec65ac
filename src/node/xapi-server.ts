/**
 * A pool's XenAPI over HTTP at the loopback address: JSON-RPC at `/jsonrpc`, XML-RPC elsewhere, as XAPI serves it. XML is read by the
 * optional package `fast-xml-parser`; without it JSON-RPC alone is there.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { XenError, thrownMessage } from '../util/index.ts'
import { jsonRpc, xmlRpc, type XapiPool, type XmlElement, type XmlParser } from '../xapi/index.ts'

/** A XenAPI that is served. */
export interface XapiListener {
  readonly port: number
  /** `http://127.0.0.1:PORT`. */
  readonly url: string
  /** Ends it with all its connections. */
  close(): Promise<void>
}

/** Longest request, in bytes. */
const LONGEST = 8 << 20
const PACKAGE = 'fast-xml-parser'

/** An element as the package gives it in the order of the document: one key for its name beside its attributes. */
type Ordered = Readonly<Record<string, readonly Ordered[] | string>>
interface XmlPackage {
  readonly XMLParser: new (options: object) => { parse(text: string, validate?: boolean): readonly Ordered[] }
}

const elementOf = (ordered: Ordered): XmlElement => {
  const name = Object.keys(ordered).find((key) => key !== ':@') ?? ''
  const inner = ordered[name]
  const items = Array.isArray(inner) ? inner as readonly Ordered[] : []
  return {
    name, text: items.filter((item) => '#text' in item).map((item) => String(item['#text'])).join(''),
    children: items.filter((item) => !('#text' in item)).map(elementOf),
  }
}

async function loadParser(): Promise<XmlParser | undefined> {
  let loaded: XmlPackage
  try {
    loaded = await import(/* @vite-ignore */ PACKAGE) as XmlPackage
  } catch {
    return undefined
  }
  const parser = new loaded.XMLParser({ preserveOrder: true, parseTagValue: false, trimValues: false, ignoreDeclaration: true, ignorePiTags: true })
  return (text) => {
    const root = parser.parse(text, true).filter((item) => !('#text' in item))[0]
    if (root === undefined) throw new XenError('INVALID_ARGUMENT', 'the document has no element', { details: {} })
    return elementOf(root)
  }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = []
  let length = 0
  for await (const piece of request) {
    length += (piece as Buffer).length
    if (length > LONGEST) throw new XenError('OUT_OF_RESOURCES', 'the request is too long', { details: { limit: LONGEST } })
    pieces.push(piece as Buffer)
  }
  return Buffer.concat(pieces).toString()
}

async function answer(server: Server, pool: XapiPool, parse: XmlParser | undefined): Promise<void> {
  server.on('request', (request, response) => {
    void (async () => {
      const body = await bodyOf(request)
      const isJson = request.url?.startsWith('/jsonrpc') === true
      if (!isJson && parse === undefined) return void response.writeHead(501).end(`XML-RPC needs the package ${PACKAGE}: npm install ${PACKAGE}\n`)
      const text = isJson ? await jsonRpc(pool, body) : await xmlRpc(pool, body, parse!)
      response.writeHead(200, { 'content-type': isJson ? 'application/json' : 'text/xml' }).end(text)
    })().catch(() => response.destroy())
  })
}

/**
 * Serves a pool. Rejects with IO where it cannot listen.
 *
 * @example
 * const pool = await XapiPool.boot()
 * const { url } = await listenXapi(pool)
 */
export async function listenXapi(pool: XapiPool, { port = 0 }: { readonly port?: number } = {}): Promise<XapiListener> {
  const server = createServer()
  await answer(server, pool, await loadParser())
  server.listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
  } catch (cause) {
    throw new XenError('IO', `cannot serve the XenAPI: ${thrownMessage(cause)}`, { details: { port }, cause })
  }
  const own = (server.address() as AddressInfo).port
  return {
    port: own, url: `http://127.0.0.1:${own}`,
    close: async () => {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}
