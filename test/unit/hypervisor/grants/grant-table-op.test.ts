import { describe, expect, test } from 'vitest'
import {
  DOMID, ERRNO, GNTCOPY, GNTMAP, GNTST, GNTTABOP, NATIVE, GnttabCacheFlush, GnttabCopy, GnttabGetStatusFrames, GnttabGetVersion,
  GnttabMapGrantRef, GnttabQuerySize, GnttabSetVersion, GnttabSetupTable, GnttabSwapGrantRef, GnttabTransfer,
  GnttabUnmapAndReplace, GnttabUnmapGrantRef, GTF,
} from '../../../../src/abi/index.ts'
import { HypercallArguments } from '../../../../src/hypervisor/domains/hypercall.ts'
import { CALL_AGAIN } from '../../../../src/hypervisor/time/work-meter.ts'
import { grantTableOp } from '../../../../src/hypervisor/hypercalls/grant-table-op.ts'
import type { Vcpu } from '../../../../src/hypervisor/domains/domain.ts'
import { GrantHostDouble } from '../../../support/grant-host.ts'

const PAGE = 4096
/** Where the caller's arguments lie, in a memory of its own, and where that memory ends. */
const AT = 0x1000
const END = 0x80_000

/** Domain 1 grants, domain 0 calls. */
function caller() {
  const host = new GrantHostDouble()
  const [dom0, guest] = [host.domain(0), host.domain(1)]
  const memory = new Uint8Array(END)
  const view = new DataView(memory.buffer)
  const isInside = (address: number, size: number): boolean => address >= AT && address + size <= END
  const access = {
    read: (address: number, target: Uint8Array): boolean => {
      if (!isInside(address, target.length)) return false
      target.set(memory.subarray(address, address + target.length))
      return true
    },
    write: (address: number, source: Uint8Array): boolean => {
      if (!isInside(address, source.length)) return false
      memory.set(source, address)
      return true
    },
  }
  const { handler } = grantTableOp({ grants: host.tables as never, meter: host.meter }, NATIVE)
  const args = new HypercallArguments()
  // The handler asks a vCPU for no more than this.
  const vcpu = (domid: number): Vcpu => ({ domid, vcpu: 0, access, owner: { privileged: false } }) as unknown as Vcpu
  const call = (command: number, count = 1, address = AT, domid: number = dom0): number => {
    args.set(0, command)
    args.set(1, address)
    args.set(2, count)
    return handler(vcpu(domid), args)
  }
  return { host, dom0, guest, view, args, call, handler, vcpu }
}

