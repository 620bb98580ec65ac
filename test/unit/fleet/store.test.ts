import { describe, expect, test } from 'vitest'
import { memoryStore } from '../../../src/fleet/index.ts'
import { Side, SimClock, settle } from '../../simulation/sim-clock.ts'
import { storeContract } from './store-contract.ts'

const side = new Side('store')
let clock = new SimClock()
const pass = async (milliseconds: number): Promise<void> => {
  await settle(1)
  clock.advance(milliseconds)
  await settle(1)
}
const open = (history?: number) => {
  clock = new SimClock()
  const own = clock
  return memoryStore({ clock: { now: () => own.now, after: (milliseconds, act) => own.after(side, milliseconds, act) }, history })
}

describe('the store in memory', () => {
  storeContract(async () => open(), pass)

  test('says what is not kept any more', async () => {
    const store = open(2)
    for (let i = 0; i < 5; i += 1) await store.txn([], [{ type: 'put', key: 'k', value: String(i) }])
    await expect(store.watch('', { from: 2 })[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'COMPACTED' })
  })

  test('is cut off from one connection, and not from others', async () => {
    const store = open()
    const other = store.connect()
    const watching = store.watch('')[Symbol.asyncIterator]().next()
    watching.catch(() => undefined)
    await settle()
    const heal = store.partition()
    await expect(watching).rejects.toMatchObject({ code: 'IO' })
    await expect(store.get('k')).rejects.toMatchObject({ code: 'IO' })
    await other.txn([], [{ type: 'put', key: 'k', value: '1' }])
    heal()
    expect(await store.get('k')).toMatchObject({ value: '1' })
  })

  test('loses a lease when told to', async () => {
    const store = open()
    const lease = await store.lease('5s')
    await store.txn([], [{ type: 'put', key: 'k', value: '', lease: lease.id }])
    store.loseLease(lease.id)
    expect(await store.get('k')).toBe(undefined)
    await expect(lease.keepAlive()).rejects.toMatchObject({ code: 'LEASE_LOST' })
  })
})
