/**
 * mmu_update and update_va_mapping: changes of page-table entries, by machine address or by virtual address.
 *
 * hot path: requests are read as 32-bit words in place; nothing is allocated per call, as guests change most entries one
 * by one. The request at hand and the owners that it names are therefore this part's own, and hold until its call is over.
 * Reference: public/xen.h, HYPERVISOR_mmu_update; xen/arch/x86/mm.c, do_mmu_update, do_update_va_mapping.
 */
import { FRACTION } from '../../../util/index.ts'
import { PAGE_OFFSET, PAGE_SHIFT, PTE } from '../../../x86/index.ts'
import { ERRNO, type GuestAbi, MMU, UVMF } from '../../../abi/index.ts'
import type { Domain, Vcpu } from '../../domains/domain.ts'
import type { DomainRegistry } from '../../domains/registry.ts'
import { FRAME_FLAG, FRAME_TYPE, type FrameTable } from '../../frames/frame-table.ts'
import type { PhysicalMap } from '../../frames/physical-map.ts'
import type { MachineToPhys } from '../../frames/machine-to-phys.ts'
import { type GuestAccess, Scratch, readInto } from '../../memory/guest-access.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import type { HypercallArguments, HypercallRow, Support } from '../../domains/hypercall.ts'
import { FULL, type Operations, byNumber, listed, partial } from '../../domains/hypercall-rows.ts'
import { PREEMPTED, unfinished } from './unfinished.ts'
import { CALL_AGAIN, WORK, type WorkMeter } from '../../time/work-meter.ts'
import type { PageTables } from './page-tables.ts'
import type { FrameTypes } from '../../frames/frame-types.ts'
import { PageUpdates } from './page-updates.ts'
import { pagedOf } from './paged-vcpu.ts'
import type { TlbClock } from '../../frames/tlb-clock.ts'
import { isGuestAddress } from '../../memory/guest-address.ts'
import { findLeaf } from '../../memory/virtual-access.ts'

/** What page-table hypercalls work on. */
export interface MmuParts {
  readonly memory: GuestMemory
  readonly frames: FrameTable
  readonly machineToPhys: MachineToPhys
  readonly pageTypes: FrameTypes
  readonly pageTables: PageTables
  readonly domains: DomainRegistry
  readonly tlb: TlbClock
  readonly meter: WorkMeter
}

/** One update, taken from the guest. */
interface Request {
  pointerLow: number
  pointerHigh: number
  low: number
  high: number
}

/** Whose tables are changed, of how many levels, whose frames they get, and whether accessed and dirty bits stay as they are. */
interface Change {
  table: number
  frame: number
  preserve: boolean
  isPae: boolean
  /** Where the frames lie that they get, of a domain that numbers its frames itself. */
  map: PhysicalMap | undefined
}

/** One way to change an entry: carries out the request at hand for a caller. */
interface MmuOperation {
  readonly support: Support
  readonly run: (caller: Domain) => number
}

/** Changes by an address of the caller's own page tables. */
const BY_ADDRESS = /* @__PURE__ */ partial('EINVAL for a guest in TypeScript, which runs on no page tables')

/** Whether accessed and dirty bits stay as they are. */
const WRITE = 'write'
const PRESERVE = 'preserve'

/** Frame that holds the entry; -1 for one that no host has. */
const frameOf = (request: Readonly<Request>): number => (request.pointerHigh === 0 ? request.pointerLow >>> PAGE_SHIFT : -1)

/** The hypercalls that change entries. */
export class MmuUpdates {
  private readonly parts: MmuParts
  private readonly updates: PageUpdates
  /** An entry is one argument, and not two; bits of a word of a bitmap. */
  private readonly isWide: boolean
  private readonly width: number
  private readonly scratch = new Scratch(16)
  private readonly request: Request = { pointerLow: FRACTION, pointerHigh: 0, low: FRACTION, high: FRACTION }
  private readonly how: Change = { table: 0, frame: 0, preserve: false, isPae: false, map: undefined }
  /** An entry of level 2 or above has changed in the present batch. */
  private tablesChanged = false
  private readonly runs: readonly (MmuOperation['run'] | undefined)[]
  /** The hypercalls' rows of the table. */
  readonly rows: readonly HypercallRow[]