describe('arrays of operations', () => {
  test('each mapping has its own status, handle and bus address', () => {
    const { host, view, call } = caller()
    const mfn = host.frame(1)
    host.grant(1, 9, { to: 0, mfn })
    ;[9, 10, 9].forEach((ref, i) => GnttabMapGrantRef.encode(view, AT + i * 32, {
      hostAddr: BigInt(64 * (i + 1)), flags: GNTMAP.host_map, ref, dom: i === 2 ? 7 : 1, handle: 0xabcd,
    }))
    expect(call(GNTTABOP.map_grant_ref, 3)).toBe(0)
    const results = [0, 1, 2].map((i) => GnttabMapGrantRef.decode(view, AT + i * 32))
    expect(results.map(({ status }) => status)).toEqual([GNTST.okay, GNTST.general_error, GNTST.bad_domain])
    expect(results.map(({ handle }) => handle)).toEqual([0, 0xabcd, 0xabcd])
    expect(results[0]!.devBusAddr).toBe(BigInt(mfn * PAGE))
    GnttabUnmapGrantRef.encode(view, AT, { hostAddr: 64n, handle: 0 })
    GnttabUnmapGrantRef.encode(view, AT + 24, { hostAddr: 64n, handle: 77 })
    expect(call(GNTTABOP.unmap_grant_ref, 2)).toBe(0)
    expect([0, 1].map((i) => GnttabUnmapGrantRef.status.get(view, AT + i * 24))).toEqual([GNTST.okay, GNTST.bad_handle])
    expect([host.counts(mfn), host.flushes]).toEqual([[0, 0], 1])
  })

  test('unmap_and_replace takes the other address', () => {
    const { host, view, call } = caller()
    host.grant(1, 9, { to: 0, mfn: host.frame(1) })
    host.entries.set('0:512', { mfn: 3, readOnly: false })
    GnttabMapGrantRef.encode(view, AT, { hostAddr: 64n, flags: GNTMAP.host_map, ref: 9, dom: 1 })
    call(GNTTABOP.map_grant_ref)
    GnttabUnmapAndReplace.encode(view, AT, { hostAddr: 64n, newAddr: 512n, handle: 0 })
    expect([call(GNTTABOP.unmap_and_replace), GnttabUnmapAndReplace.status.get(view, AT)]).toEqual([0, GNTST.okay])
    expect([...host.entries.keys()]).toEqual(['0:64'])
  })

  test('copy reads grants and frames from the same place in the structure', () => {
    const { host, view, call } = caller()
    const [theirs, own] = [host.frame(1), host.frame(0)]
    host.grant(1, 9, { to: 0, mfn: theirs })
    host.memory.bytes.fill(9, theirs * PAGE, theirs * PAGE + 8)
    const source = GnttabCopy.source.at(AT)
    const dest = GnttabCopy.dest.at(AT)
    GnttabCopy.encode(view, AT, { len: 8, flags: GNTCOPY.source_gref })
    GnttabCopy.source.layout.encode(view, source, { ref: 9, domid: 1, offset: 0 })
    GnttabCopy.dest.layout.encode(view, dest, { gmfn: BigInt(own), domid: DOMID.SELF, offset: 16 })
    expect([call(GNTTABOP.copy), GnttabCopy.status.get(view, AT)]).toEqual([0, GNTST.okay])
    expect(host.memory.bytes[own * PAGE + 23]).toBe(9)
    GnttabCopy.flags.set(view, AT, 0)
    expect([call(GNTTABOP.copy), GnttabCopy.status.get(view, AT)]).toEqual([0, GNTST.permission_denied])
  })

  test('transfer and swap answer in their status', () => {
    const { host, view, call } = caller()
    host.grant(1, 12, { to: 0, mfn: 5, flags: GTF.accept_transfer })
    GnttabTransfer.encode(view, AT, { mfn: BigInt(host.frame(0)), domid: 1, ref: 12 })
    expect([call(GNTTABOP.transfer), GnttabTransfer.status.get(view, AT)]).toEqual([0, GNTST.okay])
    GnttabSwapGrantRef.encode(view, AT, { refA: 1, refB: 9999 })
    expect([call(GNTTABOP.swap_grant_ref), GnttabSwapGrantRef.status.get(view, AT)]).toEqual([0, GNTST.bad_gntref])
  })

  test('the first bad cache flush ends the batch with its error', () => {
    const { host, view, call } = caller()
    const flush = { devBusAddr: BigInt(host.frame(0) * PAGE), offset: 0, length: 8, op: 1 }
    GnttabCacheFlush.encode(view, AT, flush)
    GnttabCacheFlush.encode(view, AT + 16, { ...flush, offset: 5000 })
    expect([call(GNTTABOP.cache_flush, 1), call(GNTTABOP.cache_flush, 2)]).toEqual([0, -ERRNO.EINVAL])
  })

  test('an array that ends outside the guest is EFAULT, after what lies before', () => {
    const { host, view, call } = caller()
    GnttabSwapGrantRef.encode(view, END - 12, { refA: 1, refB: 1, status: 5 })
    expect(call(GNTTABOP.swap_grant_ref, 2, END - 12)).toBe(-ERRNO.EFAULT)
    expect(GnttabSwapGrantRef.status.get(view, END - 12)).toBe(GNTST.okay)
    expect(call(GNTTABOP.map_grant_ref, 1, -PAGE)).toBe(-ERRNO.EFAULT)
    expect(host.tables.of(0)!.maptrack.count).toBe(0)
  })

  test('a long array is left in the middle and gone on with', () => {
    const { host, args, call, handler, vcpu, view } = caller()
    const most = 4000
    const count = most + 10
    for (let i = 0; i < count; i += 1) GnttabSwapGrantRef.encode(view, AT + i * 12, { refA: 1, refB: 1, status: 5 })
    host.meter.begin()
    expect(call(GNTTABOP.swap_grant_ref, count)).toBe(CALL_AGAIN)
    expect([args.address(1), args.u32(2)]).toEqual([AT + most * 12, 10])
    expect(host.meter.end()).toBe(200_000)
    expect(handler(vcpu(0), args)).toBe(0)
    expect(GnttabSwapGrantRef.status.get(view, AT + (count - 1) * 12)).toBe(GNTST.okay)
  })

  test.each([
    [GNTTABOP.map_grant_ref, 0x8000_0000, -ERRNO.EINVAL], [GNTTABOP.map_grant_ref, 0, 0],
    [GNTTABOP.dump_table, 1, -ERRNO.ENOSYS], [13, 1, -ERRNO.ENOSYS], [0xffff_ffff, 1, -ERRNO.ENOSYS],
    [GNTTABOP.setup_table, 2, -ERRNO.EINVAL],
    [GNTTABOP.query_size, 0, -ERRNO.EINVAL], [GNTTABOP.get_status_frames, 2, -ERRNO.EINVAL],
  ])('operation %i with a count of %i gives %i', (command, count, expected) => {
    expect(caller().call(command, count)).toBe(expected)
  })
})

