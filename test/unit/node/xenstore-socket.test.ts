import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { connectXenStore, listenXenStore, type XenStoreListener } from '../../../src/node/index.ts'
import { XenError } from '../../../src/util/index.ts'
import { XenStore, XenStoreServer } from '../../../src/xenstore/index.ts'
import { STORE_OPS, storePacket } from '../../../src/testing/index.ts'

let folder: string
let path: string
let server: XenStoreServer
let door: XenStoreListener | undefined
const sockets: Socket[] = []

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'paravirt-socket-'))
  path = join(folder, 'socket')
  server = new XenStoreServer({ store: new XenStore(), onWork: () => setImmediate(() => server.process()) })
  door = await listenXenStore(server, path)
})

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  await door?.close()
  rmSync(folder, { recursive: true, force: true })
})

/** A raw connection that collects what it is sent. */
function raw(): { socket: Socket; received: () => Buffer; ended: Promise<void> } {
  const socket = connect(path)
  const pieces: Buffer[] = []
  sockets.push(socket)
  socket.on('data', (piece) => pieces.push(piece))
  socket.on('error', () => undefined)
  const ended = new Promise<void>((resolve) => socket.on('close', () => resolve()))
  return { socket, received: () => Buffer.concat(pieces), ended }
}

const until = async (met: () => boolean): Promise<void> => {
  for (let i = 0; i < 4000 && !met(); i += 1) await new Promise((resolve) => setTimeout(resolve, 5))
  expect(met()).toBe(true)
}

test('a client in another program has all operations', async () => {
  const client = await connectXenStore(path)
  await client.write('/a/b', 'hello')
  expect(await client.read('/a/b')).toBe('hello')
  expect(await client.transaction(async (t) => t.list('/a'))).toEqual(['b'])
  const big = 'x'.repeat(4000)
  await Promise.all(Array.from({ length: 300 }, (_, i) => client.write(`/big/${i}`, big)))
  const values = await Promise.all(Array.from({ length: 300 }, (_, i) => client.read(`/big/${i}`)))
  expect(values.every((value) => value === big)).toBe(true)
  client.close()
  await until(() => server.clients === 0)
})

test.each([0o600, 0o660, 0o666])('the socket file has the permissions that were asked for: %o', async (mode) => {
  const other = join(folder, 'other')
  const second = await listenXenStore(server, other, { mode })
  expect(statSync(other).mode & 0o777).toBe(mode)
  await second.close()
  expect(existsSync(other)).toBe(false)
})

test('a message may come byte by byte', async () => {
  const { socket, received } = raw()
  for (const byte of storePacket(STORE_OPS.READ, '/tool\0', { id: 5 })) {
    socket.write(Uint8Array.of(byte))
    await new Promise((resolve) => setImmediate(resolve))
  }
  await until(() => received().length === 16)
  expect(received().readUInt32LE(4)).toBe(5)
})

test('a length beyond the protocol drops the client, and nobody else', async () => {
  const client = await connectXenStore(path)
  const { socket, ended } = raw()
  const bad = storePacket(STORE_OPS.READ, '')
  new DataView(bad.buffer).setUint32(12, 0xffffffff, true)
  socket.write(bad)
  await ended
  expect(await client.read('/tool')).toBe('')
  expect(server.clients).toBe(1)
  client.close()
})

test('a client that never reads is not read from for ever, and keeps nobody else waiting', async () => {
  const { socket } = raw()
  socket.pause()
  const client = await connectXenStore(path)
  await client.write('/big', 'x'.repeat(4000))
  const request = Buffer.concat(Array.from({ length: 100 }, () => storePacket(STORE_OPS.READ, '/big\0')))
  let taken = 0
  let stopped = false
  while (!stopped && taken < 2000) {
    stopped = !socket.write(request)
    taken += 1
    if (!stopped) await new Promise((resolve) => setImmediate(resolve))
  }
  expect(stopped).toBe(true)
  for (let i = 0; i < 50; i += 1) expect(await client.read('/big')).toHaveLength(4000)
  socket.destroy()
  await until(() => server.clients === 1)
  client.close()
})

test('a client that goes away in the middle of a message leaves nothing', async () => {
  const { socket } = raw()
  socket.write(storePacket(STORE_OPS.WATCH, '/a\0t\0'))
  socket.write(storePacket(STORE_OPS.READ, '/tool\0').subarray(0, 18))
  await until(() => server.store.watchCount === 1)
  socket.destroy()
  await until(() => server.clients === 0)
  expect(server.store.watchCount).toBe(0)
})

test('events reach a client that only listens', async () => {
  const client = await connectXenStore(path)
  const seen: string[] = []
  await client.onChange('/a', (event) => seen.push(event.path))
  server.store.local().write('/a/b', '1')
  await until(() => seen.length === 2)
  expect(seen).toEqual(['/a', '/a/b'])
  client.close()
})

test('a socket that is served already is not taken away, one left behind is', async () => {
  const refused = await listenXenStore(server, path).catch((error: unknown) => error)
  expect(XenError.is(refused, 'IO')).toBe(true)
  const stale = join(folder, 'stale')
  const dead = createServer().listen(stale)
  await new Promise<void>((resolve) => dead.once('listening', () => resolve()))
  // A server that is killed cannot remove its socket: another name for the file keeps it.
  const { linkSync } = await import('node:fs')
  linkSync(stale, `${stale}2`)
  await new Promise<void>((resolve) => dead.close(() => resolve()))
  const second = await listenXenStore(server, `${stale}2`)
  const client = await connectXenStore(`${stale}2`)
  expect(await client.read('/tool')).toBe('')
  client.close()
  await second.close()
})

test('a file that is no socket is left alone', async () => {
  const file = join(folder, 'file')
  writeFileSync(file, 'precious')
  const refused = await listenXenStore(server, file).catch((error: unknown) => error)
  expect(XenError.is(refused, 'IO')).toBe(true)
  expect(existsSync(file)).toBe(true)
  expect(statSync(file).size).toBe(8)
})

test('nobody at the path is a clear error', async () => {
  const error = await connectXenStore(join(folder, 'nobody')).catch((thrown: unknown) => thrown)
  expect(XenError.is(error, 'IO')).toBe(true)
})
