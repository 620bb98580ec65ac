/** Options of descriptions that concern a domain as a whole, each by what it does. */
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { SharedInfo } from '../../src/abi/index.ts'
import { Host, type Domain } from '../../src/index.ts'
import { ByteCollector } from '../support/byte-collector.ts'

// On a machine that does other things besides.
vi.setConfig({ testTimeout: 30_000 })

let host: Host
beforeAll(async () => { host = await Host.boot({ memory: 64, dom0Memory: 16, timeZoneOffset: 7200 }) })
afterAll(() => host.shutdown())

let count = 0
const create = (text: string): Promise<Domain> => host.createDomain(`name = "d${count += 1}"\nmemory = 4\n${text}`, { paused: true })
/** Seconds since 1970 at which the host booted, as the domain's wall clock has it. */
function wallClock({ id }: Domain): number {
  const bytes = host.hypervisor.frameBytes(id, host.hypervisor.domainInfo(id).sharedInfoFrame)
  return SharedInfo.wcSec.get(new DataView(bytes.buffer, bytes.byteOffset), 0)
}

test('a wall clock shows UTC, local time, or what is so many seconds ahead', async () => {
  const boot = Date.UTC(2005, 9, 24, 12) / 1000
  for (const [text, ahead] of [['', 0], ['localtime = 1', 7200], ['rtc_timeoffset = -60', -60], ['localtime = 1\nrtc_timeoffset = "30"', 7230]] as const) {
    const domain = await create(text)
    expect(wallClock(domain) - boot).toBe(ahead)
    await domain.destroy()
  }
  const domain = await create('')
  expect(() => host.hypervisor.setTimeOffset(domain.id, 0.5)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  await domain.destroy()
})

test('a domain that is not to move is neither saved nor moved, and says why', async () => {
  const domain = await create('nomigrate = 1')
  await expect(domain.save(new ByteCollector())).rejects.toThrow(expect.objectContaining({ code: 'NOT_SUPPORTED', message: expect.stringContaining('nomigrate') }))
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
  await expect(domain.migrate({ readable, writable })).rejects.toThrow(expect.objectContaining({ code: 'NOT_SUPPORTED' }))
  await domain.destroy()
})

test('claims and records of grants are as the description says', async () => {
  const domain = await create('max_maptrack_frames = 0\nclaim_mode = 0')
  expect(domain.config).toMatchObject({ maxMaptrackFrames: 0, claimMode: false })
  await domain.destroy()
})
