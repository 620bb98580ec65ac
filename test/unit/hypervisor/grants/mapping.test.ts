import { describe, expect, test } from 'vitest'
import { DOMID, GNTMAP, GNTST, GTF } from '../../../../src/abi/index.ts'
import { domId } from '../../../../src/util/index.ts'
import { GrantHostDouble, vcpuOf } from '../../../support/grant-host.ts'

const { host_map: HOST, device_map: DEVICE, readonly: READONLY } = GNTMAP
const ADDRESS = 0x10_0000

/** A guest (1) that grants entry 9 to dom0, which maps by page tables; and a bystander (2). */
function granted(version: 1 | 2 = 1, flags: number = GTF.permit_access) {
  const host = new GrantHostDouble()
  const dom0 = host.domain(0)
  const guest = host.domain(1)
  const other = host.domain(2, { mapsBy: 'direct' })
  if (version === 2) expect(host.tables.setVersion(guest, 2)).toBe(0)
  const mfn = host.frame(1)
  host.grant(1, 9, { to: 0, mfn, flags })
  const map = (flags: number, more: Partial<{ ref: number; domid: number; address: number }> = {}) =>
    host.tables.map(vcpuOf(dom0), { address: ADDRESS, flags, ref: 9, domid: 1, ...more })
  const unmap = (handle: number, more: Partial<{ address: number; busAddress: number; newAddress: number }> = {}) =>
    host.tables.unmap(vcpuOf(dom0), { handle, address: ADDRESS, busAddress: 0, newAddress: 0, ...more })
  return { host, dom0, guest, other, mfn, map, unmap }
}

describe.each([1, 2] as const)('mapping an entry of version %i', (version) => {
  test('takes a reference and a writable type, marks the entry, and gives all back when unmapped', () => {
    const { host, mfn, map, unmap } = granted(version)
    const before = host.snapshot()
    const { status, handle, mfn: frame } = map(HOST)
    expect([status, frame]).toEqual([GNTST.okay, mfn])
    expect(host.counts(mfn)).toEqual([1, 1])
    expect(host.inUse(1, 9)).toBe('rw')
    expect(host.entries.get(`0:${ADDRESS}`)).toEqual({ mfn, readOnly: false })
    expect(unmap(handle)).toBe(GNTST.okay)
    expect(host.written).toContain(mfn)
    expect(host.snapshot()).toBe(before)
    expect(unmap(handle)).toBe(GNTST.bad_handle)
  })

  test('read-only takes no type, and the entry is marked as read', () => {
    const { host, mfn, map, unmap } = granted(version, GTF.permit_access | GTF.readonly)
    const { handle } = map(HOST | READONLY)
    expect(host.counts(mfn)).toEqual([1, 0])
    expect(host.inUse(1, 9)).toBe('r-')
    expect(map(HOST, { address: ADDRESS + 4096 }).status).toBe(GNTST.general_error)
    expect(host.inUse(1, 9)).toBe('r-')
    expect(unmap(handle)).toBe(GNTST.okay)
    expect(host.inUse(1, 9)).toBe('--')
  })

  test('the writing bit goes with the last writable mapping, the reading bit with the last of all', () => {
    const { host, map, unmap } = granted(version)
    const writable = map(HOST)
    const readable = map(HOST | READONLY, { address: ADDRESS + 4096 })
    expect(host.inUse(1, 9)).toBe('rw')
    unmap(writable.handle)
    expect(host.inUse(1, 9)).toBe('r-')
    unmap(readable.handle, { address: ADDRESS + 4096 })
    expect(host.inUse(1, 9)).toBe('--')
  })

  test('an entry in use keeps its frame, whatever its owner writes into it', () => {
    const { host, mfn, map } = granted(version)
    map(HOST)
    host.grant(1, 9, { to: 2, mfn: host.frame(1), flags: GTF.invalid })
    expect(map(HOST, { address: ADDRESS + 4096 })).toMatchObject({ status: GNTST.okay, mfn })
    expect(host.tables.map(vcpuOf(domId(2)), { address: 0, flags: HOST, ref: 9, domid: 1 }).status).toBe(GNTST.general_error)
  })

  test.each([
    ['an invalid entry', { to: 0, flags: GTF.invalid }, GNTST.general_error],
    ['an entry for somebody else', { to: 2 }, GNTST.general_error],
    ['an entry that accepts a transfer', { to: 0, flags: GTF.accept_transfer }, GNTST.general_error],
    ['a sub-page entry', { to: 0, flags: GTF.permit_access | GTF.sub_page }, GNTST.general_error],
    ['a transitive entry', { to: 0, flags: GTF.transitive }, GNTST.general_error],
    ['a frame that is not the owner’s', { to: 0, mfn: 'dom0' }, GNTST.bad_page],
    ['a frame that does not exist', { to: 0, mfn: 0xfffffff }, GNTST.bad_page],
    ['a page table', { to: 0, mfn: 'table' }, GNTST.general_error],
  ])('%s cannot be mapped, and nothing changes', (_name, fields, status) => {
    const { host, map, mfn: own } = granted(version)
    const named: Record<string, () => number> = { dom0: () => host.frame(0), table: () => host.frame(1) }
    const wanted = (fields as { mfn?: string | number }).mfn ?? own
    const mfn = typeof wanted === 'string' ? named[wanted]!() : wanted
    if (wanted === 'table') host.records[mfn]!.isTable = true
    host.grant(1, 9, { ...fields, mfn })
    const before = host.snapshot()
    expect(map(HOST).status).toBe(status)
    expect(host.snapshot()).toBe(before)
    expect(host.tables.of(0)!.maptrack.count).toBe(0)
  })
})

