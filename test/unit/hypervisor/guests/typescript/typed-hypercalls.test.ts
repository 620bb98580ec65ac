/** What guests in TypeScript hand over by their door: numbers of any kind, taken as the ABI's fields would take them. */
import { describe, expect, test } from 'vitest'
import { GNTST, GTF, GrantEntryV1 } from '../../../../../src/abi/index.ts'
import type { GrantHandle, GrantRef } from '../../../../../src/util/index.ts'
import { TestHost } from '../../../../support/hypervisor-host.ts'

/** A guest that grants a frame to another one by its entry 8. */
function granting() {
  const host = new TestHost()
  const [giver, taker] = [host.guest(), host.guest()]
  const [table] = host.hypervisor.port(giver.domid).setupGrantTable(1) as readonly number[]
  GrantEntryV1.encode(host.memory.view, table! * 4096 + 8 * GrantEntryV1.size, { flags: GTF.permit_access, domid: taker.domid, frame: giver.frames[1]! })
  return { host, giver, taker, port: host.hypervisor.port(taker.domid) }
}

describe('a grant reference', () => {
  test.each([-1, -8, 512.5, 2 ** 31, Infinity])('of %d names no entry of the table, and nothing is read for it', (ref) => {
    const { host, giver, port, taker } = granting()
    // Where such a number might lead: an entry that would be granted.
    GrantEntryV1.encode(host.memory.view, 0, { flags: GTF.permit_access, domid: taker.domid, frame: giver.frames[1]! })
    const status = ref === Infinity ? GNTST.general_error : GNTST.bad_gntref
    expect(port.mapGrant({ domid: giver.domid, ref: ref as GrantRef }).status).toBe(status)
    expect(host.problems()).toEqual([])
  })

  test('with a fraction is the whole number below it, as is the use that it finds there', () => {
    const { host, giver, port } = granting()
    const handles = [8, 8.5].map((ref) => port.mapGrant({ domid: giver.domid, ref: ref as GrantRef })).map(({ status, handle }) => (status === 0 ? handle : status))
    expect(handles.map((handle) => port.unmapGrant(handle as GrantHandle))).toEqual([GNTST.okay, GNTST.okay])
    expect(host.problems()).toEqual([])
  })
})
