/** A mirror's folder and the file of answers, over HTTP at this machine's loopback, where guests of a user-mode network find them. */
import { createReadStream, readFileSync, statSync } from 'node:fs'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join, normalize } from 'node:path'
import { SUITE } from './mirror.ts'

/** Where guests find this machine, by the DNS of their network. */
const HOST_NAME = 'host.internal'
/** Files that tools ask for and do without: signatures, other releases, and forms of an index that this mirror does not have. */
const DISPENSABLE = /\/dists\/(old)?stable\/|\/dists\/(testing|unstable)\/|\/dists\/.*(InRelease|Release\.gpg|\.xz|\.bz2|\.lzma|\.lz4|\.zst|\/by-hash\/.*)$|\/i18n\//

/** A mirror that is served. */
export interface ServedMirror {
  /** Address of the answers, as a guest reaches it. */
  readonly answers: string
  /** Paths of packages and indexes that were asked for and are not there. */
  readonly missing: readonly string[]
  /** How many files it has given, and the path of the last one. */
  readonly given: () => number
  readonly last: () => string
  close(): Promise<void>
}

/** The path that a request names; undefined for one that names none: it comes from a guest. */
function pathOf(url = '/'): string | undefined {
  try {
    const path = decodeURIComponent(new URL(url, 'http://mirror').pathname)
    return path.includes('\0') ? undefined : path
  } catch {
    return undefined
  }
}

/** Serves a mirror. */
export async function serveMirror(folder: string): Promise<ServedMirror> {
  const missing: string[] = []
  let given = 0
  let last = 'nothing'
  const server: Server = createServer((request, response) => {
    const path = pathOf(request.url)
    if (path === undefined) return void response.writeHead(400).end()
    const refuse = (): void => {
      if (!DISPENSABLE.test(path)) missing.push(path)
      response.writeHead(404).end()
    }
    if (path === '/preseed.cfg') {
      const text = readFileSync(join(import.meta.dirname, 'preseed.cfg'), 'utf8')
      return void response.end(text.replaceAll('@MIRROR@', request.headers.host ?? '').replaceAll('@SUITE@', SUITE))
    }
    const file = join(folder, normalize(path.replace(/^\/debian\//, '/')))
    const size = path.startsWith('/debian/') ? statSync(file, { throwIfNoEntry: false }) : undefined
    if (size === undefined || !size.isFile()) return refuse()
    given += 1
    last = path
    response.writeHead(200, { 'content-length': size.size })
    if (request.method === 'HEAD') response.end()
    else createReadStream(file).pipe(response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    answers: `http://${HOST_NAME}:${port}/preseed.cfg`, missing, given: () => given, last: () => last,
    close: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
