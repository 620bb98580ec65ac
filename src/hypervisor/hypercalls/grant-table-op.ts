/**
 * grant_table_op: the arguments of each sub-operation, read once and answered one by one. A batch that is long is
 * left in the middle and called again with what is left. Reference: public/grant_table.h; xen/common/grant_table.c,
 * do_grant_table_op.
 */
import { PAGE_SIZE } from '../../x86/index.ts'
import {
  ERRNO, type GuestAbi, GNTCOPY, GNTST, GNTTABOP, GnttabCacheFlush, GnttabCopy, GnttabCopyPtr, GnttabGetStatusFrames, GnttabGetVersion,
  GnttabMapGrantRef, GnttabQuerySize, GnttabSetVersion, GnttabSetupTable, GnttabSwapGrantRef, GnttabTransfer,
  GnttabUnmapAndReplace, GnttabUnmapGrantRef,
} from '../../abi/index.ts'
import { signedFromParts, type WideField } from '../../util/index.ts'
import type { CopySide, GrantTables } from '../grants/index.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'
import type { Vcpu } from '../domains/domain.ts'
import { CALL_AGAIN, WORK, type WorkMeter } from '../time/work-meter.ts'
import type { HypercallArguments, HypercallHandler, HypercallRow, Support } from '../domains/hypercall.ts'
import { FULL, type Operations, byNumber, listed, refusalNumber, refused } from '../domains/hypercall-rows.ts'

/** The largest argument of one operation. */
const LARGEST = GnttabCopy.size

/**
 * One operation: takes its argument from the scratch, leaves its answer there. 0, or a negative error number that
 * ends the batch.
 */
type Operation = (caller: Vcpu, view: DataView) => number

/** An operation that takes an array of arguments. */
interface Batch {
  readonly size: number
  /** Bytes of the answer: written back from here to here. */
  readonly answer: readonly [from: number, to: number]
  readonly run: Operation
  /** Work of one, beside what depends on its arguments. */
  readonly price: number
  /** Whether translations have to go when the batch is over. */
  readonly flushes: boolean
}

/** One operation: a batch, or what takes one argument. */
interface GrantOperation {
  readonly support: Support
  readonly batch: Batch | undefined
  readonly single: HypercallHandler
}

const address = (field: WideField, view: DataView): number => signedFromParts(field.low(view, 0), field.high(view, 0))

function mapOne(tables: GrantTables<Vcpu>): Operation {
  const op = GnttabMapGrantRef
  return (caller, view) => {
    const result = tables.map(caller, {
      address: address(op.hostAddr, view), flags: op.flags.get(view, 0),
      ref: op.ref.get(view, 0), domid: op.dom.get(view, 0),
    })
    op.status.set(view, 0, result.status)
    if (result.status !== GNTST.okay) return 0
    op.handle.set(view, 0, result.handle)
    op.devBusAddr.setNumber(view, 0, result.mfn * PAGE_SIZE)
    return 0
  }
}

function unmapOne(tables: GrantTables<Vcpu>): Operation {
  const op = GnttabUnmapGrantRef
  return (caller, view) => {
    op.status.set(view, 0, tables.unmap(caller, {
      handle: op.handle.get(view, 0), address: address(op.hostAddr, view),
      busAddress: op.devBusAddr.number(view, 0), newAddress: 0,
    }))
    return 0
  }
}

function unmapAndReplaceOne(tables: GrantTables<Vcpu>): Operation {
  const op = GnttabUnmapAndReplace
  return (caller, view) => {
    op.status.set(view, 0, tables.unmap(caller, {
      handle: op.handle.get(view, 0), address: address(op.hostAddr, view),
      busAddress: 0, newAddress: address(op.newAddr, view),
    }))
    return 0
  }
}

function transferOne(tables: GrantTables<Vcpu>, abi: GuestAbi): Operation {
  const { mfn, domid, ref, status } = abi.of(GnttabTransfer)
  return (caller, view) => {
    status.set(view, 0, tables.transfer(caller.domid, {
      mfn: mfn.number(view, 0), domid: domid.get(view, 0), ref: ref.get(view, 0),
    }))
    return 0
  }
}

/** Reads one side of a copy, at byte `base`. */
function copySideOf(abi: GuestAbi): (view: DataView, base: number, isGrant: boolean) => CopySide {
  const { domid, offset, ref, gmfn } = abi.of(GnttabCopyPtr)
  return (view, base, isGrant) => ({
    domid: domid.get(view, base), offset: offset.get(view, base), isGrant,
    number: isGrant ? ref.get(view, base) : gmfn.number(view, base),
  })
}

function copyOne(tables: GrantTables<Vcpu>, abi: GuestAbi): Operation {
  const { flags: given, status, len, source, dest } = abi.of(GnttabCopy)
  const [from, to] = [source.at(0), dest.at(0)]
  const side = copySideOf(abi)
  return (caller, view) => {
    const flags = given.get(view, 0)
    status.set(view, 0, tables.copy(caller.domid, {
      source: side(view, from, (flags & GNTCOPY.source_gref) !== 0),
      destination: side(view, to, (flags & GNTCOPY.dest_gref) !== 0),
      length: len.get(view, 0),
    }))
    return 0
  }
}

