/** Two guests in TypeScript that count in one node of XenStore: by reading and writing, which loses counts, or in transactions. */
import type { GuestProgram } from '../../../src/guest/index.ts'
import { Host } from '../../../src/toolstack/index.ts'
import { scenario, type RunBody, type Scenario } from '../../../src/testing/index.ts'

const PATH = '/tool/counter'
const ROUNDS = 8

/** Counts, at other times than the other one if nothing delays it. */
const counter = (offset: string, isCareful: boolean): GuestProgram => async (kernel) => {
  const store = kernel.store!
  await kernel.sleep(offset)
  for (let round = 0; round < ROUNDS; round += 1) {
    if (isCareful) await store.transaction(async (own) => own.write(PATH, String(Number(await own.read(PATH)) + 1)))
    else await store.write(PATH, String(Number(await store.read(PATH)) + 1))
    await kernel.sleep('1ms')
  }
  kernel.console!.log('{"antithesis_assert":{"hit":true,"must_hit":true,"assert_type":"sometimes","display_type":"Sometimes","message":"a guest is done","condition":true,"id":"a guest is done","details":null}}')
}

/** Counts on a host with room for two guests. */
const body = (isCareful: boolean): RunBody => async ({ host, always, sometimes, quiet }) => {
  host.store.write(PATH, '0')
  host.store.setPermissions(PATH, ['b0'])
  const guests = [
    await host.createDomain({ name: 'one', memory: 4, kernel: counter('1ms', isCareful) }),
    await host.createDomain({ name: 'two', memory: 4, kernel: counter('1.01ms', isCareful) }),
  ]
  for (const guest of guests) await guest.console.waitFor('a guest is done')
  quiet()
  const value = Number(host.store.read(PATH))
  sometimes(value === 2 * ROUNDS, 'nothing is lost')
  sometimes(value > 2 * ROUNDS, 'more is there than was counted')
  always(value === 2 * ROUNDS, 'every count is kept', { value })
}

const made = (name: string, isCareful: boolean): Scenario => scenario({
  name, body: body(isCareful), host: { memory: 32, dom0Memory: 8 }, limits: { time: '5s' },
})

export const careless = made('careless', false)
export const careful = made('careful', true)

/** A moment of a host on which nothing runs yet. */
export async function emptyHost(): Promise<Awaited<ReturnType<Host['checkpoint']>>> {
  const host = await Host.boot({ memory: 32, dom0Memory: 8 })
  const moment = await host.checkpoint()
  await host.shutdown()
  return moment
}
