/** What users of the control interface are told where the core refuses: code, sentence and details of every operation. */
import { describe, expect, test } from 'vitest'
import { Hypervisor, type ControlInterface } from '../../../../src/hypervisor/index.ts'
import { SeededRandom, XenError, domId, eventPort, grantRef, mfn } from '../../../../src/util/index.ts'
import { TestHost, type TestGuest } from '../../../support/hypervisor-host.ts'
import { PvGuest } from '../../../support/pv-guest.ts'

interface Scene {
  readonly host: TestHost
  readonly h: ControlInterface
  readonly a: TestGuest
  readonly b: TestGuest
}

function scene(): Scene {
  const host = new TestHost({ scheduler: 'rtds' })
  return { host, h: host.hypervisor, a: host.guest(), b: host.guest() }
}

type Row = readonly [code: string, message: string | RegExp, details: object, attempt: (scene: Scene) => unknown]

const REFUSALS: readonly Row[] = [
  ['DOMAIN_NOT_FOUND', 'there is no domain 9', { domid: 9 }, ({ h }) => h.pauseDomain(domId(9))],
  ['INVALID_ARGUMENT', 'domain 0 has no vCPU 5', { domid: 0, vcpu: 5 }, ({ h, a }) => h.vcpuInfo(a.domid, 5)],
  ['DOMAIN_EXISTS', 'domain 0 exists', { domid: 0 }, ({ h }) => h.createDomain({ kind: 'pv', domid: domId(0) })],
  ['INVALID_ARGUMENT', /a domain has 1 to 128 vCPUs, got 0/, { vcpus: 0 }, ({ h }) => h.createDomain({ kind: 'pv', vcpus: 0 })],
  ['INVALID_ARGUMENT', 'there is no kind of guest hvm: a host has pv, pv32, pvh, typescript', { kind: 'hvm' }, ({ h }) => h.createDomain({ kind: 'hvm' })],
  ['INVALID_ARGUMENT', 'a guest in TypeScript needs createRunner', {}, ({ h }) => h.createDomain({ kind: 'typescript' })],
  ['INVALID_ARGUMENT', 'a domain\'s number is 0 to 32751, got -1', { domid: -1 }, ({ h }) => h.createDomain({ kind: 'pv', domid: -1 as never })],
  ['OUT_OF_RESOURCES', 'no domain number is free, or 32752 is reserved', { domid: 32752 }, ({ h }) => h.createDomain({ kind: 'pv', domid: domId(0x7ff0) })],
  ['INVALID_STATE', 'domain 0 is paused as often as can be counted', { domid: 0 }, ({ h, a }) => {
    for (let i = 0; i < 256; i += 1) h.pauseDomain(a.domid)
  }],
  ['INVALID_STATE', 'domain 0 is not paused', { domid: 0 }, ({ h, a }) => [h.unpauseDomain(a.domid), h.unpauseDomain(a.domid)]],
  ['INVALID_STATE', 'domain 0 has not shut down', { domid: 0 }, ({ h, a }) => h.resumeDomain(a.domid)],
  ['INVALID_ARGUMENT', 'a limit of -1 pages makes no sense', { pages: -1 }, ({ h, a }) => h.setMaxPages(a.domid, -1)],
  ['OUT_OF_MEMORY', '9 pages for domain 0: there is room for 0', { domid: 0, wanted: 9, room: 0, maxPages: 64 },
    ({ h, a }) => h.populatePhysmap(a.domid, 9)],
  ['INVALID_ADDRESS', 'the host has no frame 9999', { frame: 9999 }, ({ h }) => h.frameInfo(mfn(9999))],
  ['PERMISSION_DENIED', /frame \d+ does not belong to domain 0/, { domid: 0 }, ({ h, a, b }) => h.frameBytes(a.domid, b.frames[0]!)],
  ['PERMISSION_DENIED', /frame 9999 does not belong to domain 0/, { domid: 0, frame: 9999 },
    ({ h, a }) => h.readFrames(a.domid, Uint32Array.of(a.frames[0]!, 9999, 8888), new Uint8Array(12288))],
  ['PERMISSION_DENIED', /frame 9999 does not belong to domain 0/, { domid: 0, frame: 9999 },
    ({ h, a }) => h.writeFrames(a.domid, Uint32Array.of(9999), new Uint8Array(4096))],
  ['INVALID_ARGUMENT', '5 bytes do not fill 1 frames', { bytes: 5, count: 1 }, ({ h, a }) => h.writeFrames(a.domid, Uint32Array.of(a.frames[0]!), new Uint8Array(5))],
  ['PERMISSION_DENIED', /does not belong to domain 0/, { domid: 0 }, ({ h, a, b }) => h.setMachineToPhys(a.domid, b.frames[0]!, 1)],
  ['INVALID_STATE', /frame \d+ of domain 0 cannot be pinned as a table of level 1/, { domid: 0, level: 1, result: -22 },
    ({ h, a, b }) => h.pinTable(a.domid, b.frames[0]!, 1)],
  ['INVALID_STATE', /frame \d+ of domain 0 is not pinned/, { domid: 0, result: -22 }, ({ h, a }) => h.unpinTable(a.domid, a.frames[1]!)],
  ['PERMISSION_DENIED', /does not belong to domain 2/, { domid: 2 },
    ({ h, b }) => h.writeHypercallPage(h.createDomain({ kind: 'pv', maxPages: 1 }), b.frames[0]!)],
  ['INVALID_STATE', /frame \d+ of domain 2 is in use as a table/, { domid: 2 }, ({ h }) => {
    const domid = h.createDomain({ kind: 'pv', maxPages: 1 })
    const [frame] = h.populatePhysmap(domid, 1)
    h.pinTable(domid, frame!, 1)
    h.writeHypercallPage(domid, frame!)
  }],
  ['INVALID_ARGUMENT', 'a memory map of 129 ranges is too long for domain 0', { domid: 0, ranges: 129 },
    ({ h, a }) => h.setMemoryMap(a.domid, Array.from({ length: 129 }, () => ({ address: 0, size: 4096, type: 1 })))],
  ['PERMISSION_DENIED', /does not belong to domain 0/, { domid: 0 }, ({ h, a, b }) => h.mapForeign(a.domid, b.frames[0]!)],
  ['INVALID_STATE', /frame \d+ of domain 0 is in use as a table/, { domid: 0 }, ({ h, a }) => {
    h.pinTable(a.domid, a.frames[1]!, 1)
    h.mapForeign(a.domid, a.frames[1]!)
  }],
  ['INVALID_STATE', /frame \d+ of domain 0 is not mapped/, { domid: 0 }, ({ h, a }) => h.unmapForeign(a.domid, a.frames[1]!)],
  ['INVALID_STATE', 'writes of domain 0 are not noted', { domid: 0 }, ({ h, a }) => h.readLogDirty(a.domid)],
  ['INVALID_STATE', 'domain 0 has no registers: it is written in TypeScript', { domid: 0 }, ({ h, a }) => h.prepareVcpu(a.domid, 0)],
  ['NOT_SUPPORTED', 'this host has no processors for binary guests', { domid: 2 }, ({ h }) => h.prepareVcpu(h.createDomain({ kind: 'pv' }), 0)],
  ['INVALID_STATE', 'vCPU 0 of domain 0 has no registers', { domid: 0, vcpu: 0 }, ({ h, a }) => h.getVcpuContext(a.domid, 0)],
  ['INVALID_STATE', 'vCPU 0 of domain 0 has no registers', { domid: 0, vcpu: 0 }, ({ h, a }) => h.getVcpuMsrs(a.domid, 0)],
  ['INVALID_STATE', 'vCPU 0 of domain 0 has no registers', { domid: 0, vcpu: 0 }, ({ h, a }) => h.traceVcpu(a.domid, 0, {})],
  ['INVALID_STATE', 'domain 2 is not written in TypeScript; give its vCPU a context', { domid: 2 }, ({ h }) => h.startVcpu(h.createDomain({ kind: 'pv' }), 0)],
  ['INVALID_ARGUMENT', 'there is no physical CPU 4', { cpu: 4, cpus: 1 }, ({ h, a }) => h.setAffinity(a.domid, 0, { hard: [4] })],
  ['INVALID_ARGUMENT', 'a vCPU needs a physical CPU to run on', {}, ({ h, a }) => h.setAffinity(a.domid, 0, { hard: [] })],
  ['INVALID_ARGUMENT', 'domain 0 has no vCPU 3', { domid: 0, vcpu: 3 }, ({ h, a }) => h.schedulerParameters(a.domid, 3)],
  ['INVALID_ARGUMENT', 'this scheduler has no parameter weight', { name: 'weight', known: ['period', 'budget', 'extratime'] },
    ({ h, a }) => h.setSchedulerParameters(a.domid, { weight: 1 })],
  ['INVALID_ARGUMENT', 'a budget of 50000 does not fit into a period of 10000', { name: 'budget', value: 50000, max: 10000 },
    ({ h, a }) => h.setSchedulerParameters(a.domid, { budget: 50000 }, 0)],
  ['HYPERCALL_FAILED', 'EVTCHNOP_close for domain 0 failed with -22', { call: 'EVTCHNOP_close', domid: 0, result: -22 },
    ({ h, a }) => h.closePort(a.domid, eventPort(9))],
  ['HYPERCALL_FAILED', 'EVTCHNOP_send for domain 0 failed with -22', { call: 'EVTCHNOP_send', domid: 0, result: -22 },
    ({ h, a }) => h.sendEvent(a.domid, eventPort(9))],
  ['INVALID_ARGUMENT', 'domain 0 has no grant 100000', { domid: 0, ref: 100_000 },
    ({ h, a }) => h.seedGrant(a.domid, grantRef(100_000), { remote: domId(0), frame: a.frames[0]! })],
]

