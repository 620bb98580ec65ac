/** A host in a worker and its page, over message channels of this process. */
import { expect, test } from 'vitest'
import { Host, XenError } from '../../../src/index.ts'
import { connectWorker, serveWorker, type WorkerScope } from '../../../src/browser/index.ts'

/** A worker that is in this thread. */
function fakeWorker(make: () => Host | Promise<Host>, options = {}) {
  const listeners = new Map<string, ((event: { data?: unknown; ports?: MessagePort[] }) => void)[]>()
  const scope: WorkerScope = { addEventListener: (type, listener) => void listeners.set(type, [...listeners.get(type) ?? [], listener as never]) }
  serveWorker(make, options, scope)
  const tell = (type: string, event: object): void => { for (const listener of listeners.get(type) ?? []) listener(event) }
  const errors: ((event: { message?: string }) => void)[] = []
  return {
    worker: { postMessage: (data: unknown) => tell('message', { data }), addEventListener: (_: string, listener: (typeof errors)[0]) => void errors.push(listener) },
    tell, fail: (message?: string) => { for (const listener of errors) listener(message === undefined ? {} : { message }) },
  }
}

const boot = () => Host.boot({ memory: 32, dom0Memory: 8 })

test('pages share a host, which waits for them and is the same for all', async () => {
  let made = 0
  const { worker, tell } = fakeWorker(() => { made += 1; return boot() })
  // What is not of this library is the worker's own.
  for (const data of [undefined, null, 'connect', { paravirt: 'connect' }, { paravirt: 'connect', port: {} }]) tell('message', { data })
  const [one, other] = await Promise.all([connectWorker(worker), connectWorker(worker)])
  await one.createDomain({ name: 'a', memory: 4 })
  expect((await other.listDomains()).map(({ name }) => name)).toContain('a')
  expect(made).toBe(1)
  await one.shutdown()
})

test('a shared worker gives each page a port of its own', async () => {
  const { tell } = fakeWorker(boot)
  const { port1, port2 } = new MessageChannel()
  tell('connect', { ports: [port2] })
  const host = await connectWorker(port1)
  expect((await host.listDomains()).length).toBe(1)
  await host.shutdown()
  port1.close()
})

test('a host that cannot be made is told with its code, to everybody who asks', async () => {
  const { worker } = fakeWorker(() => { throw new XenError('OUT_OF_MEMORY', 'no room', { details: { needed: 5 } }) })
  for (let page = 0; page < 2; page += 1) {
    await expect(connectWorker(worker)).rejects.toMatchObject({ code: 'OUT_OF_MEMORY', message: 'the worker has no host: no room', details: { needed: 5 } })
  }
  await expect(connectWorker(fakeWorker(() => { throw new Error('odd') }).worker)).rejects.toMatchObject({ code: 'IO', message: 'the worker has no host: odd' })
})

test('a script that cannot be run is told', async () => {
  const { worker, fail } = fakeWorker(() => new Promise(() => undefined))
  const waiting = connectWorker(worker)
  fail('no such file')
  await expect(waiting).rejects.toMatchObject({ code: 'IO', message: expect.stringContaining('no such file') as string })
})

test('a token is asked for as of any service', async () => {
  const { worker } = fakeWorker(boot, { token: 'secret' })
  await expect(connectWorker(worker)).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
  const host = await connectWorker(worker, { token: 'secret' })
  await host.shutdown()
})

test('what is no worker, and no function, is refused', async () => {
  await expect(connectWorker({} as never)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  expect(() => serveWorker(7 as never)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
})
