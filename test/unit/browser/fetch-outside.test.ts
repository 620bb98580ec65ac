/** The outside of a page, by `fetch`: curl talks to it as a guest's browser would, and Node's HTTP server is what it reaches. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer as createHttp } from 'node:http'
import type { AddressInfo, Server } from 'node:net'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fetchOutside, type FetchOutside } from '../../../src/browser/index.ts'
import { doorTo } from '../../support/outside-socket.ts'
import { whyNoProgram } from '../../support/programs.ts'

const missing = whyNoProgram('curl', '--version')
const SIZE = 3_000_000

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

describe.skipIf(missing !== undefined)(`HTTP by fetch${missing ?? ''}`, () => {
  const server = createHttp((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part)).on('end', () => {
      if (request.url === '/large') return void response.end(Buffer.alloc(SIZE, 0x41))
      response.writeHead(request.url === '/missing' ? 404 : 200, { 'x-answer': 'yes' })
      response.end(`${request.method} ${request.url} ${request.headers['x-wish']} ${Buffer.concat(parts).toString()}`)
    })
  })
  let [port, closed]: [number, Server[]] = [0, []]
  const curl = async (door: number, ...words: readonly string[]): Promise<string> => {
    const { stdout } = await promisify(execFile)('curl', ['-sS', '--noproxy', '*', '--max-time', '30', '--connect-to', `::127.0.0.1:${door}`, ...words], { maxBuffer: 2 * SIZE })
    return stdout
  }
  const opened = async (outside: FetchOutside): Promise<number> => {
    const door = doorTo(outside, { host: '192.0.2.80', port: 80 })
    closed.push(door)
    return listen(door)
  }
  beforeAll(async () => {
    port = await listen(server)
    closed.push(server)
  })
  afterAll(() => closed.forEach((one) => one.close()))

  test('goes where its owner says, with method, headers and body, and comes back with status, headers and body', async () => {
    const door = await opened(fetchOutside({ reach: (url) => (url.hostname === 'web.example' ? new URL(url.pathname, `http://127.0.0.1:${port}`) : undefined) }))
    const answer = await curl(door, '-i', '-H', 'x-wish: please', '-d', 'body', 'http://web.example/hello')
    expect(answer).toMatch(/^HTTP\/1.1 200 OK\r\n/)
    expect(answer).toContain('x-answer: yes')
    expect(answer).toContain('POST /hello please body')
    expect(await curl(door, '-o', '/dev/null', '-w', '%{http_code}', 'http://web.example/missing')).toBe('404')
    expect((await curl(door, 'http://web.example/large')).length).toBe(SIZE)
    expect(await curl(door, 'http://other.example/')).toContain('http://other.example is not to be reached')
  })

  test('goes nowhere unless its owner says so, and what is no request is refused', async () => {
    const door = await opened(fetchOutside())
    expect(await curl(door, '-o', '/dev/null', '-w', '%{http_code}', `http://127.0.0.1:${port}/`)).toBe('403')
    expect(await curl(door, '-o', '/dev/null', '-w', '%{http_code}', '-X', 'not', 'http://web.example/')).toBe('400')
    expect(await curl(door, '-o', '/dev/null', '-w', '%{http_code}', '-H', 'transfer-encoding: chunked', '-d', 'x', 'http://web.example/')).toBe('411')
    const there = await opened(fetchOutside({ reach: () => new URL('http://127.0.0.1:1/') }))
    expect(await curl(there, '-o', '/dev/null', '-w', '%{http_code}', 'http://web.example/')).toBe('502')
    const heard: string[] = []
    fetchOutside().connectTcp({ host: '192.0.2.80', port: 443 }, { opened: () => heard.push('opened'), failed: (why) => heard.push(why), data: () => undefined, taken: () => undefined, ended: () => undefined })
    expect(heard).toEqual(['refused'])
    expect(() => fetchOutside({ reach: 7 } as never)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})
