/** Options of descriptions that concern a domain as a whole, each by what it does. */
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ERRNO, GNTST, SharedInfo } from '../../src/abi/index.ts'
import { Host, type CreateOptions, type Domain } from '../../src/index.ts'
import type { DomId, GrantRef } from '../../src/util/index.ts'
import { assemble } from '../support/assembler.ts'
import { ByteCollector } from '../support/byte-collector.ts'
import { makeElf } from '../support/elf-image.ts'

// On a machine that does other things besides.
vi.setConfig({ testTimeout: 30_000 })

let host: Host
beforeAll(async () => { host = await Host.boot({ memory: 64, dom0Memory: 16, timeZoneOffset: 7200 }) })
afterAll(() => host.shutdown())

let count = 0
const create = (text: string, options: CreateOptions = { paused: true }): Promise<Domain> => host.createDomain(`name = "d${count += 1}"\nmemory = 4\n${text}`, options)
/** The kernel of examples/guests/mini for PVH. */
const PVH = readFileSync(join(import.meta.dirname, '../../examples/guests/mini/mini-pvh.elf'))
/** A 64-bit PV kernel that is a listing, and then stays where it is. */
const listed = (listing: string): Uint8Array =>
  makeElf({ entry: 0x1000n, segments: [{ address: 0x1000, bytes: assemble(`${listing}\n1: jmp 1b`, { origin: 0x1000 }) }], notes: [{ type: 5, value: 'xen-3.0' }] })

/** Registers of a domain whose kernel is a listing, when it has had its time. */
async function registersOf(text: string, listing: string) {
  const domain = await create(text, { kernel: listed(listing) })
  await host.until('its kernel to be done', () => domain.info().cpuTime > 1e6)
  const { user } = host.hypervisor.getVcpuContext(domain.id, 0)
  await domain.destroy()
  return user
}
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
    const pvh = await create(`type = "pvh"\n${text}`, { kernel: PVH, paused: true })
    expect(wallClock(pvh) - boot).toBe(ahead)
    await pvh.destroy()
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

test('a time-stamp counter is the host\'s, or one of its own that begins with the domain; CPUID tells the mode', async () => {
  const seen = async (text: string) => {
    const { rax, r8, r9 } = await registersOf(text, `
      mov $0x40000003,%eax; xor %ecx,%ecx; .byte 0x0f,0x0b,0x78,0x65,0x6e; cpuid
      mov %eax,%r8d; mov %ebx,%r9d
      rdtsc; shl $32,%rdx; or %rdx,%rax`)
    const { kilohertz } = host.hypervisor.getTscInfo((await create('')).id)
    await host.domain(`d${count}`).destroy()
    return { isEmulated: (r8 & 1n) !== 0n, mode: Number(r9), isTheHosts: Number(rax) / kilohertz > 5000 }
  }
  await host.until('time to pass', () => false, { timeout: '6s' }).catch(() => undefined)
  expect(await seen('')).toEqual({ isEmulated: false, mode: 0, isTheHosts: true })
  expect(await seen('tsc_mode = "always_emulate"')).toEqual({ isEmulated: true, mode: 1, isTheHosts: false })
  expect(await seen('tsc_mode = 2')).toEqual({ isEmulated: false, mode: 2, isTheHosts: true })
})

test('its mode goes along when the domain is saved', async () => {
  const domain = await create('tsc_mode = "always_emulate"', {})
  await domain.console.waitFor('mini> ')
  const output = new ByteCollector()
  await domain.save(output)
  const back = await host.restore(output.bytes())
  expect([back.config.tscMode, host.hypervisor.getTscInfo(back.id)]).toMatchObject(['always_emulate', { mode: 1, incarnation: 2 }])
  await back.destroy()
})

test('memory is claimed for a domain while it comes in, or left to whoever is quicker', async () => {
  for (const [text, claimed] of [['', 4], ['claim_mode = 0', 0]] as const) {
    const domain = await create(text, {})
    await domain.console.waitFor('mini> ')
    const output = new ByteCollector()
    await domain.save(output)
    const bytes = output.bytes()
    const seen: number[] = []
    // The stream stops behind its head for a look at the host.
    const slow = async function* () {
      for (let at = 0; at < bytes.length; at += 1 << 16) {
        yield bytes.subarray(at, at + (1 << 16))
        seen.push(host.hypervisor.hostInfo().outstandingFrames / 256)
      }
    }
    const back = await host.restore(slow())
    expect([text, Math.ceil(Math.max(...seen)), host.claims()]).toEqual([text, claimed, []])
    await back.destroy()
  }
})

test('a domain maps no more grants, has no more ports and no larger grant table than its description says', async () => {
  const idle: CreateOptions = { kernel: () => undefined, paused: true }
  const giver = await create('', idle)
  const control = host.hypervisor
  const [frame] = control.domainFrames(giver.id)
  for (const [text, mapped, frames, ports] of [
    ['', GNTST.okay, 64, 1023], ['max_maptrack_frames = 0\nmax_grant_frames = 4\nmax_event_channels = 20', GNTST.no_space, 4, 20],
  ] as const) {
    const domain = await create(text, idle)
    control.seedGrant(giver.id, (20 + domain.id) as GrantRef, { remote: domain.id, frame: frame! })
    const port = control.port(domain.id)
    expect([text, port.mapGrant({ domid: giver.id, ref: (20 + domain.id) as GrantRef }).status]).toEqual([text, mapped])
    expect([port.setupGrantTable(frames), port.setupGrantTable(frames + 1)]).toEqual([expect.objectContaining({ length: frames }), expect.any(Number)])
    let last = 0
    for (let next = 1; next > 0; last = Math.max(last, next)) next = port.allocUnbound(domain.id, 0 as DomId)
    expect([text, last]).toEqual([text, ports])
    await domain.destroy()
  }
  await giver.destroy()
})

test('a domain changes to no newer version of grant tables than its description says', async () => {
  const listing = 'push $2; mov $8,%edi; mov %rsp,%rsi; mov $1,%edx; mov $20,%eax; syscall'
  const answer = async (text: string): Promise<bigint> => BigInt.asIntN(32, (await registersOf(text, listing)).rax)
  expect([await answer(''), await answer('max_grant_version = 1')]).toEqual([0n, BigInt(-ERRNO.ENOSYS)])
})
