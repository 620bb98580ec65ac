/**
 * grant_table_op: the arguments of each sub-operation, read once and answered one by one. A batch that is long is
 * left in the middle and called again with what is left. Reference: public/grant_table.h; xen/common/grant_table.c,
 * do_grant_table_op.
 */
import {
  ERRNO, GNTCOPY, GNTST, GNTTABOP, GnttabCacheFlush, GnttabCopy, GnttabCopyPtr, GnttabGetStatusFrames, GnttabGetVersion,
  GnttabMapGrantRef, GnttabQuerySize, GnttabSetVersion, GnttabSetupTable, GnttabSwapGrantRef, GnttabTransfer,
  GnttabUnmapAndReplace, GnttabUnmapGrantRef,
} from '../../abi/index.ts'
import { signedFromParts, type WideField } from '../../util/index.ts'
import type { CopySide, GrantTables } from '../grants/index.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'
import type { Vcpu } from '../domains/domain.ts'
import { CALL_AGAIN, WORK, type WorkMeter } from '../time/work-meter.ts'
import type { HypercallArguments, HypercallHandler } from '../domains/hypercall.ts'

const PAGE = 4096
/** The largest argument of one operation. */
const LARGEST = GnttabCopy.size

/**
 * One operation: takes its argument from the scratch, leaves its answer there. 0, or a negative error number that
 * ends the batch.
 */
type Operation = (caller: Vcpu, view: DataView) => number

/** An operation that takes an array of arguments. */
interface Batched {
  readonly size: number
  /** Bytes of the answer: written back from here to here. */
  readonly answer: readonly [from: number, to: number]
  readonly run: Operation
  /** Work of one, beside what depends on its arguments. */
  readonly price: number
}

const address = (field: WideField, view: DataView): number => signedFromParts(field.low(view, 0), field.high(view, 0))

function mapOne(tables: GrantTables): Operation {
  const op = GnttabMapGrantRef
  return (caller, view) => {
    const result = tables.map(caller.domid, {
      vcpu: caller.vcpu, address: address(op.hostAddr, view), flags: op.flags.get(view, 0),
      ref: op.ref.get(view, 0), domain: op.dom.get(view, 0),
    })
    op.status.set(view, 0, result.status)
    if (result.status !== GNTST.okay) return 0
    op.handle.set(view, 0, result.handle)
    op.devBusAddr.setNumber(view, 0, result.mfn * PAGE)
    return 0
  }
}

function unmapOne(tables: GrantTables): Operation {
  const op = GnttabUnmapGrantRef
  return (caller, view) => {
    op.status.set(view, 0, tables.unmap(caller.domid, {
      vcpu: caller.vcpu, handle: op.handle.get(view, 0), address: address(op.hostAddr, view),
      busAddress: op.devBusAddr.number(view, 0), newAddress: 0,
    }))
    return 0
  }
}

function unmapAndReplaceOne(tables: GrantTables): Operation {
  const op = GnttabUnmapAndReplace
  return (caller, view) => {
    op.status.set(view, 0, tables.unmap(caller.domid, {
      vcpu: caller.vcpu, handle: op.handle.get(view, 0), address: address(op.hostAddr, view),
      busAddress: 0, newAddress: address(op.newAddr, view),
    }))
    return 0
  }
}

function transferOne(tables: GrantTables): Operation {
  const op = GnttabTransfer
  return (caller, view) => {
    op.status.set(view, 0, tables.transfer(caller.domid, {
      mfn: op.mfn.number(view, 0), domain: op.domid.get(view, 0), ref: op.ref.get(view, 0),
    }))
    return 0
  }
}

function copySide(view: DataView, base: number, isGrant: boolean): CopySide {
  const side = GnttabCopyPtr
  return {
    domain: side.domid.get(view, base), offset: side.offset.get(view, base), isGrant,
    number: isGrant ? side.ref.get(view, base) : side.gmfn.number(view, base),
  }
}

function copyOne(tables: GrantTables): Operation {
  const op = GnttabCopy
  return (caller, view) => {
    const flags = op.flags.get(view, 0)
    op.status.set(view, 0, tables.copy(caller.domid, {
      source: copySide(view, op.source.at(0), (flags & GNTCOPY.source_gref) !== 0),
      destination: copySide(view, op.dest.at(0), (flags & GNTCOPY.dest_gref) !== 0),
      length: op.len.get(view, 0),
    }))
    return 0
  }
}

function swapOne(tables: GrantTables): Operation {
  const op = GnttabSwapGrantRef
  return (caller, view) => {
    op.status.set(view, 0, tables.swap(caller.domid, op.refA.get(view, 0), op.refB.get(view, 0)))
    return 0
  }
}

function cacheFlushOne(tables: GrantTables): Operation {
  const op = GnttabCacheFlush
  return (caller, view) => tables.cacheFlush(caller.domid, {
    address: op.devBusAddr.number(view, 0), offset: op.offset.get(view, 0), length: op.length.get(view, 0),
    op: op.op.get(view, 0),
  })
}

