/**
 * mmuext_op: pinning page tables, switching to other top-level tables, flushing, descriptor tables, clearing and
 * copying frames.
 * Reference: public/xen.h, HYPERVISOR_mmuext_op; xen/arch/x86/mm.c, do_mmuext_op, new_guest_cr3.
 */
import { ERRNO, type GuestAbi, MMUEXT, MmuextOp } from '../../../abi/index.ts'
import { type DomId, signedFromParts } from '../../../util/index.ts'
import { PAGE_SIZE } from '../../../x86/index.ts'
import type { Domain, Vcpu } from '../../domains/domain.ts'
import { FRAME_FLAG, FRAME_TYPE } from '../../frames/frame-table.ts'
import { Scratch, readInto } from '../../memory/guest-access.ts'
import type { HypercallArguments, HypercallRow, Support } from '../../domains/hypercall.ts'
import { FULL, type Operations, byNumber, listed, partial, refusalNumber, refused } from '../../domains/hypercall-rows.ts'
import { PREEMPTED, unfinished } from './unfinished.ts'
import { CALL_AGAIN, WORK } from '../../time/work-meter.ts'
import type { DescriptorTables } from './descriptor-tables.ts'
import type { MmuParts, MmuUpdates } from './mmu-update.ts'
import { type PagedVcpu, pagedOf } from './paged-vcpu.ts'
import { isGuestAddress } from '../../memory/guest-address.ts'

/** What extended operations work on beyond page tables. */
export interface MmuExtendedParts extends MmuParts {
  /** What the callers speak. */
  readonly abi: GuestAbi
  readonly updates: MmuUpdates
  readonly descriptorTables: DescriptorTables
  /** Tells observers that a table was pinned or unpinned. */
  pinned(domid: DomId, mfn: number, level: number, action: 'pin' | 'unpin'): void
}

/** An operation that has been copied, on frames of domain `owner`. */
type Run = (caller: Vcpu, owner: number) => number

/** One operation. */
interface ExtendedOperation {
  readonly support: Support
  readonly run: Run
}

const all = (run: Run): ExtendedOperation => ({ support: FULL, run })

/** For guests that run on page tables. */
const ON_TABLES = /* @__PURE__ */ partial('EINVAL for a guest in TypeScript')

/** An operation on the caller itself, whoever owns frames in this call. */
const own = (run: (caller: Vcpu) => number, support: Support = FULL): ExtendedOperation =>
  ({ support, run: (caller, owner) => (caller.domid === owner ? run(caller) : -ERRNO.EPERM) })

/** Carries out mmuext_op. */
export class MmuExtended {
  private readonly parts: MmuExtendedParts
  private readonly layout: Pick<typeof MmuextOp, 'size' | 'cmd' | 'mfn' | 'linearAddr' | 'nrEnts' | 'vcpumask' | 'srcMfn'>
  private readonly scratch: Scratch
  private readonly runs: readonly (Run | undefined)[]
  /** The hypercall's row of the table. */
  readonly row: HypercallRow

  constructor(parts: MmuExtendedParts) {
    this.parts = parts
    this.layout = parts.abi.of(MmuextOp)
    this.scratch = new Scratch(this.layout.size)
    const rows = this.operations()
    this.runs = byNumber(MMUEXT, rows).map((row) => row?.run)
    this.row = {
      name: 'mmuext_op', handler: (caller, args) => this.operate(caller, args),
      source: 'public/xen.h, HYPERVISOR_mmuext_op; do_mmuext_op', operations: [listed('MMUEXT_', MMUEXT, rows)],
    }
  }

  /** mmuext_op(operations, count, done, owner). */
  operate(caller: Vcpu, args: HypercallArguments): number {
    if (unfinished.isSettled(args)) return unfinished.resultOf(args)
    const begun = (args.u32(1) & PREEMPTED) !== 0
    const count = args.u32(1) & ~PREEMPTED
    const counter = args.address(2)
    const before = begun && counter !== 0 ? this.readCounter(caller, counter) : 0
    const owner = this.parts.domains.frameOwner(caller.owner, args.u32(3) & 0xffff, 'mmuext_op')
    if (owner < 0) return owner
    const { pageTables, meter } = this.parts
    let address = args.address(0)
    let result = 0
    let done = 0
    // An operation that gave up tables waits for them to be taken apart before the next one.
    for (; done < count && !meter.isSpent && !pageTables.isFalling(owner); done += 1, address += this.layout.size) {
      result = readInto(caller.access, address, this.scratch, this.layout.size) ? this.one(caller, owner) : -ERRNO.EFAULT
      if (result !== 0) break
      meter.charge(WORK.element)
    }
    if (counter !== 0) {
      this.scratch.view.setUint32(0, before + done, true)
      caller.access.write(counter, this.scratch.bytes.subarray(0, 4))
    }
    if (result === CALL_AGAIN || (result === 0 && done < count)) return unfinished.goOn(args, address, count - done)
    return pageTables.isFalling(owner) ? unfinished.settle(args, result) : result
  }

