import { describe, expect, test } from 'vitest'
import { GNTMAP, GTF } from '../../../../src/abi/index.ts'
import { grantShape, type GrantState } from '../../../../src/hypervisor/grants/index.ts'
import { SeededRandom, below, domId, part } from '../../../../src/util/index.ts'
import { GrantHostDouble, vcpuOf } from '../../../support/grant-host.ts'

const clone = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T

function busy() {
  const host = new GrantHostDouble()
  const [dom0, guest] = [host.domain(0), host.domain(1)]
  host.tables.setVersion(guest, 2)
  const mfn = host.frame(1)
  host.grant(1, 9, { to: 0, mfn })
  host.grant(1, 10, { to: 0, mfn })
  const map = (ref: number, flags: number, address: number) =>
    host.tables.map(vcpuOf(dom0), { ref, flags: flags | GNTMAP.host_map, address, domid: 1 }).handle
  const handles = [map(9, 0, 64), map(9, GNTMAP.readonly, 128), map(10, GNTMAP.device_map, 192)]
  return { host, dom0, guest, mfn, handles }
}

/** A second host with the same memory and frames, whose domains wait for their tables. */
function twin({ host }: ReturnType<typeof busy>): GrantHostDouble {
  const other = new GrantHostDouble()
  host.records.forEach((record, mfn) => Object.assign(other.records[mfn]!, record))
  for (const id of [0, 1]) other.tables.awaitDomain(host.tables.of(domId(id))!.domain)
  other.memory.bytes.set(host.memory.bytes)
  for (const [key, entry] of host.entries) other.entries.set(key, { ...entry })
  return other
}

describe('saved grant tables', () => {
  test('go on where they were', () => {
    const one = busy()
    const host = twin(one)
    const state = clone(one.host.tables.save())
    expect(grantShape(state)).toBeUndefined()
    host.tables.load(state)
    expect(clone(host.tables.save())).toEqual(state)
    expect(host.records).toEqual(one.host.records)
    const unmap = (h: GrantHostDouble, handle: number, address: number) =>
      h.tables.unmap(vcpuOf(one.dom0), { handle, address, busAddress: address === 192 ? one.mfn * 4096 : 0, newAddress: 0 })
    for (const h of [host, one.host]) {
      expect(one.handles.map((handle, i) => unmap(h, handle, 64 * (i + 1)))).toEqual([0, 0, 0])
    }
    expect([host.counts(one.mfn), host.inUse(1, 9), host.inUse(1, 10)]).toEqual([[0, 0], '--', '--'])
    expect(clone(host.tables.save())).toEqual(clone(one.host.tables.save()))
  })

  test.each<[string, (state: any) => void]>([
    ['a domain that does not exist', (s) => { s.domains[0].domid = 5 }],
    ['a domain twice', (s) => { s.domains.push(s.domains[1]) }],
    ['a version that there is not', (s) => { s.domains[1].version = 3 }],
    ['no status frames', (s) => { s.domains[1].statusFrames = [] }],
    ['too many frames', (s) => { s.domains[0].frames = [1, 2, 3, 4, 5] }],
    ['no frames', (s) => { s.domains[0].frames = [] }],
    ['a frame outside memory', (s) => { s.domains[0].frames = [4096] }],
    ['a grant beyond the table', (s) => { s.domains[1].active[0][0] = 256 }],
    ['a use that nobody has', (s) => { s.domains[1].active[0][1].pin += 1 }],
    ['a grant in use for somebody else', (s) => { s.domains[1].active[0][1].domid = 1 }],
    ['a mapping of a grant that is not in use', (s) => { s.domains[0].maptrack.mappings[0][1].ref = 11 }],
    ['a mapping that maps nothing', (s) => { s.domains[0].maptrack.mappings[0][1].flags = 4 }],
    ['a handle that is used and free', (s) => { s.domains[0].maptrack.free[0] = 0 }],
    ['more handles than the limit', (s) => { s.domains[0].maptrack.size = 768 }],
  ])('with %s are refused, and nothing changes', (_name, spoil) => {
    const one = busy()
    const host = twin(one)
    const before = JSON.stringify([host.tables.save(), host.snapshot()])
    const state = clone(one.host.tables.save()) as GrantState
    spoil(state)
    const tables = part({ name: 'grants', version: 1, shape: grantShape }, host.tables)
    expect(() => tables.load({ version: 1, state })).toThrowError(expect.objectContaining({ code: 'INVALID_STATE', message: expect.not.stringContaining('unknown') }))
    expect(JSON.stringify([host.tables.save(), host.snapshot()])).toBe(before)
  })
})

