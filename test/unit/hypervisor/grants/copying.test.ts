import { describe, expect, test } from 'vitest'
import { DOMID, GNTST, GTF, GrantEntryV2 } from '../../../../src/abi/index.ts'
import type { CopySide } from '../../../../src/hypervisor/grants/index.ts'
import { SeededRandom, below } from '../../../../src/util/index.ts'
import { GrantHostDouble, vcpuOf } from '../../../support/grant-host.ts'

const PAGE = 4096
const frameSide = (number: number, offset = 0): CopySide => ({ domid: DOMID.SELF, isGrant: false, number, offset })
const grantSide = (domid: number, number: number, offset = 0): CopySide => ({ domid, isGrant: true, number, offset })

/** Guest 1 grants entry 9 to dom0; dom0 has a frame of its own, full of 7s. */
function copying(flags: number = GTF.permit_access) {
  const host = new GrantHostDouble()
  const [dom0, guest, other] = [host.domain(0), host.domain(1), host.domain(2)]
  const theirs = host.frame(1)
  const own = host.frame(0)
  host.memory.bytes.fill(1, theirs * PAGE, (theirs + 1) * PAGE)
  host.memory.bytes.fill(7, own * PAGE, (own + 1) * PAGE)
  host.grant(1, 9, { to: 0, mfn: theirs, flags })
  const copy = (source: CopySide, destination: CopySide, length = 16): number =>
    host.tables.copy(dom0, { source, destination, length })
  const byte = (mfn: number, offset: number): number => host.memory.bytes[mfn * PAGE + offset]!
  return { host, dom0, guest, other, theirs, own, copy, byte }
}

describe('copying', () => {
  test('from a grant into an own frame, and back; nothing stays held', () => {
    const { host, theirs, own, copy, byte } = copying()
    expect(copy(grantSide(1, 9, 100), frameSide(own, 200))).toBe(GNTST.okay)
    expect([byte(own, 199), byte(own, 200), byte(own, 215), byte(own, 216)]).toEqual([7, 1, 1, 7])
    expect(copy(frameSide(own, 0), grantSide(1, 9, 0), 8)).toBe(GNTST.okay)
    expect([byte(theirs, 7), byte(theirs, 8)]).toEqual([7, 1])
    expect(host.written).toEqual([own, theirs])
    expect([host.counts(theirs), host.counts(own), host.inUse(1, 9), host.tables.of(1)!.active.size])
      .toEqual([[0, 0], [0, 0], '--', 0])
  })

  test('between two grants, and from an entry to itself', () => {
    const { host, theirs, copy, byte } = copying()
    host.grant(1, 10, { to: 0, mfn: theirs })
    host.memory.bytes[theirs * PAGE] = 42
    expect(copy(grantSide(1, 9, 0), grantSide(1, 10, 300), 1)).toBe(GNTST.okay)
    expect(copy(grantSide(1, 9, 0), grantSide(1, 9, 400), 1)).toBe(GNTST.okay)
    expect([byte(theirs, 300), byte(theirs, 400)]).toEqual([42, 42])
    expect(host.counts(theirs)).toEqual([0, 0])
  })

  test('overlapping bytes of one frame are copied as they were', () => {
    const { host, own, copy } = copying()
    host.memory.bytes.set([1, 2, 3, 4], own * PAGE)
    expect(copy(frameSide(own, 0), frameSide(own, 1), 3)).toBe(GNTST.okay)
    expect([...host.memory.bytes.subarray(own * PAGE, own * PAGE + 4)]).toEqual([1, 1, 2, 3])
  })

  test.each([
    ['a frame of another domain', { source: { ...frameSide(1), domid: 1 } }, GNTST.permission_denied],
    ['a domain that does not exist', { source: grantSide(8, 9) }, GNTST.bad_domain],
    ['a reference beyond the table', { source: grantSide(1, 512) }, GNTST.bad_gntref],
    ['an entry that is invalid', { source: grantSide(1, 20) }, GNTST.general_error],
    ['a frame that is not one’s own', { source: frameSide(100) }, GNTST.bad_page],
    ['a frame that does not exist', { source: frameSide(2 ** 40) }, GNTST.bad_page],
    ['more than the source page', { source: grantSide(1, 9, PAGE - 15) }, GNTST.bad_copy_arg],
    ['more than the destination page', { destination: 'far' }, GNTST.bad_copy_arg],
    ['an offset of 64 KiB', { source: grantSide(1, 9, 65535), length: 1 }, GNTST.bad_copy_arg],
  ])('%s is refused, and nothing changes', (_name, fields, status) => {
    const { host, own, copy } = copying()
    const { source = grantSide(1, 9), destination, length = 16 } = fields as
      { source?: CopySide; destination?: string; length?: number }
    const before = host.snapshot()
    expect(copy(source, frameSide(own, destination === 'far' ? PAGE - 1 : 0), length)).toBe(status)
    expect(host.snapshot()).toBe(before)
  })

  test('a read-only entry can be read and not written', () => {
    const { host, own, copy } = copying(GTF.permit_access | GTF.readonly)
    expect(copy(grantSide(1, 9), frameSide(own))).toBe(GNTST.okay)
    const before = host.snapshot()
    expect(copy(frameSide(own), grantSide(1, 9))).toBe(GNTST.general_error)
    expect(host.snapshot()).toBe(before)
  })

  test('a page table can be read and not written', () => {
    const { host, theirs, own, copy } = copying()
    host.records[theirs]!.isTable = true
    expect(copy(grantSide(1, 9), frameSide(own))).toBe(GNTST.okay)
    const before = host.snapshot()
    expect(copy(frameSide(own), grantSide(1, 9))).toBe(GNTST.general_error)
    expect(host.snapshot()).toBe(before)
  })

  test('an entry mapped read-only becomes writable for a copy, and its bit goes afterwards', () => {
    const { host, dom0, own, copy } = copying()
    host.tables.map(vcpuOf(dom0), { address: 64, flags: 2 | 4, ref: 9, domid: 1 })
    expect(host.inUse(1, 9)).toBe('r-')
    expect(copy(frameSide(own), grantSide(1, 9))).toBe(GNTST.okay)
    expect(host.inUse(1, 9)).toBe('r-')
  })

  test('an entry in use that now names another frame is not written through', () => {
    const { host, dom0, own, copy } = copying()
    host.tables.map(vcpuOf(dom0), { address: 64, flags: 2 | 4, ref: 9, domid: 1 })
    host.grant(1, 9, { to: 0, mfn: host.frame(1) })
    expect(copy(frameSide(own), grantSide(1, 9))).toBe(GNTST.general_error)
  })
})