  /** Validates and pins a table of `level` for a domain. */
  pin(domid: DomId, mfn: number, level: number): number {
    const { frames, pageTypes } = this.parts
    if (!frames.getPage(mfn, domid)) return -ERRNO.EINVAL
    const result = pageTypes.getType(mfn, level)
    if (result !== 0) {
      frames.putPage(mfn)
      return result
    }
    if (frames.hasFlag(mfn, FRAME_FLAG.PINNED)) {
      pageTypes.putPageAndType(mfn)
      return -ERRNO.EINVAL
    }
    frames.rows.setFlags(mfn, frames.flags[mfn]! | FRAME_FLAG.PINNED)
    this.parts.pinned(domid, mfn, level, 'pin')
    return 0
  }

  /** Ends the pinning of a table. */
  unpin(domid: DomId, mfn: number): number {
    const { frames, pageTypes } = this.parts
    if (!frames.getPage(mfn, domid)) return -ERRNO.EINVAL
    if (!frames.hasFlag(mfn, FRAME_FLAG.PINNED)) {
      frames.putPage(mfn)
      return -ERRNO.EINVAL
    }
    const level = frames.type[mfn]!
    frames.rows.setFlags(mfn, frames.flags[mfn]! & ~FRAME_FLAG.PINNED)
    pageTypes.putPageAndType(mfn)
    frames.putPage(mfn)
    this.parts.pinned(domid, mfn, level, 'unpin')
    return 0
  }

  /** Makes `mfn` the kernel's top-level table of a vCPU. */
  setKernelTable(vcpu: Vcpu, mfn: number): number {
    const paged = pagedOf(vcpu)
    if (paged === undefined) return -ERRNO.EINVAL
    const old = paged.topTable
    if (old !== mfn) {
      const result = this.parts.pageTypes.getPageAndType(mfn, paged.topType, vcpu.domid)
      if (result !== 0) return result
      this.parts.descriptorTables.dropLdt(paged)
      if (paged.topType === FRAME_TYPE.L4) this.showMachineToPhys(vcpu.owner, mfn)
      paged.topTable = mfn
      if (old !== 0) this.parts.pageTypes.putPageAndType(old)
    }
    if (paged.inKernel) this.load(paged)
    else this.flush(paged)
    return 0
  }

  /** Makes `mfn` the user's top-level table of a vCPU; 0 for none. */
  setUserTable(vcpu: Vcpu, mfn: number): number {
    const paged = pagedOf(vcpu)
    // A 32-bit guest's kernel and processes share theirs.
    if (paged === undefined || vcpu.owner.hasPae) return -ERRNO.EINVAL
    const old = paged.userTable
    if (old === mfn) return 0
    if (mfn !== 0) {
      const result = this.parts.pageTypes.getPageAndType(mfn, FRAME_TYPE.L4, vcpu.domid)
      if (result !== 0) return result
      if (vcpu.owner.hidesMachineToPhys) this.parts.pageTables.setMachineToPhysSlot(mfn, 0)
    }
    paged.userTable = mfn
    if (!paged.inKernel) this.load(paged)
    if (old !== 0) this.parts.pageTypes.putPageAndType(old)
    return 0
  }

  /** Gives back both top-level tables of a vCPU. */
  dropTables(paged: PagedVcpu): void {
    const { topTable, userTable } = paged
    paged.topTable = 0
    paged.userTable = 0
    if (topTable !== 0) this.parts.pageTypes.putPageAndType(topTable)
    if (userTable !== 0) this.parts.pageTypes.putPageAndType(userTable)
  }

  /** Its processor goes on with the tables that are named by now: a flush that leaves what other tables give. */
  private load(paged: PagedVcpu): void {
    this.parts.meter.charge(WORK.flush)
    paged.loadRoot()
    this.parts.tlb.loaded(paged)
  }

  private flush(paged: PagedVcpu): void {
    this.parts.meter.charge(WORK.flush)
    this.parts.tlb.flush(paged)
  }

  /** A table that the kernel runs on shows the machine-to-physical table. */
  private showMachineToPhys(domain: Domain, mfn: number): void {
    if (!domain.hidesMachineToPhys) {
      this.parts.pageTables.setMachineToPhysSlot(mfn, this.parts.machineToPhys.entryLow)
    }
  }

  /** Carries out the operation that has been copied. */
  private one(caller: Vcpu, owner: number): number {
    const command = this.layout.cmd.get(this.scratch.view, 0)
    const run = command < this.runs.length ? this.runs[command] : undefined
    return run === undefined ? -ERRNO.ENOSYS : run(caller, owner)
  }

  /** Frame that the operation names; not a frame of any host when its high half is set. */
  private frame(): number {
    const { view } = this.scratch
    const high = this.layout.mfn.high(view, 0)
    return high === 0 ? this.layout.mfn.low(view, 0) : this.layout.mfn.number(view, 0)
  }

  /** Address that it names. */
  private address(): number {
    const { view } = this.scratch
    return signedFromParts(this.layout.linearAddr.low(view, 0), this.layout.linearAddr.high(view, 0))
  }