describe('single operations', () => {
  const LIST = AT + 0x800

  test('setup_table lists the frames, and says so when the list cannot be written', () => {
    const { host, view, call } = caller()
    GnttabSetupTable.encode(view, AT, { dom: DOMID.SELF, nrFrames: 3, status: 9, frameList: BigInt(LIST) })
    expect([call(GNTTABOP.setup_table), GnttabSetupTable.status.get(view, AT)]).toEqual([0, GNTST.okay])
    expect([0, 1, 2].map((i) => Number(view.getBigUint64(LIST + i * 8, true)))).toEqual(host.tables.of(0)!.frames)
    GnttabSetupTable.frameList.set(view, AT, 8n)
    expect([call(GNTTABOP.setup_table), GnttabSetupTable.status.get(view, AT)]).toEqual([0, GNTST.bad_virt_addr])
    GnttabSetupTable.nrFrames.set(view, AT, 0xffffffff)
    expect([call(GNTTABOP.setup_table), GnttabSetupTable.status.get(view, AT)]).toEqual([0, GNTST.general_error])
    expect(call(GNTTABOP.setup_table, 1, 0)).toBe(-ERRNO.EFAULT)
  })

  test('query_size and the versions', () => {
    const { view, call } = caller()
    GnttabQuerySize.encode(view, AT, { dom: 1 })
    expect(call(GNTTABOP.query_size)).toBe(0)
    expect(GnttabQuerySize.decode(view, AT)).toEqual({ dom: 1, nrFrames: 1, maxNrFrames: 4, status: GNTST.okay })
    GnttabQuerySize.dom.set(view, AT, 9)
    expect([call(GNTTABOP.query_size), GnttabQuerySize.status.get(view, AT)]).toEqual([0, GNTST.bad_domain])
    GnttabSetVersion.version.set(view, AT, 3)
    expect([call(GNTTABOP.set_version), GnttabSetVersion.version.get(view, AT)]).toEqual([-ERRNO.EINVAL, 1])
    GnttabSetVersion.version.set(view, AT, 2)
    expect([call(GNTTABOP.set_version), GnttabSetVersion.version.get(view, AT)]).toEqual([0, 2])
    GnttabGetVersion.encode(view, AT, { dom: DOMID.SELF, version: 0 })
    expect([call(GNTTABOP.get_version), GnttabGetVersion.version.get(view, AT)]).toEqual([0, 2])
    expect(call(GNTTABOP.get_version, 1, AT, 1)).toBe(0)
    GnttabGetVersion.encode(view, AT, { dom: 0 })
    expect(call(GNTTABOP.get_version, 1, AT, 1)).toBe(-ERRNO.EPERM)
    GnttabGetStatusFrames.encode(view, AT, { nrFrames: 1, dom: DOMID.SELF, frameList: BigInt(LIST) })
    expect([call(GNTTABOP.get_status_frames), GnttabGetStatusFrames.status.get(view, AT)]).toEqual([0, GNTST.okay])
    expect(view.getUint32(LIST, true)).toBeGreaterThan(0)
  })
})
