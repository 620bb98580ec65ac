/**
 * The trace buffers: frames of the hypervisor's that tools in a privileged domain map, one buffer for each physical CPU. Records are
 * written as long as there is room; what there was no room for is counted, and told when there is some again. Not here: what is recorded
 * (trace-records.ts).
 *
 * The reader writes one of the two offsets in front of each buffer, and could write both: offsets that are none end the tracing.
 * Reference: xen/common/trace.c.
 */
import { ERRNO, PAGE_SIZE, TBuf, TInfo, TRACE_EXTRA, TRC } from '../../abi/index.ts'
import { type StateOf, type Stateful, badState, sameState, shape } from '../../util/index.ts'
import { type FrameTable, OWNER_FREE, OWNER_XEN } from '../frames/frame-table.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'
import type { WideValue } from '../time/index.ts'

/** CPUs that Debian's Xen is built for, by which its page of lists begins. */
const BUILT_FOR = 256
/** Where the first list begins in that page, in words. */
const FIRST_LIST = Math.ceil((TInfo.size + 2 * BUILT_FOR) / 4)
const WORDS_PER_PAGE = PAGE_SIZE / 4
/** Bit 31 of a record's head: a time stamp follows. */
const HAS_CYCLES = 0x8000_0000
/** Words of a record before those of its event: head and time stamp. */
const HEAD_WORDS = 3
/** Words that tell of lost records: how many, whose turn it was, and when the first was lost. */
const LOST_WORDS = HEAD_WORDS + 4
const MOST_FRAMES = 2 ** 16
const MOST_CPUS = 2 ** 12

/** What of the buffers is saved; their contents lie in memory. */
export const traceShape = /* @__PURE__ */ shape.record({
  mask: shape.word, cpus: /* @__PURE__ */ shape.list(shape.flag, MOST_CPUS), isOn: shape.flag,
  /** The page of lists, then each CPU's frames; none while there are no buffers. */
  frames: /* @__PURE__ */ shape.list(shape.word, MOST_FRAMES),
  lost: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({ count: shape.word, low: shape.word, high: shape.word }), MOST_CPUS),
})

/** The trace buffers as plain data. */
export type TraceState = StateOf<typeof traceShape>

/** What the buffers work on. */
export interface TraceParts {
  readonly memory: GuestMemory
  readonly frames: FrameTable
  readonly domainMemory: {
    takeRaw(): number
    discard(mfn: number): void
  }
  /** Physical CPUs. */
  readonly count: number
  /** Time stamp of now. */
  ticks(): WideValue
  /** Lines for the hypervisor's console. */
  log(lines: readonly string[]): void
  /** What runs on a CPU: who it is. */
  current(cpu: number): { readonly domid: number; readonly vcpu: number }
  /** A buffer is half full: its reader is to be told. */
  filled(): void
}

interface Lost {
  count: number
  low: number
  high: number
}

/** All trace buffers of a host. */
export class TraceBuffers implements Stateful<TraceState> {
  /** Classes and subclasses of events that are recorded. */
  mask: number = TRC.ALL
  private readonly parts: TraceParts
  private cpus: boolean[]
  private on = false
  /** Called when records begin or cease to be written. */
  private switched: (isOn: boolean) => void = () => undefined
  private held: readonly number[] = []
  private lost: Lost[]

  constructor(parts: TraceParts) {
    this.parts = parts
    this.cpus = Array.from({ length: parts.count }, () => true)
    this.lost = this.noneLost()
  }

  /** Connects who makes records; to be called once, by the composition. */
  connect(switched: (isOn: boolean) => void): void {
    this.switched = switched
  }

  /** The frame that says where the buffers are; 0 while there are none. */
  get infoFrame(): number {
    return this.held[0] ?? 0
  }

  /** All its frames. */
  get frames(): readonly number[] {
    return this.held
  }

  /** Pages of each CPU's buffer. */
  private get pages(): number {
    return this.held.length === 0 ? 0 : (this.held.length - 1) / this.parts.count
  }

  /** Bytes of records in each buffer. */
  private get room(): number {
    return this.pages * PAGE_SIZE - TBuf.size
  }

  // Control, as XEN_SYSCTL_tbuf_op

