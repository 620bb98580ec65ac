/** A host for grant tables alone: frames with owners and counts, and page-table entries as a plain map. */
import { ERRNO, GNTMAP, GNTST, GTF, GrantEntryV1, GrantEntryV2 } from '../../src/abi/index.ts'
import {
  type GrantCaller, GrantTables, type GrantDomain, type InstallRequest, type RemoveRequest,
} from '../../src/hypervisor/grants/index.ts'
import { WorkMeter } from '../../src/hypervisor/time/work-meter.ts'
import { domId, type DomId } from '../../src/util/index.ts'

const PAGE = 4096
const FRAMES = 128

interface FrameRecord {
  owner: number
  references: number
  writable: number
  /** Used as a page table: not to be written. */
  isTable: boolean
  isShared: boolean
}

/** A vCPU of a domain, as far as grant tables ask. */
export const vcpuOf = (domid: DomId): GrantCaller => ({ domid })

export class GrantHostDouble {
  private readonly buffer = new ArrayBuffer(FRAMES * PAGE)
  readonly memory = {
    buffer: this.buffer,
    view: new DataView(this.buffer),
    bytes: new Uint8Array(this.buffer),
    words: new Uint32Array(this.buffer),
    firstFrame: 1,
    endFrame: FRAMES,
    markWritten: (mfn: number): void => { this.written.push(mfn) },
  }
  readonly written: number[] = []
  readonly records: FrameRecord[] = Array.from({ length: FRAMES }, () => (
    { owner: -1, references: 0, writable: 0, isTable: false, isShared: false }
  ))
  readonly frames = this.frameOperations()
  readonly meter = new WorkMeter()
  readonly tables = new GrantTables<GrantCaller>(this)
  /** Page-table entries: `domain:address` to frame and flags. */
  readonly entries = new Map<string, { mfn: number; readOnly: boolean }>()
  readonly pfns = new Map<number, number>()
  readonly crashed: string[] = []
  /** Frames that may still be allocated. */
  budget = FRAMES
  /** Domains that may own no more frames. */
  readonly full = new Set<number>()
  flushes = 0

  mayControl(caller: DomId): boolean {
    return caller === 0
  }

  mayShare(): boolean {
    return true
  }

  installMapping({ domid }: GrantCaller, { address, mfn, flags }: InstallRequest): number {
    if (address < 0) return GNTST.general_error
    this.entries.set(`${domid}:${address}`, { mfn, readOnly: (flags & GNTMAP.readonly) !== 0 })
    return GNTST.okay
  }

  removeMapping({ domid }: GrantCaller, { address, newAddress, mfn, flags }: RemoveRequest): number {
    const entry = this.entries.get(`${domid}:${address}`)
    if (entry?.mfn !== mfn || entry.readOnly !== ((flags & GNTMAP.readonly) !== 0)) return GNTST.general_error
    const other = this.entries.get(`${domid}:${newAddress}`)
    this.entries.delete(`${domid}:${address}`)
    if (other !== undefined) {
      this.entries.set(`${domid}:${address}`, other)
      this.entries.delete(`${domid}:${newAddress}`)
    }
    return GNTST.okay
  }

  flushTlb(): void {
    this.flushes += 1
  }

  crash({ domid }: GrantCaller, reason: string): void {
    this.crashed.push(`${domid}: ${reason}`)
  }

  /** A domain with a table; frames are its own from `frame()` on. */
  domain(id: number, options: Partial<GrantDomain> = {}): DomId {
    const result = this.tables.addDomain({
      id: domId(id), maxGrantFrames: 4, maxMaptrackFrames: 2, maxVersion: 2, mapsBy: 'table', ...options,
    })
    if (result !== 0) throw new Error(`domain ${id} gets no table: ${result}`)
    return domId(id)
  }