  constructor(parts: MmuParts, abi: GuestAbi) {
    this.parts = parts
    this.isWide = abi.wideArguments === 1
    this.width = abi.width
    this.updates = new PageUpdates(parts.pageTables)
    const rows = this.operations()
    this.runs = byNumber(MMU, rows).map((row) => row?.run)
    this.rows = [
      {
        name: 'mmu_update', handler: (caller, args) => this.update(caller, args),
        source: 'public/xen.h, HYPERVISOR_mmu_update; do_mmu_update', operations: [listed('MMU_', MMU, rows)],
      },
      {
        name: 'update_va_mapping', handler: (caller, args) => this.updateVaMapping(caller, args),
        source: 'public/xen.h, UVMF_*; do_update_va_mapping', support: BY_ADDRESS,
      },
      {
        name: 'update_va_mapping_otherdomain', handler: (caller, args) => this.updateVaMappingOther(caller, args),
        source: 'public/xen.h, UVMF_*; do_update_va_mapping_otherdomain', support: BY_ADDRESS,
      },
    ]
  }

  /** mmu_update(requests, count, done, owners). */
  update(caller: Vcpu, args: HypercallArguments): number {
    if (unfinished.isSettled(args)) return unfinished.resultOf(args)
    const { domains } = this.parts
    const domain = caller.owner
    const owners = args.u32(3)
    const tableOwner = owners >>> 16 === 0 ? domain : domains.get((owners >>> 16) - 1)
    if (tableOwner === undefined) return -ERRNO.ESRCH
    if (!domains.mayControl(domain.id, tableOwner.id, 'mmu_update')) return -ERRNO.EPERM
    const frameOwner = domains.frameOwner(domain, owners & 0xffff, 'mmu_update')
    if (frameOwner < 0) return frameOwner
    this.how.table = tableOwner.id
    this.how.frame = frameOwner
    this.how.isPae = tableOwner.hasPae
    this.how.map = frameOwner === domain.id ? undefined : domains.get(frameOwner)?.guest?.physmap
    return this.batch(caller, args, tableOwner)
  }

  /** update_va_mapping(address, value, flags). */
  updateVaMapping(caller: Vcpu, args: HypercallArguments): number {
    return this.changeByAddress(caller, args, caller.owner.id)
  }

  /** update_va_mapping_otherdomain(address, value, flags, domain). */
  updateVaMappingOther(caller: Vcpu, args: HypercallArguments): number {
    const frameOwner = this.parts.domains.frameOwner(caller.owner, args.u32(this.isWide ? 3 : 4) & 0xffff, 'update_va_mapping_otherdomain')
    return frameOwner < 0 ? frameOwner : this.changeByAddress(caller, args, frameOwner)
  }

  /** Carries out the request at hand; the pointer's low bits say how. */
  private apply(caller: Domain): number {
    const command = this.request.pointerLow & 7
    // Nearly all are of this kind.
    if (command === MMU.NORMAL_PT_UPDATE) return this.change(WRITE)
    const run = command < this.runs.length ? this.runs[command] : undefined
    return run === undefined ? -ERRNO.ENOSYS : run(caller)
  }

  /** The operations, by the names of their numbers. */
  private operations(): Operations<typeof MMU, MmuOperation> {
    const change: MmuOperation = { support: FULL, run: () => this.change(WRITE) }
    return {
      NORMAL_PT_UPDATE: change,
      MACHPHYS_UPDATE: { support: FULL, run: (caller) => this.setMachineToPhys(caller) },
      PT_UPDATE_PRESERVE_AD: { support: FULL, run: () => this.change(PRESERVE) },
      PT_UPDATE_NO_TRANSLATE: { support: FULL, run: () => this.changeUntranslated() },
    }
  }

  /** Writes an entry. */
  private change(way: typeof WRITE | typeof PRESERVE): number {
    const { request, how } = this
    const { frames } = this.parts
    const mfn = frameOf(request)
    const at = (mfn << 10) + ((request.pointerLow & 0xff8) >> 2)
    how.preserve = way === PRESERVE
    // Its uses as a table hold references that no leaf of it holds, so that it needs no other one here.
    if (frames.type[mfn] === FRAME_TYPE.L1 && this.isInUse(mfn) && frames.isOwnedBy(mfn, how.table)) return this.changeLeaf(at)
    if (!frames.getPage(mfn, how.table)) return -ERRNO.EINVAL
    if (how.map !== undefined && (request.low & PTE.PRESENT) !== 0 && !this.translate(how.map)) {
      frames.putPage(mfn)
      return -ERRNO.EINVAL
    }
    const result = this.isInUse(mfn) ? this.changeTyped(mfn, at) : this.writePlain(mfn, at)
    frames.putPage(mfn)
    return result
  }