function swapOne(tables: GrantTables<Vcpu>): Operation {
  const op = GnttabSwapGrantRef
  return (caller, view) => {
    op.status.set(view, 0, tables.swap(caller.domid, op.refA.get(view, 0), op.refB.get(view, 0)))
    return 0
  }
}

function cacheFlushOne(tables: GrantTables<Vcpu>): Operation {
  const op = GnttabCacheFlush
  return (caller, view) => tables.cacheFlush(caller.domid, {
    address: op.devBusAddr.number(view, 0), offset: op.offset.get(view, 0), length: op.length.get(view, 0),
    op: op.op.get(view, 0),
  })
}

/** Bytes of an argument that hold its answer. */
const statusOf = (op: { readonly status: { readonly offset: number } }): readonly [number, number] =>
  [op.status.offset, op.status.offset + 2]

/** The operations, by the names of their numbers. */
function operations(tables: GrantTables<Vcpu>, abi: GuestAbi): Operations<typeof GNTTABOP, GrantOperation> {
  const batch = (answer: readonly [number, number], { size }: { readonly size: number }, rest: {
    readonly run: Operation; readonly price: number; readonly flushes?: true
  }): GrantOperation => ({
    support: FULL, batch: { flushes: false, ...rest, size, answer }, single: () => -ERRNO.ENOSYS,
  })
  const one = (single: HypercallHandler, support: Support = FULL): GrantOperation => ({ support, batch: undefined, single })
  const single = new SingleOperations(tables, abi)
  const transfer = abi.of(GnttabTransfer)
  const copy = abi.of(GnttabCopy)
  const undumped = refused('ENOSYS', 'Xen has only its number')
  return {
    map_grant_ref: batch([0, GnttabMapGrantRef.size], GnttabMapGrantRef, { run: mapOne(tables), price: WORK.grant }),
    unmap_grant_ref: batch(statusOf(GnttabUnmapGrantRef), GnttabUnmapGrantRef, {
      run: unmapOne(tables), price: WORK.grant, flushes: true,
    }),
    setup_table: one((caller, args) => (args.u32(2) === 1 ? single.setupTable(caller, args.address(1)) : -ERRNO.EINVAL)),
    dump_table: one((caller) => refusalNumber(undumped, caller), undumped),
    transfer: batch(statusOf(transfer), transfer, {
      run: transferOne(tables, abi), price: WORK.grant + WORK.flush,
    }),
    copy: batch(statusOf(copy), copy, { run: copyOne(tables, abi), price: WORK.element }),
    query_size: one((caller, args) => (args.u32(2) === 1 ? single.querySize(caller, args.address(1)) : -ERRNO.EINVAL)),
    unmap_and_replace: batch(statusOf(GnttabUnmapAndReplace), GnttabUnmapAndReplace, {
      run: unmapAndReplaceOne(tables), price: WORK.grant, flushes: true,
    }),
    set_version: one((caller, args) => single.setVersion(caller, args.address(1))),
    get_status_frames: one((caller, args) =>
      (args.u32(2) === 1 ? single.statusFrames(caller, args.address(1)) : -ERRNO.EINVAL)),
    get_version: one((caller, args) => single.getVersion(caller, args.address(1))),
    swap_grant_ref: batch(statusOf(GnttabSwapGrantRef), GnttabSwapGrantRef, { run: swapOne(tables), price: WORK.element }),
    cache_flush: batch([0, 0], GnttabCacheFlush, { run: cacheFlushOne(tables), price: WORK.element }),
  }
}

/** What grant_table_op works on. */
export interface GrantOpParts {
  readonly grants: GrantTables<Vcpu>
  readonly meter: WorkMeter
}

/** Makes the row of grant_table_op for callers of one ABI. */
export function grantTableOp({ grants: tables, meter }: GrantOpParts, abi: GuestAbi): HypercallRow {
  const rows = operations(tables, abi)
  const flat = byNumber(GNTTABOP, rows)
  const scratch = new Scratch(LARGEST)
  const handler: HypercallHandler = (caller, args) => {
    const command = args.low[0]!
    const count = args.u32(2)
    if (count > 0x7fff_ffff) return -ERRNO.EINVAL
    const operation = command < flat.length ? flat[command] : undefined
    if (operation === undefined) return -ERRNO.ENOSYS
    const { batch } = operation
    if (batch === undefined) return operation.single(caller, args)
    const result = runBatch(batch, { caller, args, count, scratch, meter })
    if (batch.flushes) tables.flush(caller.domid)
    return result
  }
  return {
    name: 'grant_table_op', handler, source: 'public/grant_table.h; do_grant_table_op',
    operations: [listed('GNTTABOP_', GNTTABOP, rows)],
  }
}

