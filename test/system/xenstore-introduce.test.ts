/** A client of a host's XenStore introduces and releases domains, as a toolstack of one's own would. */
import { afterEach, expect, test } from 'vitest'
import { Host, type Domain, type GuestProgram } from '../../src/index.ts'
import { XenStoreClient, storeErrorName } from '../../src/xenstore/index.ts'

let host: Host | undefined
afterEach(async () => {
  await host?.shutdown()
  host = undefined
})

/** Reads its own name whenever it is told to, and says what came of it. */
const reader: GuestProgram = async (kernel) => {
  kernel.console!.log('up')
  for await (const line of kernel.console!.lines()) {
    const [number, path] = line.split(' ')
    const answer = await kernel.store!.read(path!).catch((error: unknown) => storeErrorName(error) ?? String(error))
    kernel.console!.log(`answer ${number}: ${answer}`)
  }
}

async function setup(): Promise<{ host: Host; domain: Domain; client: XenStoreClient; port: number; frame: number }> {
  host = await Host.boot({ memory: 64, dom0Memory: 8 })
  const domain = await host.createDomain({ name: 'guest', memory: 4, kernel: reader })
  await domain.console.waitFor('up')
  const client = new XenStoreClient(host.dom0.server.connectLocal())
  const number = async (node: string): Promise<number> => Number(await client.read(`/local/domain/${domain.id}/store/${node}`))
  return { host, domain, client, port: await number('port'), frame: await number('ring-ref') }
}

/** What the guest finds at a path; the counter tells its answers apart. */
let questions = 0
async function ask(domain: Domain, path: string): Promise<string> {
  questions += 1
  domain.console.write(`${questions} ${path}\n`)
  const [, answer] = await domain.console.waitFor(new RegExp(`answer ${questions}: (.*)\r?\n`))
  return answer!.trim()
}

const refusal = (promise: Promise<unknown>): Promise<unknown> => promise.then(() => 'accepted', storeErrorName)

test('a domain that is introduced once more goes on over its page', async () => {
  const { domain, client, port, frame } = await setup()
  expect(await ask(domain, 'name')).toBe('guest')
  await client.domains.introduce(domain.id, frame, port)
  expect(await client.domains.isIntroduced(domain.id)).toBe(true)
  expect(await ask(domain, 'name')).toBe('guest')
})

test('what cannot be connected is refused, and nothing has changed', async () => {
  const { domain, client, port, frame } = await setup()
  expect(await refusal(client.domains.introduce(99, frame, port))).toBe('EINVAL')
  expect(await refusal(client.domains.introduce(domain.id, frame, 4000))).toBe('EINVAL')
  expect(await client.domains.isIntroduced(99)).toBe(false)
  expect(await ask(domain, 'name')).toBe('guest')
})

test('a domain that was released is connected again by its grant, and let go when it dies', async () => {
  const { host, domain, client, port, frame } = await setup()
  const ended: string[] = []
  // As if nobody in dom0 had connected it: what is left is what the domain's builder granted and offered.
  host.dom0.disconnectStore(domain.id)
  expect(await client.domains.isIntroduced(domain.id)).toBe(false)
  const stop = await client.onChange('@releaseDomain', ({ path }) => void ended.push(path))
  await client.domains.introduce(domain.id, frame, port)
  expect(await client.domains.isIntroduced(domain.id)).toBe(true)
  expect(host.dom0.server.clients).toBeGreaterThan(1)
  await domain.destroy()
  expect(await client.domains.isIntroduced(domain.id)).toBe(false)
  expect(ended).toEqual(['@releaseDomain', '@releaseDomain'])
  await stop()
  host.hypervisor.checkInvariants()
  expect(host.hypervisor.hasDomain(domain.id)).toBe(false)
})
