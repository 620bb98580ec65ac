/**
 * A trace as Perfetto reads it: domains are processes, vCPUs their threads, with slices while they run; devices, XenStore and what concerns a whole domain have tracks of
 * their own, devices' counters as counters.
 * Reference: perfetto.dev, "Synthetic Track Event"; messages TracePacket, TrackDescriptor, TrackEvent, DebugAnnotation of its trace.
 */
import { MessageWriter } from '../protobuf/message-writer.ts'
import type { TraceRecord } from './trace-events.ts'

const TRACE = { PACKET: 1 } as const
const PACKET = { TIMESTAMP: 8, SEQUENCE: 10, EVENT: 11, FLAGS: 13, DESCRIPTOR: 60 } as const
const DESCRIPTOR = { UUID: 1, NAME: 2, PROCESS: 3, THREAD: 4, PARENT: 5, COUNTER: 8 } as const
const PROCESS = { PID: 1, NAME: 6 } as const
const THREAD = { PID: 1, TID: 2, NAME: 5 } as const
const EVENT = { ANNOTATIONS: 4, TYPE: 9, TRACK: 11, CATEGORIES: 22, NAME: 23, COUNTER: 30 } as const
const KIND = { BEGIN: 1, END: 2, INSTANT: 3, COUNTER: 4 } as const
const ANNOTATION = { UNSIGNED: 3, SIGNED: 4, BOOLEAN: 2, TEXT: 6, POINTER: 7, NAME: 10 } as const
/** One writer of packets; its state begins with the first. */
const SEQUENCE = 1
const CLEARED = 1
/** Numbers of processes and threads: domain 0 would be the idle process. */
const pidOf = (domid: number): number => domid + 1
const tidOf = (domid: number, vcpu: number): number => pidOf(domid) * 4096 + vcpu + 1

/** What a record is drawn on. */
interface Track {
  readonly uuid: number
  readonly isCounter: boolean
}

type Details = TraceRecord['details']

/** Writes packets, and tracks when they are first needed. */
class PerfettoWriter {
  private readonly trace = new MessageWriter(1 << 16)
  private readonly tracks = new Map<string, Track>()
  private readonly running = new Set<string>()
  private readonly nameOf: (domid: number) => string
  private isFirst = true

  constructor(nameOf: (domid: number) => string) {
    this.nameOf = nameOf
  }

  add(record: TraceRecord): void {
    const track = this.trackOf(record)
    if (record.type === 'schedule') return this.schedule(record, track)
    if (track.isCounter) return this.event(record, track, KIND.COUNTER)
    this.event(record, track, KIND.INSTANT)
  }

  /** Slices that have begun end with the trace. */
  end(last: TraceRecord | undefined): Uint8Array {
    if (last !== undefined) for (const key of this.running) this.event(last, this.tracks.get(key)!, KIND.END)
    return this.trace.take()
  }

  private schedule(record: TraceRecord, track: Track): void {
    const key = vcpuKey(record)
    if (record.name === 'wake') return this.event(record, track, KIND.INSTANT)
    const isRunning = this.running.has(key)
    if (record.name === 'switch') {
      if (isRunning) return
      this.running.add(key)
      return this.event({ ...record, name: 'running' }, track, KIND.BEGIN)
    }
    if (!isRunning) return
    this.running.delete(key)
    this.event(record, track, KIND.END)
  }

  private trackOf(record: TraceRecord): Track {
    const { domid, vcpu, device, type } = record
    const domain = this.track(`domain ${domid}`, (descriptor) => descriptor.message(DESCRIPTOR.PROCESS, (process) => process.number(PROCESS.PID, pidOf(domid)).text(PROCESS.NAME, this.nameOf(domid))))
    if (vcpu !== undefined) {
      return this.track(vcpuKey(record), (descriptor) =>
        descriptor.message(DESCRIPTOR.THREAD, (thread) => thread.number(THREAD.PID, pidOf(domid)).number(THREAD.TID, tidOf(domid, vcpu)).text(THREAD.NAME, `vCPU ${vcpu}`)))
    }
    const below = (key: string, name: string, isCounter = false): Track => this.track(`${key} of ${domid}`, (descriptor) => {
      descriptor.number(DESCRIPTOR.PARENT, domain.uuid).text(DESCRIPTOR.NAME, name)
      if (isCounter) descriptor.message(DESCRIPTOR.COUNTER, () => undefined)
    }, isCounter)
    if (device !== undefined) return 'value' in record.details ? below(`${device} ${record.name}`, `${device} ${record.name}`, true) : below(device, device)
    return type === 'store' ? below('store', 'XenStore') : domain
  }

  private track(key: string, describe: (descriptor: MessageWriter) => void, isCounter = false): Track {
    const known = this.tracks.get(key)
    if (known !== undefined) return known
    const track = { uuid: this.tracks.size + 1, isCounter }
    this.tracks.set(key, track)
    this.packet((packet) => packet.message(PACKET.DESCRIPTOR, (descriptor) => {
      descriptor.number(DESCRIPTOR.UUID, track.uuid)
      describe(descriptor)
    }))
    return track
  }

  private event({ time, type, name, details }: TraceRecord, { uuid }: Track, kind: number): void {
    this.packet((packet) => packet.number(PACKET.TIMESTAMP, Math.round(time)).message(PACKET.EVENT, (event) => {
      if (kind === KIND.COUNTER) {
        event.number(EVENT.TYPE, kind).number(EVENT.TRACK, uuid).number(EVENT.COUNTER, Number(details['value']))
        return
      }
      if (kind !== KIND.END) annotate(event, details)
      event.number(EVENT.TYPE, kind).number(EVENT.TRACK, uuid)
      if (kind !== KIND.END) event.text(EVENT.CATEGORIES, type).text(EVENT.NAME, name)
    }))
  }

  private packet(write: (packet: MessageWriter) => void): void {
    this.trace.message(TRACE.PACKET, (packet) => {
      write(packet)
      packet.number(PACKET.SEQUENCE, SEQUENCE)
      if (this.isFirst) packet.number(PACKET.FLAGS, CLEARED)
      this.isFirst = false
    })
  }
}

const vcpuKey = ({ domid, vcpu }: TraceRecord): string => `vcpu ${vcpu} of ${domid}`

function annotate(event: MessageWriter, details: Details): void {
  for (const [name, value] of Object.entries(details)) {
    event.message(EVENT.ANNOTATIONS, (annotation) => {
      if (typeof value === 'string') annotation.text(ANNOTATION.TEXT, value)
      else if (typeof value === 'boolean') annotation.number(ANNOTATION.BOOLEAN, value ? 1 : 0)
      else if (typeof value === 'bigint') annotation.number(ANNOTATION.POINTER, value)
      else annotation.number(value < 0 ? ANNOTATION.SIGNED : ANNOTATION.UNSIGNED, BigInt(Math.round(value)))
      annotation.text(ANNOTATION.NAME, name)
    })
  }
}

/** The file. `nameOf` names domains. */
export function perfettoTrace(records: readonly TraceRecord[], nameOf: (domid: number) => string): Uint8Array {
  const writer = new PerfettoWriter(nameOf)
  for (const record of records) writer.add(record)
  return writer.end(records.at(-1))
}
