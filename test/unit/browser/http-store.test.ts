/** Disks at URLs, against servers that keep what RFC 9110 says and those that do not. */
import { describe, expect, test } from 'vitest'
import { httpStore, type HttpStoreOptions } from '../../../src/browser/index.ts'

const DISK = new Uint8Array(64 << 10).map((_, at) => (at * 7) % 253)

/** How a server differs from a good one. */
interface Server {
  tag?: string | null
  /** Answers whole files, whatever part is asked for. */
  whole?: boolean
  short?: boolean
  status?: number
  throws?: boolean
  size?: string
}

function serve(server: Server) {
  const asked: string[] = []
  const get: typeof fetch = async (_, init = {}) => {
    const headers = new Headers(init.headers)
    const range = headers.get('range')!
    asked.push(range)
    if (server.throws === true) throw new TypeError('fetch failed')
    const tag = server.tag === undefined ? '"one"' : server.tag
    const condition = headers.get('if-range')
    const own = tag === null ? {} : { etag: tag }
    if (server.status !== undefined) return new Response('no', { status: server.status })
    if (server.whole === true || (condition !== null && condition !== tag)) return new Response(DISK, { status: 200, headers: own })
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(range)!
    const bytes = DISK.slice(Number(first), Number(last) + 1 - (server.short === true && asked.length > 1 ? 1 : 0))
    return new Response(bytes, { status: 206, headers: { ...own, 'content-range': `bytes ${first}-${last}/${server.size ?? DISK.length}` } })
  }
  return { asked, get }
}

const open = (server: Server, options: HttpStoreOptions = {}) => {
  const { asked, get } = serve(server)
  return { asked, store: httpStore('http://disks/one.img', { pieceSize: 4096, prefetch: 0, ...options, fetch: get }) }
}

async function read(store: { read(offset: number, target: Uint8Array): Promise<void> }, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  await store.read(offset, bytes)
  return bytes
}

describe('a disk at a URL', () => {
  test('reads across pieces, and asks for each once', async () => {
    const { asked, store } = open({})
    const disk = await store
    expect(disk.size).toBe(DISK.length)
    for (const [offset, length] of [[0, 512], [4000, 5000], [3584, 1024], [DISK.length - 512, 512]] as const) {
      expect(await read(disk, offset, length)).toEqual(DISK.slice(offset, offset + length))
    }
    expect(asked).toEqual(['bytes=0-0', 'bytes=0-4095', 'bytes=4096-8191', 'bytes=8192-12287', 'bytes=61440-65535'])
    expect(disk.figures()).toEqual({ requests: 5, bytes: 4 * 4096, kept: 4 * 4096 })
    expect(() => disk.write()).toThrow(expect.objectContaining({ code: 'PERMISSION_DENIED' }))
    await expect(read(disk, DISK.length, 512)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  test('fetches ahead of whoever reads one piece behind the other, not of whoever jumps', async () => {
    const { asked, store } = open({}, { prefetch: 2 })
    const disk = await store
    await read(disk, 40_960, 512)
    await read(disk, 8192, 512)
    expect(asked.length).toBe(3)
    await read(disk, 12_288, 512)
    expect(asked.slice(3)).toEqual(['bytes=12288-16383', 'bytes=16384-20479', 'bytes=20480-24575'])
    await read(disk, 16_384, 512)
    expect(asked.slice(6)).toEqual(['bytes=24576-28671'])
  })

  test('lets pieces go that were used longest ago', async () => {
    const { asked, store } = open({}, { cacheSize: 8192 })
    const disk = await store
    for (const piece of [0, 1, 0, 2, 0, 1]) await read(disk, piece * 4096, 512)
    expect(asked.slice(1)).toEqual(['bytes=0-4095', 'bytes=4096-8191', 'bytes=8192-12287', 'bytes=4096-8191'])
    expect(disk.figures().kept).toBe(8192)
  })

  test('says that the file has changed, and keeps nothing of the other one', async () => {
    const server: Server = {}
    const { store } = open(server)
    const disk = await store
    server.tag = '"two"'
    await expect(read(disk, 0, 512)).rejects.toMatchObject({ code: 'IO', message: expect.stringContaining('another one') as string })
    server.tag = '"one"'
    expect(await read(disk, 0, 512)).toEqual(DISK.slice(0, 512))
  })

  test.each<[string, Server, RegExp]>([
    ['knows no ranges', { whole: true }, /knows no range requests/],
    ['has no such file', { status: 404 }, /answers 404/],
    ['does not answer', { throws: true }, /fetch failed/],
    ['does not say how large it is', { size: '*' }, /how large/],
  ])('is refused where the server %s', async (_, server, message) => {
    await expect(open(server).store).rejects.toMatchObject({ code: 'IO', message: expect.stringMatching(message) as string })
  })

  test.each<[string, Server, RegExp]>([
    ['sends less than was asked for', { short: true }, /sends 4095 bytes for 4096/],
    ['fails', { status: 500 }, /answers 500/],
    ['goes away', { throws: true }, /fetch failed/],
  ])('fails a read where the server %s, and goes on behind it', async (_, wrong, message) => {
    const server: Server = {}
    const { store } = open(server)
    const disk = await store
    Object.assign(server, wrong)
    await expect(read(disk, 0, 512)).rejects.toMatchObject({ code: 'IO', message: expect.stringMatching(message) as string })
    for (const key of Object.keys(wrong) as (keyof Server)[]) delete server[key]
    expect(await read(disk, 0, 512)).toEqual(DISK.slice(0, 512))
  })

  test('wants options that it can have', async () => {
    for (const options of [{ pieceSize: 1000 }, { pieceSize: 0 }, { prefetch: -1 }, { peaces: 1 } as object]) {
      await expect(httpStore('http://disks/one.img', { fetch: serve({}).get, ...options })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    }
  })
})