  /** Makes buffers of so many pages for each CPU, once: 0, or a negative error. */
  setSize(pages: number): number {
    const { log, count } = this.parts
    if (this.pages !== 0) {
      if (pages === this.pages) return -ERRNO.EBUSY
      log([`xentrace: tb_set_size from ${this.pages} to ${pages} not implemented`])
      return -ERRNO.EINVAL
    }
    if (pages === 0) return -ERRNO.EINVAL
    if (count > BUILT_FOR) return -ERRNO.ENOMEM
    const most = Math.floor((WORDS_PER_PAGE - FIRST_LIST) / count)
    if (pages > most) log([`xentrace: requested number of ${pages} pages reduced to ${most}`])
    return this.make(Math.min(pages, most))
  }

  private make(pages: number): number {
    const { frames, domainMemory, log, count } = this.parts
    log([`xentrace: requesting 1 t_info pages for ${pages} trace pages on ${count} cpus`])
    const taken: number[] = []
    while (taken.length < 1 + pages * count) {
      const mfn = domainMemory.takeRaw()
      if (mfn >= 0) {
        taken.push(mfn)
        continue
      }
      for (const one of taken) domainMemory.discard(one)
      log([`xentrace: memory allocation failed on cpu ${Math.max(0, Math.floor((taken.length - 1) / pages))}`, 'xentrace: allocation failed! Tracing disabled.'])
      return -ERRNO.ENOMEM
    }
    for (const mfn of taken) frames.assignShared(mfn, OWNER_XEN)
    this.held = taken
    this.writeInfo(pages)
    log(['xentrace: initialised'])
    return 0
  }

  private writeInfo(pages: number): void {
    const { memory: { view }, count, log } = this.parts
    const base = this.infoFrame * PAGE_SIZE
    TInfo.tbufSize.set(view, base, pages)
    for (let cpu = 0; cpu < count; cpu += 1) {
      const list = FIRST_LIST + cpu * pages
      view.setUint16(base + TInfo.size + cpu * 2, list, true)
      for (let page = 0; page < pages; page += 1) view.setUint32(base + (list + page) * 4, this.held[1 + cpu * pages + page]!, true)
      log([`xentrace: p${cpu} mfn ${this.held[1 + cpu * pages]!.toString(16)} offset ${list}`])
    }
  }

  /** CPUs whose records are written. */
  setCpus(cpus: readonly number[]): void {
    this.cpus = this.cpus.map((_, cpu) => cpus.includes(cpu))
  }

  /** Begins to record: 0, or -EINVAL while there are no buffers. */
  enable(): number {
    if (this.pages === 0) return -ERRNO.EINVAL
    this.turn(true)
    return 0
  }

  /** Records no more; what was lost is forgotten. */
  disable(): void {
    this.turn(false)
    this.lost = this.noneLost()
  }

  private turn(isOn: boolean): void {
    if (this.on === isOn) return
    this.on = isOn
    this.switched(isOn)
  }

  private noneLost(): Lost[] {
    return Array.from({ length: this.parts.count }, () => ({ count: 0, low: 0, high: 0 }))
  }

  // Records

  /** Writes a record with the words of its event, if such are recorded and there is room. */
  record(cpu: number, event: number, words: readonly number[]): void {
    if (!this.on || !this.wants(event) || this.cpus[cpu] !== true) return
    const used = this.used(cpu)
    if (used === undefined) return
    const size = (HEAD_WORDS + words.length) * 4
    const lost = this.lost[cpu]!
    if (this.needed(cpu, size) > this.room - used) {
      if (lost.count === 0) Object.assign(lost, this.parts.ticks())
      lost.count = (lost.count + 1) >>> 0
      return
    }
    if (lost.count > 0) this.insertLost(cpu)
    this.insert(cpu, event, words)
    const half = this.room >>> 1
    if (used < half && (this.used(cpu) ?? 0) >= half) this.parts.filled()
  }

  private wants(event: number): boolean {
    const both = (shift: number, bits: number): number => (this.mask >>> shift) & (event >>> shift) & bits
    return both(TRC.CLS_SHIFT, 0xfff) !== 0 && both(TRC.SUBCLS_SHIFT, 0xf) !== 0
  }

  private at(cpu: number): number {
    return this.held[1 + cpu * this.pages]! * PAGE_SIZE
  }

