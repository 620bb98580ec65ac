import { expect, test } from 'vitest'
import { BackendBus, type BackendDevice, type BackendInstance } from '../../../src/guest/index.ts'
import { Sequence } from '../../../src/guest/xenbus/sequence.ts'
import { seedDisk } from '../../support/devices.ts'
import { FakeHypervisor, TestStore } from '../../../src/testing/index.ts'

test('a step that still waits is not added again, one that has begun is', async () => {
  const done: string[] = []
  const steps = new Sequence(() => undefined)
  let go = (): void => undefined
  void steps.add(() => new Promise<void>((resolve) => { go = resolve }))
  for (let i = 0; i < 1000; i += 1) for (const key of ['a', 'b']) steps.addOnce(key, () => void done.push(key))
  expect(steps.backlog).toBe(2)
  await Promise.resolve()
  go()
  await steps.add(() => undefined)
  expect([done, steps.backlog]).toEqual([['a', 'b'], 0])
  steps.addOnce('a', async () => {
    if (done.push('a') < 5) steps.addOnce('a', () => void done.push('again'))
  })
  await steps.add(() => undefined)
  await steps.add(() => undefined)
  expect(done).toEqual(['a', 'b', 'a', 'again'])
})

test('a front-end that changes its state without end while the back-end is busy makes one step wait', async () => {
  const hub = new FakeHypervisor(1024)
  const store = new TestStore()
  let release = (): void => undefined
  let device: BackendDevice | undefined
  const seen: string[] = []
  const instance: BackendInstance = {
    announce: async () => undefined,
    prepare: () => new Promise<void>((resolve) => { release = resolve }),
    connect: async (frontend) => seen.push(frontend) < 0,
    disconnect: () => void seen.push('disconnect'),
  }
  const driver = { type: 'vbd', probe: (probed: BackendDevice) => { device = probed; return instance } }
  hub.createDomain(0, (kernel) => new BackendBus(kernel).register(driver), { store: store.connect(0, 'back') })
  await hub.settle()
  seedDisk(store, {})
  await hub.settle()
  for (let i = 0; i < 500; i += 1) {
    store.seed({ '/local/domain/1/device/vbd/51712/state': String(1 + (i % 5)) })
    await hub.settle()
  }
  expect(device!.backlog).toBe(1)
  store.seed({ '/local/domain/1/device/vbd/51712/state': '4' })
  release()
  await hub.settle()
  expect([seen, device!.backlog]).toEqual([['Connected'], 0])
})