describe('what is checked before the entry', () => {
  test.each([
    ['neither host nor device mapping', { flags: READONLY }, GNTST.bad_gntref],
    ['no such domain', { flags: HOST, domid: 7 }, GNTST.bad_domain],
    ['DOMID_SELF', { flags: HOST, domid: DOMID.SELF }, GNTST.bad_domain],
    ['a reference beyond the table', { flags: HOST, ref: 512 }, GNTST.bad_gntref],
    ['an address that cannot be mapped', { flags: HOST, address: -5 }, GNTST.general_error],
  ])('%s', (_name, { flags, ...more }, status) => {
    const { host, map } = granted()
    const before = host.snapshot()
    expect(map(flags, more).status).toBe(status)
    expect(host.snapshot()).toBe(before)
  })

  test('a domain may map its own grant', () => {
    const { host, guest, mfn } = granted()
    host.grant(1, 10, { to: 1, mfn })
    expect(host.tables.map(vcpuOf(guest), { address: ADDRESS, flags: HOST, ref: 10, domid: 1 }).status).toBe(GNTST.okay)
  })

  test('handles end where the limit of records is, and come back', () => {
    const { host, map, unmap } = granted()
    for (let i = 0; i < 8; i += 1) host.grant(1, 10 + i, { to: 0, mfn: host.frame(1) })
    const handles = Array.from({ length: 512 }, (_, i) => (
      map(HOST, { ref: 10 + (i & 7), address: ADDRESS + i * 4096 }).handle
    ))
    expect(new Set(handles).size).toBe(512)
    expect(map(HOST).status).toBe(GNTST.no_space)
    expect(unmap(handles[5]!, { address: ADDRESS + 5 * 4096 })).toBe(GNTST.okay)
    expect(map(HOST)).toMatchObject({ status: GNTST.okay, handle: handles[5]! })
  })

  test('one entry can be mapped 128 times of a kind, and then no more', () => {
    const { host, mfn, map } = granted()
    const statuses = Array.from({ length: 130 }, (_, i) => map(HOST | READONLY, { address: ADDRESS + i * 4096 }).status)
    expect(statuses.filter((status) => status === GNTST.okay)).toHaveLength(128)
    expect(statuses.slice(128)).toEqual([GNTST.general_error, GNTST.general_error])
    expect(host.counts(mfn)).toEqual([128, 0])
  })
})

describe('device mappings', () => {
  test('host and device mapping hold a reference each and go one by one', () => {
    const { host, mfn, map, unmap } = granted()
    const { handle } = map(HOST | DEVICE)
    expect(host.counts(mfn)).toEqual([2, 2])
    expect(unmap(handle, { address: 0, busAddress: mfn * 4096 + 4096 })).toBe(GNTST.bad_dev_addr)
    expect(unmap(handle, { address: 0, busAddress: mfn * 4096 })).toBe(GNTST.okay)
    expect(host.counts(mfn)).toEqual([1, 1])
    expect(host.inUse(1, 9)).toBe('rw')
    expect(unmap(handle)).toBe(GNTST.okay)
    expect(host.counts(mfn)).toEqual([0, 0])
    expect(unmap(handle)).toBe(GNTST.bad_handle)
  })

  test('an unmap that names no address does nothing', () => {
    const { host, mfn, map, unmap } = granted()
    const { handle } = map(HOST)
    expect(unmap(handle, { address: 0 })).toBe(GNTST.okay)
    expect(host.counts(mfn)).toEqual([1, 1])
  })
})

