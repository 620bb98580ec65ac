/**
 * How GDB is told why a guest stands, and names of threads: a vCPU is a thread, with the number behind its own.
 * Reference: GDB manual, Stop Reply Packets.
 */
import type { Stop } from '../inferior/stop.ts'
import { hexByte } from './packets.ts'

/** Signals by GDB's numbers. */
const SIGNAL = { INT: 2, ILL: 4, TRAP: 5, ABRT: 6, FPE: 8, BUS: 7, SEGV: 11 } as const

/** Signals of exceptions that a guest has not survived. */
const OF_VECTOR: Readonly<Record<number, number>> = { 0: SIGNAL.FPE, 6: SIGNAL.ILL, 8: SIGNAL.BUS, 13: SIGNAL.SEGV, 14: SIGNAL.SEGV, 16: SIGNAL.FPE, 17: SIGNAL.BUS, 19: SIGNAL.FPE }

/** A thread: a vCPU of a domain, or several of them. */
export interface ThreadName {
  readonly domid: number | 'all' | 'any'
  readonly vcpu: number | 'all' | 'any'
}

/** How threads are named: with their process, where the debugger knows of several. */
export class ThreadNames {
  /** The debugger speaks of processes. */
  isMultiprocess = false

  /** The name of a vCPU's thread. */
  of(domid: number, vcpu: number): string {
    const thread = (vcpu + 1).toString(16)
    return this.isMultiprocess ? `p${domid.toString(16)}.${thread}` : thread
  }
}

function numberOf(text: string): number | 'all' | 'any' | undefined {
  if (text === '-1') return 'all'
  if (!/^[0-9a-f]{1,4}$/i.test(text)) return undefined
  const number = Number.parseInt(text, 16)
  return number === 0 ? 'any' : number
}

/** What a thread's name means; undefined for what is none. A name without a process is one of any. */
export function threadNamed(name: string): ThreadName | undefined {
  const [, process, thread] = /^p(-1|[0-9a-f]+)(?:\.(-1|[0-9a-f]+))?$/i.exec(name) ?? []
  const domid = process === undefined ? 'any' : numberOf(process)
  const vcpu = process === undefined ? numberOf(name) : thread === undefined ? 'all' : numberOf(thread)
  if (domid === undefined || vcpu === undefined) return undefined
  return { domid, vcpu: typeof vcpu === 'number' ? vcpu - 1 : vcpu }
}

const WATCH = { write: 'watch', read: 'rwatch', access: 'awatch' } as const

/** The packet. */
export function stopReply(stop: Stop, names: ThreadNames): string {
  if (stop.type === 'ended') return names.isMultiprocess ? `W00;process:${stop.domid.toString(16)}` : 'W00'
  const at = `thread:${names.of(stop.domid, stop.vcpu)};`
  switch (stop.type) {
    case 'breakpoint': return `T${hexByte(SIGNAL.TRAP)}${at}swbreak:;`
    case 'step': return `T${hexByte(SIGNAL.TRAP)}${at}`
    case 'beginning': return `T${hexByte(SIGNAL.TRAP)}${at}replaylog:begin;`
    case 'watchpoint': return `T${hexByte(SIGNAL.TRAP)}${at}${WATCH[stop.watch.kind]}:${stop.watch.address.toString(16)};`
    case 'crashed': return `T${hexByte(stop.vector === undefined ? SIGNAL.ABRT : OF_VECTOR[stop.vector] ?? SIGNAL.ABRT)}${at}`
    case 'interrupt':
    case 'paused': return `T${hexByte(SIGNAL.INT)}${at}`
  }
}