function thrown(attempt: () => unknown): XenError {
  try {
    attempt()
  } catch (error) {
    if (XenError.is(error)) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

describe('the control interface', () => {
  test.each(REFUSALS)('throws %s: %s', (code, message, details, attempt) => {
    const before = scene()
    const error = thrown(() => attempt(before))
    expect(error.code).toBe(code)
    if (typeof message === 'string') expect(error.message).toBe(message)
    else expect(error.message).toMatch(message)
    expect(error.details).toMatchObject(details)
    expect(before.host.problems()).toEqual([])
  })

  test('names the register that a host does not offer, and the value that one cannot hold', () => {
    const { host: { hypervisor }, domid } = PvGuest.boot()
    expect(thrown(() => hypervisor.setVcpuMsrs(domid, 0, [{ index: 0x48, value: 1n }]))).toMatchObject({
      code: 'NOT_SUPPORTED', message: 'vCPU 0 uses IBRS (SPEC_CTRL), register 0x48, which this host does not offer',
      details: { domid, vcpu: 0, register: 0x48 },
    })
    expect(thrown(() => hypervisor.setVcpuMsrs(domid, 0, [{ index: 0xc000_0103, value: 1n << 40n }]))).toMatchObject({
      code: 'INVALID_ARGUMENT', message: 'register 0xc0000103 of vCPU 0 has 32 bits', details: { domid, vcpu: 0 },
    })
  })

  test('says so where memory cannot note writes', () => {
    const { memory, clock } = new TestHost()
    const plain = { ...memory, markWritten: () => undefined, watchWrites: undefined }
    const hypervisor = new Hypervisor({ memory: plain as never, clock, random: new SeededRandom(1) })
    const domid = hypervisor.createDomain({ kind: 'pv' })
    for (const attempt of [() => hypervisor.enableLogDirty(domid), () => hypervisor.disableLogDirty(domid)]) {
      expect(thrown(attempt)).toMatchObject({ code: 'NOT_SUPPORTED', message: 'this host\'s memory cannot note writes' })
    }
  })

  test('lets the toolstack hold a frame of a domain, which stays until it is given back', () => {
    const { host, h, a } = scene()
    const frame = a.frames[5]!
    expect([h.mapForeign(a.domid, frame), h.mapForeign(a.domid, frame)]).toEqual([frame, frame])
    expect(() => h.pinTable(a.domid, frame, 1)).toThrow()
    h.destroyDomain(a.domid)
    expect(h.domainInfo(a.domid)).toMatchObject({ dying: true, totalPages: 1 })
    expect(host.problems()).toEqual([])
    h.unmapForeign(a.domid, frame)
    h.unmapForeign(a.domid, frame)
    expect(h.hasDomain(a.domid)).toBe(false)
  })
})