  /** A fresh frame of a domain's. */
  frame(owner: number): number {
    const mfn = this.records.findIndex((record, index) => index > 0 && record.owner < 0 && record.references === 0)
    Object.assign(this.records[mfn]!, { owner, references: 1, writable: 0, isTable: false, isShared: false })
    return mfn
  }

  /** Writes an entry as its domain would. */
  grant(owner: number, ref: number, fields: { to: number; mfn: number; flags?: number }): void {
    const table = this.tables.of(owner)!
    const values = { flags: fields.flags ?? GTF.permit_access, domid: fields.to }
    const at = table.entryAt(ref)
    if (table.version === 1) GrantEntryV1.encode(this.memory.view, at, { ...values, frame: fields.mfn })
    else GrantEntryV2.encode(this.memory.view, at, { ...values, fullPageFrame: BigInt(fields.mfn) })
  }

  /** GTF_reading and GTF_writing of an entry. */
  inUse(owner: number, ref: number): string {
    const table = this.tables.of(owner)!
    const status = this.memory.view.getUint16(table.statusAt(ref), true)
    return `${(status & GTF.reading) !== 0 ? 'r' : '-'}${(status & GTF.writing) !== 0 ? 'w' : '-'}`
  }

  /** References and writable types of a frame, beyond its owner's own. */
  counts(mfn: number): [number, number] {
    const { references, writable } = this.records[mfn]!
    return [references - 1, writable]
  }

  /** The frames of all tables and records, to compare before and after. */
  snapshot(): string {
    return JSON.stringify([this.records, [...this.entries], Buffer.from(this.buffer).toString('base64')])
  }

  private frameOperations() {
    const record = (mfn: number): FrameRecord | undefined => this.records[mfn]
    return {
      getPage: (mfn: number, owner: DomId): boolean => {
        const frame = record(mfn)
        if (frame === undefined || frame.owner !== owner || frame.references === 0) return false
        frame.references += 1
        return true
      },
      isOwnedBy: (mfn: number, owner: DomId): boolean => record(mfn)?.owner === owner && record(mfn)!.references > 0,
      putPage: (mfn: number): void => {
        const frame = record(mfn)!
        frame.references -= 1
        if (frame.references < 0) throw new Error(`frame ${mfn}: reference given back twice`)
        if (frame.references === 0) Object.assign(frame, { owner: -1, isShared: false })
      },
      isWritable: (mfn: number): boolean => record(mfn)!.writable > 0,
      getWritable: (mfn: number): boolean => {
        const frame = record(mfn)!
        if (frame.isTable) return false
        frame.writable += 1
        return true
      },
      putWritable: (mfn: number): void => {
        const frame = record(mfn)!
        frame.writable -= 1
        if (frame.writable < 0) throw new Error(`frame ${mfn}: type given back twice`)
      },
      allocateShared: (domid: DomId): number => {
        if (this.budget === 0) return -1
        this.budget -= 1
        const mfn = this.frame(domid)
        this.memory.words.fill(0, mfn * 1024, (mfn + 1) * 1024)
        record(mfn)!.isShared = true
        return mfn
      },
      isUnmapped: (mfn: number): boolean => record(mfn)!.references === 1,
      freeShared: (mfn: number): void => {
        this.budget += 1
        this.frames.putPage(mfn)
      },
      steal: (mfn: number, owner: DomId): number => {
        const frame = record(mfn)
        if (frame === undefined || frame.owner !== owner || frame.isShared) return -ERRNO.EINVAL
        if (frame.references > 1) return -ERRNO.EBUSY
        Object.assign(frame, { owner: -1, references: 0 })
        return 0
      },
      adopt: (mfn: number, owner: DomId): boolean => {
        Object.assign(record(mfn)!, { owner, references: 1 })
        return true
      },
      hasRoom: (domid: DomId): boolean => !this.full.has(domid),
      discard: (mfn: number): void => { Object.assign(record(mfn)!, { owner: -1, references: 0 }) },
      setPfn: (mfn: number, pfn: number): void => { this.pfns.set(mfn, pfn) },
    }
  }
}