describe('unmapping through page-table entries', () => {
  test('an entry that maps something else is refused, and the mapping stays', () => {
    const { host, mfn, map, unmap } = granted()
    const { handle } = map(HOST)
    expect(unmap(handle, { address: ADDRESS + 4096 })).toBe(GNTST.general_error)
    expect(host.counts(mfn)).toEqual([1, 1])
    expect(unmap(handle)).toBe(GNTST.okay)
  })

  test('unmap_and_replace moves another entry there', () => {
    const { host, map, unmap } = granted()
    const { handle } = map(HOST)
    host.entries.set('0:64', { mfn: 77, readOnly: false })
    expect(unmap(handle, { newAddress: 64 })).toBe(GNTST.okay)
    expect([...host.entries]).toEqual([[`0:${ADDRESS}`, { mfn: 77, readOnly: false }]])
  })

  test.each([100, 511, 512, 0xffffffff])('handle %i, never given, is bad', (handle) => {
    expect(granted().unmap(handle)).toBe(GNTST.bad_handle)
  })
})

describe('guests without page tables', () => {
  test('get the frame, and unmap without an address', () => {
    const { host, other, mfn } = granted()
    host.grant(1, 11, { to: 2, mfn })
    const { status, handle, mfn: frame } = host.tables.map(vcpuOf(other), { address: 0, flags: HOST, ref: 11, domid: 1 })
    expect([status, frame, host.counts(mfn), host.entries.size]).toEqual([GNTST.okay, mfn, [1, 1], 0])
    expect(host.tables.unmap(vcpuOf(other), { handle, address: 0, busAddress: 0, newAddress: 0 })).toBe(GNTST.okay)
    expect(host.counts(mfn)).toEqual([0, 0])
  })
})

describe('dying domains', () => {
  test('a granting domain dies: what others map stays until they unmap it, and nobody maps more', () => {
    const { host, guest, mfn, map, unmap } = granted()
    const { handle } = map(HOST)
    host.tables.retireDomain(guest)
    host.frames.putPage(mfn)
    expect(host.records[mfn]).toMatchObject({ owner: 1, references: 1, writable: 1 })
    expect(map(HOST).status).toBe(GNTST.bad_gntref)
    expect(unmap(handle)).toBe(GNTST.okay)
    expect(host.records[mfn]).toMatchObject({ owner: -1, references: 0, writable: 0 })
    expect(host.tables.of(1)!.active.size).toBe(0)
  })

  test('a mapping domain without page tables dies: its references go', () => {
    const { host, other, mfn } = granted()
    host.grant(1, 11, { to: 2, mfn })
    host.tables.map(vcpuOf(other), { address: 0, flags: HOST | DEVICE, ref: 11, domid: 1 })
    host.tables.removeDomain(other)
    expect(host.counts(mfn)).toEqual([0, 0])
    expect(host.inUse(1, 11)).toBe('--')
    expect(host.tables.of(2)).toBeUndefined()
  })

  test('a mapping domain with page tables dies: the entries’ references are left to the page tables', () => {
    const { host, dom0, mfn, map } = granted()
    map(HOST | DEVICE)
    host.tables.retireDomain(dom0)
    expect(host.counts(mfn)).toEqual([1, 1])
    expect(host.inUse(1, 9)).toBe('--')
  })

  test('a handle whose granting domain is gone crashes the domain that holds it', () => {
    const { host, guest, map, unmap } = granted()
    const { handle } = map(HOST)
    host.tables.removeDomain(guest)
    expect(unmap(handle)).toBe(GNTST.bad_domain)
    expect(host.crashed).toHaveLength(1)
  })

  test('all frames of a table go with its domain', () => {
    const host = new GrantHostDouble()
    const budget = host.budget
    const id = host.domain(1)
    host.tables.setVersion(id, 2)
    host.tables.setup(id, DOMID.SELF, 4)
    host.tables.removeDomain(id)
    expect(host.budget).toBe(budget)
  })
})
