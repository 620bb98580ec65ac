/** Trace records as xentrace finds them in the hypervisor's buffers, and as it writes them into a file. Reference: public/trace.h; tools/xentrace/xentrace.c. */
import { TBuf, TInfo } from '../../src/abi/index.ts'

const PAGE = 4096
/** What xentrace puts in front of each stretch of a CPU's records: its number, and how many bytes follow. */
export const CPU_CHANGE = 0x1_f003

/** One record. */
export interface TraceRecord {
  readonly event: number
  /** Its time stamp, where it has one. */
  readonly cycles: bigint | undefined
  readonly words: readonly number[]
}

/** Records that lie one behind the other. */
export function decodeRecords(bytes: Uint8Array): TraceRecord[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const records: TraceRecord[] = []
  for (let at = 0; at + 4 <= bytes.length;) {
    const head = view.getUint32(at, true)
    at += 4
    const hasCycles = head >>> 31 === 1
    const cycles = hasCycles ? view.getBigUint64(at, true) : undefined
    if (hasCycles) at += 8
    const count = (head >>> 28) & 7
    records.push({ event: head & 0x0fff_ffff, cycles, words: Array.from({ length: count }, (_, i) => view.getUint32(at + i * 4, true)) })
    at += count * 4
  }
  return records
}

/** Reads the buffers that a page of lists tells of, in a host's memory. */
export class TraceReader {
  private readonly view: DataView
  private readonly base: number
  private readonly pages: number

  constructor(view: DataView, infoFrame: number) {
    this.view = view
    this.base = infoFrame * PAGE
    this.pages = TInfo.tbufSize.get(view, this.base)
  }

  /** Frames of a CPU's buffer. */
  frames(cpu: number): number[] {
    const list = this.view.getUint16(this.base + 2 + cpu * 2, true)
    return Array.from({ length: this.pages }, (_, page) => this.view.getUint32(this.base + (list + page) * 4, true))
  }

  /** Where a CPU's offsets are. */
  head(cpu: number): number {
    return this.frames(cpu)[0]! * PAGE
  }

  /** Takes all that a CPU's buffer has. */
  take(cpu: number): TraceRecord[] {
    const room = this.pages * PAGE - TBuf.size
    const [prod, cons] = [TBuf.prod.get(this.view, this.head(cpu)), TBuf.cons.get(this.view, this.head(cpu))]
    const frames = this.frames(cpu)
    const length = (prod - cons + 2 * room) % (2 * room)
    const bytes = Uint8Array.from({ length }, (_, i) => {
      const place = TBuf.size + (cons + i) % room
      return this.view.getUint8(frames[Math.floor(place / PAGE)]! * PAGE + place % PAGE)
    })
    TBuf.cons.set(this.view, this.head(cpu), prod)
    return decodeRecords(bytes)
  }
}