  /** Writes an entry of a level-1 table. */
  private changeLeaf(at: number): number {
    const { request, how } = this
    if (how.map !== undefined && (request.low & PTE.PRESENT) !== 0 && !this.translate(how.map)) return -ERRNO.EINVAL
    return this.updates.changeLeaf(at, request.low, request.high, how)
  }

  /** Writes an entry whose frame is the host's, whoever has it. */
  private changeUntranslated(): number {
    const { how } = this
    const { map } = how
    how.map = undefined
    const result = this.change(WRITE)
    how.map = map
    return result
  }

  /** Puts the host's frame in the place of a number of its owner's; false where none lies there. */
  private translate(map: PhysicalMap): boolean {
    const { request } = this
    if ((request.high & 0x000f_ffff) !== 0) return false
    const mfn = map.frame(request.low >>> PAGE_SHIFT)
    if (mfn < 0) return false
    request.low = ((mfn << PAGE_SHIFT) | (request.low & PAGE_OFFSET)) >>> 0
    return true
  }

  private batch(caller: Vcpu, args: HypercallArguments, tableOwner: Domain): number {
    const begun = (args.u32(1) & PREEMPTED) !== 0
    const count = args.u32(1) & ~PREEMPTED
    const counter = args.address(2)
    const before = begun && counter !== 0 ? this.readCounter(caller.access, counter) : 0
    const { meter } = this.parts
    let address = args.address(0)
    let result = 0
    let done = 0
    this.tablesChanged = false
    for (; done < count && !meter.isSpent; done += 1, address += 16) {
      result = this.take(caller.access, address) ? this.apply(caller.owner) : -ERRNO.EFAULT
      if (result !== 0) break
      meter.charge(WORK.element)
    }
    if (this.tablesChanged) this.flushAll(tableOwner)
    if (counter !== 0) this.writeCounter(caller.access, counter, before + done)
    if (result === CALL_AGAIN || (result === 0 && done < count)) return unfinished.goOn(args, address, count - done)
    return this.parts.pageTables.isFalling(tableOwner.id) ? unfinished.settle(args, result) : result
  }

  /** True for a frame whose type decides what may be written to it. A table between two portions of work is none. */
  private isInUse(mfn: number): boolean {
    const { frames } = this.parts
    return frames.typeCount[mfn] !== 0 && frames.hasFlag(mfn, FRAME_FLAG.VALIDATED)
  }

  /** Copies one request out of guest memory, once. */
  private take(access: GuestAccess, address: number): boolean {
    const { request } = this
    const at = (address & PAGE_OFFSET) <= 0xff0 && (address & 3) === 0 ? access.locate(address, false) : -1
    if (at >= 0) {
      const { words } = this.parts.memory
      const word = at >>> 2
      request.pointerLow = words[word]!
      request.pointerHigh = words[word + 1]!
      request.low = words[word + 2]!
      request.high = words[word + 3]!
      return true
    }
    if (!readInto(access, address, this.scratch, 16)) return false
    const { view } = this.scratch
    request.pointerLow = view.getUint32(0, true)
    request.pointerHigh = view.getUint32(4, true)
    request.low = view.getUint32(8, true)
    request.high = view.getUint32(12, true)
    return true
  }

  private changeTyped(mfn: number, at: number): number {
    const { request, how } = this
    const type = this.parts.frames.type[mfn]!
    if (type === FRAME_TYPE.WRITABLE) {
      this.writeWords(mfn, at)
      return 0
    }
    if (type === FRAME_TYPE.SEGDESC || type === FRAME_TYPE.NONE || how.table !== how.frame) return -ERRNO.EINVAL
    const result = this.updates.changeTable(at, request.low, request.high, how)
    if (result === 0) this.tablesChanged = true
    return result
  }

  /** A frame that is no table at present takes any value, as if the guest had written it. */
  private writePlain(mfn: number, at: number): number {
    if (this.parts.pageTypes.getType(mfn, FRAME_TYPE.WRITABLE) !== 0) return -ERRNO.EINVAL
    this.writeWords(mfn, at)
    this.parts.pageTypes.putType(mfn)
    return 0
  }

