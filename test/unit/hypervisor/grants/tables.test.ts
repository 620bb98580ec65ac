import { describe, expect, test } from 'vitest'
import { DOMID, ERRNO, GNTMAP, GNTST, GTF, GrantEntryV1, GrantEntryV2 } from '../../../../src/abi/index.ts'
import { domId } from '../../../../src/util/index.ts'
import { GrantHostDouble, vcpuOf } from '../../../support/grant-host.ts'

function domains() {
  const host = new GrantHostDouble()
  const [dom0, guest, other] = [host.domain(0), host.domain(1), host.domain(2)]
  return { host, tables: host.tables, dom0, guest, other }
}

describe('setting up', () => {
  test('a table begins with one frame and grows to its limit, keeping its entries', () => {
    const { host, tables, guest } = domains()
    host.grant(1, 20, { to: 0, mfn: 5 })
    const first = tables.setup(guest, DOMID.SELF, 1)
    const all = tables.setup(guest, DOMID.SELF, 4)
    expect(first).toHaveLength(1)
    expect(all).toHaveLength(4)
    expect((all as number[])[0]).toBe((first as number[])[0])
    expect(tables.querySize(guest, DOMID.SELF)).toEqual({ frames: 4, maxFrames: 4 })
    expect(tables.setup(guest, DOMID.SELF, 5)).toBe(GNTST.general_error)
    expect(tables.setup(guest, DOMID.SELF, 2)).toEqual((all as number[]).slice(0, 2))
    expect(tables.of(1)!.domainOf(20)).toBe(0)
    expect(tables.of(1)!.entryCount).toBe(2048)
  })

  test('another domain’s table is for those who may act for it', () => {
    const { tables, dom0, guest, other } = domains()
    expect(tables.setup(dom0, 1, 2)).toHaveLength(2)
    expect(tables.setup(other, 1, 2)).toBe(GNTST.permission_denied)
    expect(tables.setup(other, 9, 2)).toBe(GNTST.bad_domain)
    expect(tables.querySize(other, 1)).toBe(GNTST.permission_denied)
    expect(tables.querySize(other, 9)).toBe(GNTST.bad_domain)
    expect(tables.getVersion(dom0, 1)).toBe(1)
    expect(tables.getVersion(other, 1)).toBe(-ERRNO.EPERM)
    expect(tables.getVersion(other, 9)).toBe(-ERRNO.ESRCH)
    expect(tables.statusFrames(other, 1, 0)).toBe(GNTST.permission_denied)
    expect(tables.statusFrames(guest, DOMID.SELF, 1)).toBe(GNTST.general_error)
  })

  test('whoever has no table is answered, not thrown at', () => {
    const { tables, dom0 } = domains()
    const nobody = domId(9)
    const copied = { domid: nobody, offset: 0, ref: 0, mfn: 0, isRef: false }
    expect(tables.map(vcpuOf(nobody), { domid: dom0, ref: 8, flags: GNTMAP.host_map, address: 0 }).status).toBe(GNTST.bad_domain)
    expect(tables.unmap(vcpuOf(nobody), { handle: 0, address: 0, deviceAddress: 0 } as never)).toBe(GNTST.bad_domain)
    expect(tables.copy(nobody, { source: copied, target: copied, length: 1 } as never)).toBe(GNTST.bad_domain)
    expect(tables.transfer(nobody, { domid: dom0, ref: 8, mfn: 1 } as never)).toBe(GNTST.bad_domain)
    expect(tables.swap(nobody, 8, 9)).toBe(GNTST.bad_domain)
    expect([tables.setVersion(nobody, 2), tables.versionOf(nobody), tables.getVersion(nobody, DOMID.SELF)]).toEqual([-ERRNO.ESRCH, -ERRNO.ESRCH, -ERRNO.ESRCH])
  })

  test('without memory a table does not grow, and nothing is lost', () => {
    const { host, tables, guest } = domains()
    host.budget = 2
    expect(tables.setup(guest, DOMID.SELF, 4)).toBe(GNTST.general_error)
    expect(host.budget).toBe(2)
    expect(tables.querySize(guest, DOMID.SELF)).toEqual({ frames: 1, maxFrames: 4 })
    host.budget = 0
    expect(tables.addDomain({ id: domId(3), maxGrantFrames: 4, maxMaptrackFrames: 2, maxVersion: 2, mapsBy: 'table' })).toBe(-ERRNO.ENOMEM)
    expect(tables.of(3)).toBeUndefined()
  })
})