/** The operations that take arrays, by number. */
function batchedOperations(tables: GrantTables): ReadonlyMap<number, Batched> {
  const status = (op: { readonly status: { readonly offset: number } }): readonly [number, number] =>
    [op.status.offset, op.status.offset + 2]
  return new Map<number, Batched>([
    [GNTTABOP.map_grant_ref, {
      size: GnttabMapGrantRef.size, answer: [0, GnttabMapGrantRef.size], run: mapOne(tables), price: WORK.grant,
    }],
    [GNTTABOP.unmap_grant_ref, {
      size: GnttabUnmapGrantRef.size, answer: status(GnttabUnmapGrantRef), run: unmapOne(tables), price: WORK.grant,
    }],
    [GNTTABOP.unmap_and_replace, {
      size: GnttabUnmapAndReplace.size, answer: status(GnttabUnmapAndReplace), run: unmapAndReplaceOne(tables),
      price: WORK.grant,
    }],
    [GNTTABOP.transfer, {
      size: GnttabTransfer.size, answer: status(GnttabTransfer), run: transferOne(tables), price: WORK.grant + WORK.flush,
    }],
    [GNTTABOP.copy, { size: GnttabCopy.size, answer: status(GnttabCopy), run: copyOne(tables), price: WORK.element }],
    [GNTTABOP.swap_grant_ref, {
      size: GnttabSwapGrantRef.size, answer: status(GnttabSwapGrantRef), run: swapOne(tables), price: WORK.element,
    }],
    [GNTTABOP.cache_flush, {
      size: GnttabCacheFlush.size, answer: [0, 0], run: cacheFlushOne(tables), price: WORK.element,
    }],
  ])
}

/** Makes the handler of grant_table_op. */
export function grantTableOp(tables: GrantTables, meter: WorkMeter): HypercallHandler {
  const batched = batchedOperations(tables)
  const single = new SingleOperations(tables)
  const scratch = new Scratch(LARGEST)
  return (caller, args) => {
    const command = args.u32(0)
    const count = args.u32(2)
    if (count > 0x7fff_ffff) return -ERRNO.EINVAL
    const operation = batched.get(command)
    if (operation === undefined) return single.run(caller, command, args)
    const result = runBatch(operation, { caller, args, count, scratch, meter })
    if (command === GNTTABOP.unmap_grant_ref || command === GNTTABOP.unmap_and_replace) tables.flush(caller.domid)
    return result
  }
}

function runBatch(
  { size, answer: [from, to], run, price }: Batched,
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
  private readonly tables: GrantTables
  private readonly scratch = new Scratch(LARGEST)
  private readonly entry = new Scratch(8)

  constructor(tables: GrantTables) {
    this.tables = tables
  }

  run(caller: Vcpu, command: number, args: HypercallArguments): number {
    const at = args.address(1)
    switch (command) {
      case GNTTABOP.setup_table: return args.u32(2) === 1 ? this.setupTable(caller, at) : -ERRNO.EINVAL
      case GNTTABOP.query_size: return args.u32(2) === 1 ? this.querySize(caller, at) : -ERRNO.EINVAL
      case GNTTABOP.get_status_frames: return args.u32(2) === 1 ? this.statusFrames(caller, at) : -ERRNO.EINVAL
      case GNTTABOP.set_version: return this.setVersion(caller, at)
      case GNTTABOP.get_version: return this.getVersion(caller, at)
      default: return -ERRNO.ENOSYS
    }
  }

  private setupTable(caller: Vcpu, at: number): number {
    const op = GnttabSetupTable
    const { scratch: { view } } = this
    if (!readInto(caller.access, at, this.scratch, op.size)) return -ERRNO.EFAULT
    const frames = this.tables.setup(caller.domid, op.dom.get(view, 0), op.nrFrames.get(view, 0))
    return this.writeFrames(caller, frames, { list: address(op.frameList, view), status: at + op.status.offset })
  }

  private statusFrames(caller: Vcpu, at: number): number {
    const op = GnttabGetStatusFrames
    const { scratch: { view } } = this
    if (!readInto(caller.access, at, this.scratch, op.size)) return -ERRNO.EFAULT
    const frames = this.tables.statusFrames(caller.domid, op.dom.get(view, 0), op.nrFrames.get(view, 0))
    return this.writeFrames(caller, frames, { list: address(op.frameList, view), status: at + op.status.offset })
  }

  private querySize(caller: Vcpu, at: number): number {
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

  private setVersion(caller: Vcpu, at: number): number {
    const op = GnttabSetVersion
    const { scratch: { view, bytes } } = this
    if (!readInto(caller.access, at, this.scratch, op.size)) return -ERRNO.EFAULT
    const result = this.tables.setVersion(caller.domid, op.version.get(view, 0))
    op.version.set(view, 0, this.tables.versionOf(caller.domid))
    return caller.access.write(at, bytes.subarray(0, op.size)) ? result : -ERRNO.EFAULT
  }

  private getVersion(caller: Vcpu, at: number): number {
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
    caller: Vcpu, frames: readonly number[] | number, places: { readonly list: number; readonly status: number },
  ): number {
    let status = typeof frames === 'number' ? frames : GNTST.okay
    const { view, bytes } = this.entry
    if (typeof frames !== 'number') {
      frames.forEach((mfn, i) => {
        view.setUint32(0, mfn, true)
        view.setUint32(4, 0, true)
        if (!caller.access.write(places.list + i * 8, bytes)) status = GNTST.bad_virt_addr
      })
    }
    view.setInt16(0, status, true)
    return caller.access.write(places.status, bytes.subarray(0, 2)) ? 0 : -ERRNO.EFAULT
  }
}
