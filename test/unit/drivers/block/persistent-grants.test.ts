import { expect, test } from 'vitest'
import { PERSISTENT_GRANT_LIMIT } from '../../../../src/drivers/index.ts'
import { PersistentGrants } from '../../../../src/drivers/block/persistent-grants.ts'
import type { GrantHandle } from '../../../../src/util/index.ts'

const handle = (number: number): GrantHandle => number as GrantHandle

test('grants are found by their number until they are cleared, and their handles come back', () => {
  const grants = new PersistentGrants()
  grants.keep(9, 100, handle(1))
  grants.keep(5000, 200, handle(2))
  expect([9, 10, 5000, 5001, 0xffff_ffff].map((ref) => grants.frameOf(ref))).toEqual([100, 0, 200, 0, 0])
  expect(grants.clear()).toEqual([1, 2])
  expect([grants.size, grants.frameOf(9), grants.clear()]).toEqual([0, 0, []])
})

test('there is room for so many grants, and for none whose number no grant table reaches', () => {
  const grants = new PersistentGrants()
  expect([0, 65_535, 65_536, 0xffff_ffff].map((ref) => grants.hasRoom(ref))).toEqual([true, true, false, false])
  for (let ref = 0; ref < PERSISTENT_GRANT_LIMIT; ref += 1) {
    expect(grants.hasRoom(ref)).toBe(true)
    grants.keep(ref, ref + 1, handle(ref))
  }
  expect(grants.hasRoom(PERSISTENT_GRANT_LIMIT)).toBe(false)
})