describe('versions', () => {
  test('version 2 keeps the first eight entries with their bits, clears the others, and adds status frames', () => {
    const { host, tables, guest, dom0 } = domains()
    const mfn = host.frame(1)
    tables.seed(guest, 1, { remote: domId(0), frame: mfn })
    host.grant(1, 8, { to: 0, mfn })
    const { handle } = tables.map(vcpuOf(dom0), { address: 64, flags: GNTMAP.host_map, ref: 1, domid: 1 })
    expect(tables.setVersion(guest, 2)).toBe(0)
    expect(tables.versionOf(guest)).toBe(2)
    expect(host.inUse(1, 1)).toBe('rw')
    expect([1, 8].map((ref) => [tables.of(1)!.flagsOf(ref), tables.of(1)!.domainOf(ref), tables.of(1)!.frameOf(ref)]))
      .toEqual([[GTF.permit_access, 0, mfn], [0, 0, 0]])
    expect(tables.of(1)!.entryCount).toBe(256)
    expect(tables.statusFrames(guest, DOMID.SELF, 1)).toHaveLength(1)
    expect(tables.unmap(vcpuOf(dom0), { handle, address: 64, busAddress: 0, newAddress: 0 })).toBe(GNTST.okay)
    expect(host.inUse(1, 1)).toBe('--')
    expect(tables.setVersion(guest, 1)).toBe(0)
    expect([tables.of(1)!.frameOf(1), tables.of(1)!.flagsOf(1), tables.of(1)!.statusFrames.length])
      .toEqual([mfn, GTF.permit_access, 0])
  })

  test('going back keeps the bits of an entry in use', () => {
    const { host, tables, guest, dom0 } = domains()
    tables.setVersion(guest, 2)
    tables.seed(guest, 0, { remote: domId(0), frame: host.frame(1) })
    tables.map(vcpuOf(dom0), { address: 64, flags: GNTMAP.host_map | GNTMAP.readonly, ref: 0, domid: 1 })
    expect(tables.setVersion(guest, 1)).toBe(0)
    expect(host.inUse(1, 0)).toBe('r-')
  })

  const VERSIONS = [[0, -ERRNO.EINVAL], [3, -ERRNO.EINVAL], [0xffffffff, -ERRNO.EINVAL], [1, 0]] as const
  test.each(VERSIONS)('set_version %i gives %i', (version, result) => {
    const { tables, guest } = domains()
    expect(tables.setVersion(guest, version)).toBe(result)
  })

  test('a change is refused while an entry beyond the first eight is in use', () => {
    const { host, tables, guest, dom0 } = domains()
    host.grant(1, 8, { to: 0, mfn: host.frame(1) })
    tables.map(vcpuOf(dom0), { address: 64, flags: GNTMAP.host_map, ref: 8, domid: 1 })
    expect(tables.setVersion(guest, 2)).toBe(-ERRNO.EBUSY)
    expect(tables.of(1)!.domainOf(8)).toBe(0)
  })

  test('going back is refused for entries that version 1 cannot hold, and while a status frame is mapped', () => {
    const { host, tables, guest } = domains()
    tables.setVersion(guest, 2)
    host.grant(1, 3, { to: 0, mfn: 1, flags: GTF.transitive })
    expect(tables.setVersion(guest, 1)).toBe(-ERRNO.ERANGE)
    const at = tables.of(1)!.entryAt(3)
    GrantEntryV2.encode(host.memory.view, at, { flags: GTF.permit_access, fullPageFrame: 1n << 32n })
    expect(tables.setVersion(guest, 1)).toBe(-ERRNO.ERANGE)
    host.grant(1, 3, { to: 0, mfn: 1 })
    const [status] = tables.statusFrames(guest, DOMID.SELF, 1) as number[]
    host.frames.getPage(status!, guest)
    expect(tables.setVersion(guest, 1)).toBe(-ERRNO.EBUSY)
    expect(tables.of(1)!.frameOf(3)).toBe(1)
    host.frames.putPage(status!)
    expect(tables.setVersion(guest, 1)).toBe(0)
  })

  test('a domain held to version 1 has no version 2', () => {
    const host = new GrantHostDouble()
    const guest = host.domain(1, { maxVersion: 1 })
    expect(host.tables.setVersion(guest, 2)).toBe(-ERRNO.ENOSYS)
  })

  test('without memory for status frames the version stays', () => {
    const { host, tables, guest } = domains()
    host.grant(1, 30, { to: 0, mfn: 5 })
    host.budget = 0
    expect(tables.setVersion(guest, 2)).toBe(-ERRNO.ENOMEM)
    expect([tables.versionOf(guest), tables.of(1)!.frameOf(30)]).toEqual([1, 5])
  })

  test('a table of version 2 grows with its status frames', () => {
    const host = new GrantHostDouble()
    const guest = host.domain(1, { maxGrantFrames: 20 })
    host.tables.setVersion(guest, 2)
    expect(host.tables.setup(guest, DOMID.SELF, 20)).toHaveLength(20)
    expect(host.tables.statusFrames(guest, DOMID.SELF, 3)).toHaveLength(3)
    expect(host.tables.statusFrames(guest, DOMID.SELF, 4)).toBe(GNTST.general_error)
    host.grant(1, 5119, { to: 1, mfn: host.frame(1) })
    const map = (ref: number) => host.tables.map(vcpuOf(guest), { address: 64, flags: GNTMAP.host_map, ref, domid: 1 }).status
    expect(map(5119)).toBe(GNTST.okay)
    expect(host.inUse(1, 5119)).toBe('rw')
    expect(map(5120)).toBe(GNTST.bad_gntref)
  })
})

