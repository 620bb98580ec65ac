import { describe, expect, test } from 'vitest'
import { GNTST, GTF } from '../../../../src/abi/index.ts'
import { GrantHostDouble } from '../../../support/grant-host.ts'

function transferring(version: 1 | 2 = 1, flags: number = GTF.accept_transfer) {
  const host = new GrantHostDouble()
  const giver = host.domain(1)
  const taker = host.domain(2)
  host.tables.setVersion(taker, version)
  host.grant(2, 12, { to: 1, mfn: 777, flags })
  return { host, giver, taker, mfn: host.frame(1), tables: host.tables }
}

describe('transfer', () => {
  test.each([1, 2] as const)('moves the frame to an entry of version %i that accepts it', (version) => {
    const { host, giver, tables, mfn } = transferring(version)
    expect(tables.transfer(giver, { mfn, domid: 2, ref: 12 })).toBe(GNTST.okay)
    expect(host.records[mfn]).toMatchObject({ owner: 2, references: 1 })
    expect([tables.of(2)!.frameOf(12), tables.of(2)!.flagsOf(12)])
      .toEqual([mfn, GTF.accept_transfer | GTF.transfer_committed | GTF.transfer_completed])
    expect(host.pfns.get(mfn)).toBe(777)
    expect(host.flushes).toBe(1)
  })

  test('an entry takes one frame only', () => {
    const { host, giver, tables, mfn } = transferring()
    tables.transfer(giver, { mfn, domid: 2, ref: 12 })
    expect(tables.transfer(giver, { mfn: host.frame(1), domid: 2, ref: 12 })).toBe(GNTST.general_error)
  })

  test.each([
    ['a frame of somebody else', { mfn: 'foreign' }, GNTST.bad_page],
    ['a frame that does not exist', { mfn: 1 << 21 }, GNTST.bad_page],
    ['a frame of the table', { mfn: 'table' }, GNTST.bad_page],
    ['a frame in use', { mfn: 'busy' }, GNTST.general_error],
  ])('%s stays where it is', (_name, fields, status) => {
    const { host, giver, tables } = transferring()
    const named: Record<string, () => number> = {
      foreign: () => host.frame(2),
      table: () => tables.of(1)!.frames[0]!,
      busy: () => {
        const mfn = host.frame(1)
        host.frames.getPage(mfn, giver)
        return mfn
      },
    }
    const mfn = typeof fields.mfn === 'number' ? fields.mfn : named[fields.mfn]!()
    const before = host.snapshot()
    expect(tables.transfer(giver, { mfn, domid: 2, ref: 12 })).toBe(status)
    expect(host.snapshot()).toBe(before)
  })

  test.each([
    ['no such domain', { domid: 9, ref: 12 }, GNTST.bad_domain],
    ['an entry that does not accept', { domid: 2, ref: 13 }, GNTST.general_error],
    ['a reference beyond the table', { domid: 2, ref: 512 }, GNTST.general_error],
  ])('with %s the frame is freed, as Xen does', (_name, target, status) => {
    const { host, giver, tables, mfn } = transferring()
    expect(tables.transfer(giver, { mfn, ...target })).toBe(status)
    expect(host.records[mfn]).toMatchObject({ owner: -1, references: 0 })
  })

  test('a domain without room does not get it, and its entry is not committed', () => {
    const { host, giver, tables, mfn } = transferring()
    host.full.add(2)
    expect(tables.transfer(giver, { mfn, domid: 2, ref: 12 })).toBe(GNTST.general_error)
    expect(tables.of(2)!.flagsOf(12)).toBe(GTF.accept_transfer)
  })
})