  /** The operations, by the names of their numbers. */
  private operations(): Operations<typeof MMUEXT, ExtendedOperation> {
    const noSuper = refused('EOPNOTSUPP', 'superpages are not offered to PV guests')
    const marking: ExtendedOperation = { support: noSuper, run: (caller) => refusalNumber(noSuper, caller) }
    return {
      ...this.pinning(), ...this.flushing(),
      NEW_BASEPTR: own((caller) => this.setKernelTable(caller, this.frame()), ON_TABLES),
      NEW_USER_BASEPTR: own((caller) => this.setUserTable(caller, this.frame()), ON_TABLES),
      SET_LDT: own((caller) => {
        const paged = pagedOf(caller)
        if (paged === undefined) return -ERRNO.EINVAL
        const entries = this.layout.nrEnts.get(this.scratch.view, 0)
        return this.parts.descriptorTables.setLdt(paged, this.address(), entries)
      }, ON_TABLES),
      // Nothing is cached: a guest that may flush caches has nothing to flush.
      FLUSH_CACHE: own((caller) => (caller.owner.privileged ? 0 : -ERRNO.EACCES)),
      FLUSH_CACHE_GLOBAL: own((caller) => (caller.owner.privileged ? 0 : -ERRNO.EINVAL)),
      CLEAR_PAGE: all((_caller, owner) => this.clearPage(owner, this.frame())),
      COPY_PAGE: all((_caller, owner) => this.copyPage(owner, this.frame(), this.layout.srcMfn.number(this.scratch.view, 0))),
      MARK_SUPER: marking, UNMARK_SUPER: marking,
    }
  }

  private pinning() {
    const pin = (level: number): ExtendedOperation => all((_caller, owner) => {
      const target = this.parts.domains.get(owner)
      if (target === undefined) return -ERRNO.EINVAL
      // Xen ignores what is pinned as a table of a level that the guest has not.
      return level === 4 && target.hasPae ? 0 : this.pin(target.id, this.frame(), level)
    })
    return {
      PIN_L1_TABLE: pin(1), PIN_L2_TABLE: pin(2), PIN_L3_TABLE: pin(3), PIN_L4_TABLE: pin(4),
      UNPIN_TABLE: all((_caller, owner) => {
        const target = this.parts.domains.get(owner)
        return target === undefined ? -ERRNO.EINVAL : this.unpin(target.id, this.frame())
      }),
    }
  }

  /** Dropping translations: of the caller, of some vCPUs, of all. */
  private flushing() {
    const { updates } = this.parts
    return {
      TLB_FLUSH_LOCAL: own((caller) => {
        updates.flushOne(caller, undefined)
        return 0
      }),
      INVLPG_LOCAL: own((caller) => {
        const page = this.address()
        if (isGuestAddress(page)) updates.flushOne(caller, page)
        return 0
      }),
      TLB_FLUSH_ALL: own((caller) => {
        updates.flushAll(caller.owner)
        return 0
      }),
      INVLPG_ALL: own((caller) => {
        const page = this.address()
        if (isGuestAddress(page)) for (const vcpu of caller.owner.vcpus) updates.flushOne(vcpu, page)
        return 0
      }),
      TLB_FLUSH_MULTI: own((caller) => this.flushSome(caller, undefined)),
      INVLPG_MULTI: own((caller) => {
        const page = this.address()
        return isGuestAddress(page) ? this.flushSome(caller, page) : 0
      }),
    }
  }

  private flushSome(caller: Vcpu, page: number | undefined): number {
    const { view } = this.scratch
    const bitmap = signedFromParts(this.layout.vcpumask.low(view, 0), this.layout.vcpumask.high(view, 0))
    return this.parts.updates.flushMasked(caller, bitmap, page) ? 0 : -ERRNO.EINVAL
  }

  private clearPage(owner: number, mfn: number): number {
    const { pageTypes, memory } = this.parts
    if (pageTypes.getPageAndType(mfn, FRAME_TYPE.WRITABLE, owner) !== 0) return -ERRNO.EINVAL
    memory.bytes.fill(0, mfn * PAGE_SIZE, (mfn + 1) * PAGE_SIZE)
    memory.markWritten(mfn)
    pageTypes.putPageAndType(mfn)
    this.parts.meter.charge(WORK.page)
    return 0
  }

  private copyPage(owner: number, mfn: number, source: number): number {
    const { frames, pageTypes, memory } = this.parts
    if (!frames.getPage(source, owner)) return -ERRNO.EINVAL
    const result = pageTypes.getPageAndType(mfn, FRAME_TYPE.WRITABLE, owner)
    if (result === 0) {
      memory.bytes.copyWithin(mfn * PAGE_SIZE, source * PAGE_SIZE, (source + 1) * PAGE_SIZE)
      memory.markWritten(mfn)
      pageTypes.putPageAndType(mfn)
      this.parts.meter.charge(WORK.page)
    }
    frames.putPage(source)
    return result === 0 ? 0 : -ERRNO.EINVAL
  }

  private readCounter(caller: Vcpu, address: number): number {
    return readInto(caller.access, address, this.scratch, 4) ? this.scratch.view.getUint32(0, true) : 0
  }
}