describe('swapping', () => {
  test.each([1, 2] as const)('exchanges two entries of version %i that are not in use', (version) => {
    const { host, tables, guest, dom0 } = domains()
    tables.setVersion(guest, version)
    const [a, b] = [host.frame(1), host.frame(1)]
    host.grant(1, 10, { to: 0, mfn: a })
    host.grant(1, 11, { to: 2, mfn: b, flags: GTF.permit_access | GTF.readonly })
    expect(tables.swap(guest, 10, 11)).toBe(GNTST.okay)
    expect([10, 11].map((ref) => [tables.of(1)!.frameOf(ref), tables.of(1)!.domainOf(ref)])).toEqual([[b, 2], [a, 0]])
    tables.map(vcpuOf(dom0), { address: 64, flags: GNTMAP.host_map, ref: 11, domid: 1 })
    expect([tables.swap(guest, 10, 11), tables.swap(guest, 11, 10), tables.swap(guest, 11, 11)])
      .toEqual([GNTST.eagain, GNTST.eagain, GNTST.okay])
    expect([tables.swap(guest, 9999, 1), tables.swap(guest, 1, 9999)]).toEqual([GNTST.bad_gntref, GNTST.bad_gntref])
  })
})

describe('the toolstack’s entries', () => {
  test('are written in the version in force, and not beyond the table', () => {
    const { host, tables, guest } = domains()
    tables.seed(guest, 0, { remote: domId(0), frame: 33 })
    expect(GrantEntryV1.decode(host.memory.view, tables.of(1)!.entryAt(0))).toEqual({ flags: 1, domid: 0, frame: 33 })
    expect(tables.seed(guest, 512, { remote: domId(0), frame: 33 })).toBe(-ERRNO.EINVAL)
    expect(tables.seed(domId(9), 0, { remote: domId(0), frame: 33 })).toBe(-ERRNO.ESRCH)
  })
})

describe('flushing the cache', () => {
  const page = 4096
  test.each([
    ['an own frame', { mfn: 'own' }, 0],
    ['nothing', { mfn: 'own', length: 0 }, 0],
    ['invalidating only', { mfn: 'own', op: 2 }, -ERRNO.EOPNOTSUPP],
    ['beyond the page', { mfn: 'own', offset: 8, length: page - 7 }, -ERRNO.EINVAL],
    ['an offset beyond the page', { mfn: 'own', offset: page, length: 0 }, -ERRNO.EINVAL],
    ['an unknown operation', { mfn: 'own', op: 4 }, -ERRNO.EINVAL],
    ['a frame that does not exist', { mfn: 1 << 20 }, -ERRNO.EINVAL],
    ['a frame of somebody else', { mfn: 'foreign' }, -ERRNO.EPERM],
    ['a frame of somebody else that is mapped', { mfn: 'mapped' }, 0],
  ])('of %s', (_name, fields, expected) => {
    const { host, tables, guest } = domains()
    const foreign = host.frame(2)
    const mapped = host.frame(2)
    host.grant(2, 10, { to: 1, mfn: mapped })
    tables.map(vcpuOf(guest), { address: 64, flags: GNTMAP.host_map, ref: 10, domid: 2 })
    const { mfn, ...rest } = fields as { mfn: string | number; offset?: number; length?: number; op?: number }
    const frame = typeof mfn === 'number' ? mfn : { own: host.frame(1), foreign, mapped }[mfn]!
    expect(tables.cacheFlush(guest, { address: frame * page, offset: 0, length: 16, op: 1, ...rest })).toBe(expected)
  })
})