  private writeWords(mfn: number, at: number): void {
    const { memory } = this.parts
    memory.words[at] = this.request.low
    memory.words[at + 1] = this.request.high
    memory.markWritten(mfn)
  }

  private setMachineToPhys(caller: Domain): number {
    const { request, how } = this
    if (caller.id !== how.table) return -ERRNO.EPERM
    const mfn = frameOf(request)
    const { frames, machineToPhys, domains } = this.parts
    // Where a translated domain's frames lie, its physical map says.
    if (domains.get(how.frame)?.guest !== undefined) return -ERRNO.EINVAL
    if (!frames.getPage(mfn, how.frame)) return -ERRNO.EINVAL
    machineToPhys.setParts(mfn, request.low, request.high)
    frames.putPage(mfn)
    return 0
  }

  private changeByAddress(caller: Vcpu, args: HypercallArguments, frameOwner: number): number {
    const { frames, memory } = this.parts
    const address = args.address(0)
    const root = pagedOf(caller)?.kernelTable ?? 0
    if (root === 0 || !isGuestAddress(address)) return -ERRNO.EINVAL
    const at = findLeaf(memory, root, address)
    const table = at >>> 10
    const domain = caller.owner
    if (at < 0 || !frames.getPage(table, domain.id)) return -ERRNO.EINVAL
    let result: number = -ERRNO.EINVAL
    if (this.isInUse(table) && frames.type[table] === FRAME_TYPE.L1) {
      const { how } = this
      how.table = domain.id
      how.frame = frameOwner
      how.preserve = false
      how.isPae = domain.hasPae
      result = this.updates.changeLeaf(at, args.low[1]!, this.isWide ? args.high[1]! : args.low[2]!, how)
    }
    frames.putPage(table)
    this.parts.meter.charge(WORK.element)
    return result < 0 ? result : this.flushAfter(caller, args, address)
  }

  private flushAfter(caller: Vcpu, args: HypercallArguments, address: number): number {
    const flags = this.isWide ? 2 : 3
    const kind = args.low[flags]! & UVMF.FLUSHTYPE_MASK
    if (kind !== UVMF.TLB_FLUSH && kind !== UVMF.INVLPG) return 0
    const who = args.address(flags) - kind
    const page = kind === UVMF.INVLPG ? address : undefined
    if (who === UVMF.LOCAL) this.flushOne(caller, page)
    else if (who === UVMF.ALL) for (const vcpu of caller.owner.vcpus) this.flushOne(vcpu, page)
    else return this.flushMasked(caller, who, page) ? 0 : -ERRNO.EFAULT
    return 0
  }

  /** Flushes the vCPUs whose bits are set in the guest's bitmap at `address`; false when it cannot be read. */
  flushMasked(caller: Vcpu, address: number, page: number | undefined): boolean {
    const { vcpus } = caller.owner
    const bitmap = new Scratch(Math.ceil(vcpus.length / this.width) * (this.width / 8))
    if (!readInto(caller.access, address, bitmap, bitmap.bytes.length)) return false
    for (const vcpu of vcpus) {
      if ((bitmap.bytes[vcpu.vcpu >>> 3]! >>> (vcpu.vcpu & 7) & 1) === 1) this.flushOne(vcpu, page)
    }
    return true
  }

  /** Drops one page's translations of a vCPU, or all. */
  flushOne(vcpu: Vcpu, page: number | undefined): void {
    const paged = pagedOf(vcpu)
    if (paged === undefined) return
    this.parts.meter.charge(page === undefined ? WORK.flush : WORK.flushPage)
    if (page === undefined) this.parts.tlb.flush(paged)
    else paged.processor.flushPage(page)
  }

  /** Drops all translations of all of a domain's vCPUs. */
  flushAll(domain: Domain): void {
    for (const vcpu of domain.vcpus) this.flushOne(vcpu, undefined)
  }

  private readCounter(access: GuestAccess, address: number): number {
    return readInto(access, address, this.scratch, 4) ? this.scratch.view.getUint32(0, true) : 0
  }

  private writeCounter(access: GuestAccess, address: number, value: number): void {
    this.scratch.view.setUint32(0, value, true)
    access.write(address, this.scratch.bytes.subarray(0, 4))
  }
}