describe('version 2 entries', () => {
  function version2() {
    const all = copying()
    all.host.tables.setVersion(all.guest, 2)
    all.host.tables.setVersion(all.other, 2)
    return all
  }

  test('a sub-page grant gives its bytes and no others', () => {
    const { host, dom0, theirs, own, copy } = version2()
    GrantEntryV2.encode(host.memory.view, host.tables.of(1)!.entryAt(9), {
      flags: GTF.permit_access | GTF.sub_page, domid: 0, pageOff: 128, length: 64, subPageFrame: BigInt(theirs),
    })
    expect(copy(grantSide(1, 9, 128), frameSide(own), 64)).toBe(GNTST.okay)
    expect(copy(frameSide(own), grantSide(1, 9, 191), 1)).toBe(GNTST.okay)
    expect(copy(grantSide(1, 9, 127), frameSide(own), 2)).toBe(GNTST.general_error)
    expect(copy(grantSide(1, 9, 128), frameSide(own), 65)).toBe(GNTST.general_error)
    expect([host.counts(theirs), host.inUse(1, 9)]).toEqual([[0, 0], '--'])
    const mapped = host.tables.map(vcpuOf(dom0), { address: 64, flags: 2, ref: 9, domid: 1 })
    expect(mapped.status).toBe(GNTST.general_error)
  })

  /** Domain 2 grants its entry 3 to guest 1, which passes it on to dom0 as entry 9. */
  function passedOn(inner: number = GTF.permit_access) {
    const all = version2()
    const { host } = all
    const source = host.frame(2)
    host.memory.bytes.fill(5, source * PAGE, (source + 1) * PAGE)
    host.grant(2, 3, { to: 1, mfn: source, flags: inner })
    GrantEntryV2.encode(host.memory.view, host.tables.of(1)!.entryAt(9), {
      flags: GTF.transitive, domid: 0, transDomid: 2, gref: 3,
    })
    return { ...all, source }
  }

  test('a transitive grant passes on what another domain granted', () => {
    const { host, source, own, copy, byte } = passedOn()
    expect(copy(grantSide(1, 9), frameSide(own))).toBe(GNTST.okay)
    expect(byte(own, 0)).toBe(5)
    expect(copy(frameSide(own, 20), grantSide(1, 9, 8), 4)).toBe(GNTST.okay)
    expect(byte(source, 8)).toBe(7)
    expect([host.counts(source), host.inUse(1, 9), host.inUse(2, 3)]).toEqual([[0, 0], '--', '--'])
  })

  test.each([
    ['does not grant to it', (h: GrantHostDouble) => h.grant(2, 3, { to: 0, mfn: 1 })],
    ['grants read-only', (h: GrantHostDouble) => h.grant(2, 3, {
      to: 1, mfn: h.tables.of(2)!.frameOf(3), flags: GTF.permit_access | GTF.readonly,
    })],
    ['passes on itself', (h: GrantHostDouble) => h.grant(2, 3, { to: 1, mfn: 0, flags: GTF.transitive })],
  ])('it fails where the domain behind %s, and nothing changes', (_name, spoil) => {
    const { host, own, copy } = passedOn()
    spoil(host)
    const before = host.snapshot()
    expect(copy(frameSide(own), grantSide(1, 9))).toBe(GNTST.general_error)
    expect(host.snapshot()).toBe(before)
  })

  const NAMED = [[1, 'itself'], [9, 'nobody'], [DOMID.SELF, 'DOMID_SELF']] as const
  test.each(NAMED)('a transitive grant that names %i (%s) is refused', (transDomid) => {
    const { host, own, copy } = passedOn()
    GrantEntryV2.encode(host.memory.view, host.tables.of(1)!.entryAt(9), { transDomid })
    const before = host.snapshot()
    expect(copy(grantSide(1, 9), frameSide(own))).toBe(GNTST.general_error)
    expect(host.snapshot()).toBe(before)
  })
})

