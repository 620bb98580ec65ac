import { expect, test } from 'vitest'
import type { Host } from '../../src/toolstack/index.ts'
import { feedInput } from '../../src/toolstack/host/feed-input.ts'
import { insidesOf } from '../../src/toolstack/host/host.ts'
import type { InputRecord } from '../../src/toolstack/run/inputs.ts'
import { hostsOfTests } from '../support/mini.ts'

const boot = hostsOfTests({ memory: 48, dom0Memory: 16, seed: 5 })

/** All that comes into a host from now on. */
function record(host: Host): InputRecord[] {
  const records: InputRecord[] = []
  insidesOf(host).parts.inputs.listen((entry) => records.push(entry))
  return records
}

/** Runs to the very nanosecond of host time. */
async function runTo(host: Host, time: number): Promise<void> {
  if (time > host.now()) await host.until('a moment', () => false, { timeout: time - host.now() }).catch(() => undefined)
  expect(host.now()).toBe(time)
}

/** What a host is at a moment of its time, by a hash. */
async function hashAt(host: Host, time: number): Promise<string> {
  await runTo(host, time)
  return host.hypervisor.stateHash()
}

const frame = (text: string): Uint8Array =>
  new Uint8Array([255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 9, 0x88, 0xb5, ...new TextEncoder().encode(text)])

test('what comes into a host by its door makes another host the same, at the same times', async () => {
  const host = await boot()
  const records = record(host)
  const port = host.bridge().open()
  const domain = await host.createDomain({ name: 'mini', memory: 8, nics: [''] })
  await domain.console.waitFor('mini> ')
  await domain.console.write('echo typed\r')
  await domain.console.waitFor(/^typed$/)
  for (const text of ['one', 'two']) port.send(frame(text))
  domain.pause()
  domain.unpause()
  await domain.setMemTarget(6)
  await domain.console.write('mem\r')
  await domain.console.waitFor('memory:')
  const end = host.now() + 50_000_000
  const [hash, text] = [await hashAt(host, end), domain.console.text()]
  expect(records.map(({ input }) => (input.source === 'call' ? input.call : input.source))).toEqual(
    ['create', 'console', 'frame', 'frame', 'pause', 'unpause', 'memory-target', 'console'])
  expect(records.map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
  expect(structuredClone(records)).toEqual(records)

  const other = await boot()
  const again = record(other)
  other.bridge().open()
  for (const { time, input } of structuredClone(records)) {
    await runTo(other, time)
    void feedInput(other, input)
  }
  await other.until('the domain', () => other.domains().length === 1)
  expect([await hashAt(other, end), other.domain('mini').console.text()]).toEqual([hash, text])
  expect(again).toEqual(records)
})

test('what is no plain data is noted, and is not put in from a record', async () => {
  const host = await boot()
  const records = record(host)
  await expect(host.restore(new Uint8Array(9) as never)).rejects.toThrow()
  expect(records.map(({ input }) => input)).toEqual([{ source: 'call', call: 'other', name: 'restore' }])
  expect(() => feedInput(host, records[0]!.input)).toThrow('the call restore came with what is no plain data')
  expect(() => feedInput(host, { source: 'disk', domid: 1, device: 51712, answer: 1, okay: true })).toThrow('comes from the disk')
  expect(() => feedInput(host, { source: 'frame', bridge: 'xenbr0', port: 7, bytes: frame('x') })).toThrow('no port 7')
})