/** One operation with arguments near valid ones; its status. */
function tryAnything(host: GrantHostDouble, random: SeededRandom, frames: number[]): number {
  const pick = (...values: number[]): number => values[below(random, values.length)]!
  const caller = domId(below(random, 3))
  const table = host.tables.of(caller)!
  const ref = pick(8, 9, 10, 11, 12, below(random, 600))
  const frame = frames[below(random, frames.length)]!
  const side = () => ({
    domid: pick(0, 1, 2, 0x7ff0, 9), isGrant: below(random, 4) !== 0, number: below(random, 5) === 0 ? frame : ref,
    offset: pick(0, 1, 2048, 4095, 65535),
  })
  switch (below(random, 10)) {
    case 0: case 1: {
      if (ref >= table.entryCount) return -100
      host.grant(caller, ref, {
        to: below(random, 3), mfn: pick(frame, frame, frame, 0xfffff),
        flags: pick(
          GTF.permit_access, GTF.permit_access, GTF.permit_access | GTF.readonly, GTF.accept_transfer,
          GTF.permit_access | GTF.sub_page, GTF.transitive, below(random, 65536),
        ),
      })
      return 0
    }
    case 2: case 3: return host.tables.map(vcpuOf(caller), {
      domid: pick(0, 1, 2, 9), ref, flags: pick(2, 6, 3, 7, 1, 5, below(random, 32)),
      address: 64 * (1 + below(random, 40)),
    }).status
    case 4: case 5: {
      const [handle = below(random, 600)] = [...table.maptrack.entries()].map(([h]) => h).slice(below(random, 4))
      const mapping = table.maptrack.get(handle)
      const mfn = mapping === undefined ? 0 : host.tables.of(mapping.domid)?.active.get(mapping.ref)?.mfn ?? 0
      const address = [...host.entries].find(([key, entry]) => (
        key.startsWith(`${caller}:`) && entry.mfn === mfn && entry.readOnly === (((mapping?.flags ?? 0) & 4) !== 0)
      ))?.[0].split(':')[1] ?? '64'
      return host.tables.unmap(vcpuOf(caller), {
        handle, address: pick(Number(address), Number(address), 0, 64), newAddress: 0,
        busAddress: pick(mfn * 4096, 0, 4096),
      })
    }
    case 6: return host.tables.copy(caller, { source: side(), destination: side(), length: pick(0, 1, 64, 4096) })
    case 7: return host.tables.swap(caller, ref, pick(8, 9, 10, 700))
    case 8: return host.tables.setVersion(caller, pick(1, 2, 3))
    default: {
      const frames = host.tables.setup(caller, 0x7ff0, 1 + below(random, 5))
      return typeof frames === 'number' ? frames : 0
    }
  }
}

describe('whatever guests try', () => {
  /** References and types of every frame follow from the mappings that exist. */
  function checkCounts(host: GrantHostDouble): void {
    const wanted = host.records.map(({ owner }) => (owner < 0 ? [0, 0] : [1, 0]) as [number, number])
    for (const { domid, maptrack } of host.tables.save().domains) {
      for (const [, { domid: granter, ref, flags }] of maptrack.mappings) {
        const { mfn } = host.tables.of(granter)!.active.get(ref)!
        const kinds = Number((flags & GNTMAP.host_map) !== 0) + Number((flags & GNTMAP.device_map) !== 0)
        expect(domid).not.toBe(-1)
        wanted[mfn]![0] += kinds
        if ((flags & GNTMAP.readonly) === 0) wanted[mfn]![1] += kinds
      }
    }
    expect(host.records.map(({ references, writable }) => [references, writable])).toEqual(wanted)
  }

  test.each([1, 2, 3])('tables, uses and counts of references agree after each step (seed %i)', (seed) => {
    const host = new GrantHostDouble()
    const random = new SeededRandom(seed)
    for (const id of [0, 1, 2]) host.domain(id)
    const free = host.records.filter(({ owner }) => owner < 0).length
    const frames = [0, 0, 1, 1, 1, 2, 2, 2].map((owner) => host.frame(owner))
    host.records[frames[3]!]!.isTable = true
    const outcomes = new Map<number, number>()
    for (let step = 0; step < 20_000; step += 1) {
      const status = tryAnything(host, random, frames)
      outcomes.set(status, (outcomes.get(status) ?? 0) + 1)
      if (step % 50 !== 0) continue
      host.tables.check()
      checkCounts(host)
    }
    expect(outcomes.get(0)).toBeGreaterThan(1000)
    expect(outcomes.size).toBeGreaterThan(8)
    // Page tables are torn down first: each entry gives its references back.
    for (const { domid, maptrack } of host.tables.save().domains) {
      for (const [, { domid: granter, ref, flags }] of maptrack.mappings) {
        if ((flags & GNTMAP.host_map) === 0) continue
        const { mfn } = host.tables.of(granter)!.active.get(ref)!
        if ((flags & GNTMAP.readonly) === 0) host.frames.putWritable(mfn)
        host.frames.putPage(mfn)
        expect(domid).toBeLessThan(3)
      }
    }
    for (const id of [2, 0, 1]) host.tables.removeDomain(domId(id))
    frames.forEach((mfn) => host.frames.putPage(mfn))
    expect(host.records.filter(({ references, writable }) => references === 0 && writable === 0)).toHaveLength(free + 3)
  })
})