describe('both versions', () => {
  const FLAGS = [
    GTF.permit_access, GTF.permit_access, GTF.permit_access, GTF.permit_access | GTF.readonly, GTF.invalid,
    GTF.accept_transfer,
  ] as const

  /** A host with a few grants and mappings that a seed chooses, its guests' tables of one version. */
  function chosen(seed: number, version: 1 | 2) {
    const all = copying()
    const { host, dom0, theirs, own } = all
    const random = new SeededRandom(seed)
    const pick = <T>(...from: readonly T[]): T => from[below(random, from.length)]!
    const others = host.frame(2)
    for (const domid of [all.guest, all.other]) host.tables.setVersion(domid, version)
    for (const ref of [8, 9, 10]) {
      host.grant(1, ref, { to: pick(0, 0, 0, 2), mfn: pick(theirs, theirs, own, others, 127), flags: pick(...FLAGS) })
    }
    if (below(random, 3) === 0) host.records[theirs]!.isTable = true
    if (below(random, 3) === 0) host.tables.map(vcpuOf(dom0), { address: 64, flags: pick(2, 2 | 4), ref: pick(8, 9), domid: 1 })
    const side = (): CopySide => pick(
      grantSide(1, pick(8, 9, 9, 10, 11, 600), pick(0, 100, 4090)), frameSide(pick(own, own, others, theirs), pick(0, 300)),
    )
    const statuses = Array.from({ length: 6 }, () => all.copy(side(), side(), pick(0, 1, 16, 4096)))
    // The tables themselves differ, what they say does not.
    const states = [8, 9, 10].map((ref) => [host.inUse(1, ref), host.tables.of(1)!.active.get(ref)?.pin])
    const bytes = [theirs, own, others].map((mfn) => Buffer.from(host.memory.bytes.subarray(mfn * PAGE, (mfn + 1) * PAGE)).toString('base64'))
    return { statuses, states, bytes, counts: [theirs, own, others].map((mfn) => host.counts(mfn)), written: host.written.filter((mfn) => [theirs, own, others].includes(mfn)) }
  }

  test('answer alike for whole pages and leave the same behind, whatever was granted, mapped and copied', () => {
    const reached = new Map<number, number>()
    for (let seed = 1; seed <= 1500; seed += 1) {
      const first = chosen(seed, 1)
      expect(first, `seed ${seed}`).toEqual(chosen(seed, 2))
      for (const status of first.statuses) reached.set(status, (reached.get(status) ?? 0) + 1)
    }
    for (const status of [GNTST.okay, GNTST.general_error, GNTST.bad_gntref, GNTST.bad_page, GNTST.bad_copy_arg]) {
      expect(reached.get(status), `status ${status}`).toBeGreaterThan(100)
    }
  }, 60_000)
})