  /** Bytes that are not read yet; undefined where its reader has written offsets that are none, which ends the tracing. */
  private used(cpu: number): number | undefined {
    const { view } = this.parts.memory
    const [prod, cons] = [TBuf.prod.get(view, this.at(cpu)), TBuf.cons.get(view, this.at(cpu))]
    const { room } = this
    const used = prod >= cons ? prod - cons : prod - cons + 2 * room
    if (((prod | cons) & 3) === 0 && prod < 2 * room && cons < 2 * room && used <= room) return used
    const hex = (value: number): string => value.toString(16).padStart(8, '0')
    this.parts.log([`trc#${cpu}: bogus prod (${hex(prod)}) and/or cons (${hex(cons)})`])
    this.turn(false)
    return undefined
  }

  /** Bytes up to where the buffer begins anew. */
  private toWrap(cpu: number): number {
    const prod = TBuf.prod.get(this.parts.memory.view, this.at(cpu))
    return this.room - prod % this.room
  }

  /** Bytes that a record takes, with what has to stand in front of it. */
  private needed(cpu: number, size: number): number {
    let [total, left] = [0, this.toWrap(cpu)]
    const sizes = this.lost[cpu]!.count > 0 ? [LOST_WORDS * 4, size] : [size]
    for (const one of sizes) {
      if (one > left) {
        total += left
        left = this.room
      }
      total += one
      left = left === one ? this.room : left - one
    }
    return total
  }

  private insertLost(cpu: number): void {
    const lost = this.lost[cpu]!
    const { domid, vcpu } = this.parts.current(cpu)
    this.insert(cpu, TRC.LOST_RECORDS, [lost.count, domid | vcpu << 16, lost.low, lost.high])
    lost.count = 0
  }

  /** There is room for it. */
  private insert(cpu: number, event: number, words: readonly number[]): void {
    const left = this.toWrap(cpu)
    if ((HEAD_WORDS + words.length) * 4 > left) this.fillUp(cpu, left)
    const { low, high } = this.parts.ticks()
    this.put(cpu, [event | words.length << TRACE_EXTRA.SHIFT | HAS_CYCLES, low, high, ...words])
  }

  /** A record that takes all that is left at the buffer's end. */
  private fillUp(cpu: number, left: number): void {
    const extra = left / 4 - 1
    const isLong = extra > TRACE_EXTRA.MAX
    const { low, high } = this.parts.ticks()
    const words = isLong ? extra - 2 : extra
    const head = TRC.TRACE_WRAP_BUFFER | words << TRACE_EXTRA.SHIFT | (isLong ? HAS_CYCLES : 0)
    this.put(cpu, [head, ...(isLong ? [low, high] : []), ...Array.from({ length: words }, () => 0)])
  }

  private put(cpu: number, words: readonly number[]): void {
    const { view } = this.parts.memory
    const { room, pages } = this
    const prod = TBuf.prod.get(view, this.at(cpu))
    const place = TBuf.size + prod % room
    words.forEach((word, i) => {
      const byte = place + i * 4
      const frame = this.held[1 + cpu * pages + Math.floor(byte / PAGE_SIZE)]!
      view.setUint32(frame * PAGE_SIZE + byte % PAGE_SIZE, word, true)
    })
    TBuf.prod.set(view, this.at(cpu), (prod + words.length * 4) % (2 * room))
  }

  // State

  save(): TraceState {
    return { mask: this.mask >>> 0, cpus: [...this.cpus], isOn: this.on, frames: [...this.held], lost: this.lost.map((one) => ({ ...one })) }
  }

  isAsSaved(state: TraceState): boolean {
    return sameState(this.save(), state)
  }

  /** The frames are looked at where the frame table is loaded, see {@link TraceBuffers.claim}. */
  load({ mask, cpus, isOn, frames, lost }: TraceState): void {
    const { count } = this.parts
    const isSound = cpus.length === count && lost.length === count && (frames.length === 0 || (frames.length > count && (frames.length - 1) % count === 0))
    if (!isSound || (isOn && frames.length === 0)) throw badState('there are no such trace buffers')
    this.mask = mask
    this.cpus = [...cpus]
    this.held = [...frames]
    this.lost = lost.map((one) => ({ ...one }))
    this.turn(isOn)
  }

  /** Makes its frames the hypervisor's in a frame table where they are free. Throws INVALID_STATE where they are not. */
  claim(table: FrameTable): void {
    for (const mfn of this.held) {
      if (!table.isValid(mfn) || table.owner[mfn] !== OWNER_FREE) throw badState(`frame ${mfn} is no frame of a trace buffer`)
      table.assignShared(mfn, OWNER_XEN)
    }
  }
}
