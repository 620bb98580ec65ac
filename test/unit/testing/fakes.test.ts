/** What other projects test their guests and drivers with. */
import { expect, test } from 'vitest'
import { EXIT, GPR } from '../../../src/machine/index.ts'
import { FakeHypervisor, ScriptedProcessor, StoreHarness, TestStore, during, transcriptDifferences } from '../../../src/testing/index.ts'

test('a guest in a fake hypervisor writes to its store, and the transcript says so', async () => {
  const store = new TestStore()
  const hub = new FakeHypervisor()
  const guest = hub.createDomain(1, (kernel) => void kernel.store!.write('data/answer', '42'), { store: store.connect(1, 'guest') })
  await hub.settle()
  expect(guest.crash).toBeUndefined()
  expect(store.transcript).toContain('guest WRITE data/answer = "42"')
  expect(store.get('/local/domain/1/data/answer')).toBe('42')
})

test('domains run for as long as something is awaited of them, and its failure is passed on', async () => {
  const store = new TestStore()
  const hub = new FakeHypervisor()
  const guest = hub.createDomain(1, () => undefined, { store: store.connect(1) })
  await hub.settle()
  expect(await during(hub, guest.kernel.store!.directory('control'))).toContain('shutdown')
  await expect(during(hub, guest.kernel.store!.read('nothing'))).rejects.toMatchObject({ code: 'XENSTORE' })
})

test('a guest that leaves its watchdog alone ends by it, in the fake as on a host', async () => {
  const hub = new FakeHypervisor()
  const calls: number[] = []
  const guest = hub.createDomain(1, ({ hypercalls }) => {
    calls.push(hypercalls.watchdog(0, 2), hypercalls.watchdog(0, 5), hypercalls.watchdog(0, 5), hypercalls.watchdog(2, 0), hypercalls.watchdog(2, 1), hypercalls.watchdog(9, 1))
  })
  await hub.settle(1_900_000_000)
  expect([calls, guest.shutdownReason]).toEqual([[1, 2, -28, 0, -22, -22], undefined])
  await hub.settle(200_000_000)
  expect(guest.shutdownReason).toBe(4)
})

test('an unbooted guest and an empty pool of frames are typed errors', () => {
  const hub = new FakeHypervisor(65)
  expect(() => hub.createDomain(1, () => undefined)).toThrow(expect.objectContaining({ code: 'OUT_OF_MEMORY' }))
  const other = new FakeHypervisor().createDomain(1, () => undefined)
  expect(() => other.kernel).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }))
})

test('a scripted processor does step by step what it was told, and spends its budget then', () => {
  const processor = new ScriptedProcessor()
  processor.script.push((registers) => {
    registers.set(GPR.rax, 7, 0)
    return undefined
  }, () => ({ reason: EXIT.SYSCALL }))
  expect([processor.run(10), processor.executed, processor.registers.low(GPR.rax)]).toEqual([EXIT.SYSCALL, 2, 7])
  expect([processor.run(10), processor.executed]).toEqual([EXIT.BUDGET, 10])
})

test('a transcript of raw messages is played, and what was answered otherwise is told by its line', () => {
  const harness = new StoreHarness()
  const [tools, guest] = [harness.client(), harness.client(1)]
  expect(transcriptDifferences([
    [tools, 'WRITE', '/local/domain/1/name|web', 'OK|'],
    [guest, 'READ', '/local/domain/1/name|', '!EACCES'],
    [tools, 'READ', '/local/domain/1/name|', 'mail'],
  ])).toEqual(['line 3: READ /local/domain/1/name|: expected mail, got web'])
})