function runBatch(
  { size, answer: [from, to], run, price }: Batch,
  { caller, args, count, scratch, meter }: {
    readonly caller: Vcpu; readonly args: HypercallArguments; readonly count: number; readonly scratch: Scratch
    readonly meter: WorkMeter
  },
): number {
  const start = args.address(1)
  let done = 0
  for (; done < count && !meter.isSpent; done += 1) {
    const at = start + done * size
    if (!readInto(caller.access, at, scratch, size)) return -ERRNO.EFAULT
    const result = run(caller, scratch.view)
    if (result < 0) return result
    if (to > from && !caller.access.write(at + from, scratch.bytes.subarray(from, to))) return -ERRNO.EFAULT
    meter.charge(price)
  }
  if (done === count) return 0
  args.set(1, start + done * size)
  args.set(2, count - done)
  return CALL_AGAIN
}

/** The operations that take one argument. */
class SingleOperations {
  private readonly tables: GrantTables<Vcpu>
  private readonly abi: GuestAbi
  private readonly scratch = new Scratch(LARGEST)
  private readonly entry = new Scratch(8)

  constructor(tables: GrantTables<Vcpu>, abi: GuestAbi) {
    this.tables = tables
    this.abi = abi
  }

  setupTable(caller: Vcpu, at: number): number {
    const op = this.abi.of(GnttabSetupTable)
    const { scratch: { view } } = this
    if (!readInto(caller.access, at, this.scratch, op.size)) return -ERRNO.EFAULT
    const frames = this.tables.setup(caller.domid, op.dom.get(view, 0), op.nrFrames.get(view, 0))
    return this.writeFrames(caller, frames, {
      list: address(op.frameList, view), stride: this.abi.word.size, status: at + op.status.offset,
    })
  }

  statusFrames(caller: Vcpu, at: number): number {
    const op = this.abi.of(GnttabGetStatusFrames)
    const { scratch: { view } } = this
    if (!readInto(caller.access, at, this.scratch, op.size)) return -ERRNO.EFAULT
    const frames = this.tables.statusFrames(caller.domid, op.dom.get(view, 0), op.nrFrames.get(view, 0))
    // This list has 64-bit numbers for guests of both widths.
    return this.writeFrames(caller, frames, { list: address(op.frameList, view), stride: 8, status: at + op.status.offset })
  }

  querySize(caller: Vcpu, at: number): number {
    const op = GnttabQuerySize
    const { scratch: { view, bytes } } = this
    if (!readInto(caller.access, at, this.scratch, op.size)) return -ERRNO.EFAULT
    const size = this.tables.querySize(caller.domid, op.dom.get(view, 0))
    op.status.set(view, 0, typeof size === 'number' ? size : GNTST.okay)
    if (typeof size !== 'number') {
      op.nrFrames.set(view, 0, size.frames)
      op.maxNrFrames.set(view, 0, size.maxFrames)
    }
    return caller.access.write(at, bytes.subarray(0, op.size)) ? 0 : -ERRNO.EFAULT
  }

  setVersion(caller: Vcpu, at: number): number {
    const op = GnttabSetVersion
    const { scratch: { view, bytes } } = this
    if (!readInto(caller.access, at, this.scratch, op.size)) return -ERRNO.EFAULT
    const result = this.tables.setVersion(caller.domid, op.version.get(view, 0))
    op.version.set(view, 0, this.tables.versionOf(caller.domid))
    return caller.access.write(at, bytes.subarray(0, op.size)) ? result : -ERRNO.EFAULT
  }

  getVersion(caller: Vcpu, at: number): number {
    const op = GnttabGetVersion
    const { scratch: { view, bytes } } = this
    if (!readInto(caller.access, at, this.scratch, op.size)) return -ERRNO.EFAULT
    const version = this.tables.getVersion(caller.domid, op.dom.get(view, 0))
    if (version < 0) return version
    op.version.set(view, 0, version)
    return caller.access.write(at, bytes.subarray(0, op.size)) ? 0 : -ERRNO.EFAULT
  }

  /** Writes frame numbers into a guest's list and the outcome into its status field. */
  private writeFrames(
    caller: Vcpu, frames: readonly number[] | number,
    places: { readonly list: number; readonly stride: number; readonly status: number },
  ): number {
    let status = typeof frames === 'number' ? frames : GNTST.okay
    const { view, bytes } = this.entry
    if (typeof frames !== 'number') {
      frames.forEach((mfn, i) => {
        view.setUint32(0, mfn, true)
        view.setUint32(4, mfn < 0 ? 0xffff_ffff : 0, true)
        if (!caller.access.write(places.list + i * places.stride, bytes.subarray(0, places.stride))) status = GNTST.bad_virt_addr
      })
    }
    view.setInt16(0, status, true)
    return caller.access.write(places.status, bytes.subarray(0, 2)) ? 0 : -ERRNO.EFAULT
  }
}
