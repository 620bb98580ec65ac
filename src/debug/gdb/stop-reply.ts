/**
 * How GDB is told why a guest stands, and names of threads.
 * Reference: GDB manual, Stop Reply Packets.
 */
import type { Stop, ThreadPlace } from '../inferior/stop.ts'
import { hexByte } from './packets.ts'

/** Signals by GDB's numbers. */
const SIGNAL = { INT: 2, ILL: 4, TRAP: 5, ABRT: 6, FPE: 8, BUS: 10, SEGV: 11 } as const

/** Signals of exceptions that a guest has not survived. */
const OF_VECTOR: Readonly<Record<number, number>> = { 0: SIGNAL.FPE, 6: SIGNAL.ILL, 8: SIGNAL.BUS, 13: SIGNAL.SEGV, 14: SIGNAL.SEGV, 16: SIGNAL.FPE, 17: SIGNAL.BUS, 19: SIGNAL.FPE }

/** Signals that end processes, of which Linux and GDB have different numbers. */
const OF_LINUX: Readonly<Record<number, number>> = { 7: SIGNAL.BUS, 10: 30, 12: 31, 31: 12 }

/** A thread, or several of them. */
export interface ThreadName {
  readonly process: number | 'all' | 'any'
  readonly thread: number | 'all' | 'any'
}

/** How threads are named: with their process, where the debugger knows of several. */
export class ThreadNames {
  /** The debugger speaks of processes. */
  isMultiprocess = false

  /** The name of a thread. */
  of({ process, thread }: ThreadPlace): string {
    return this.isMultiprocess ? `p${process.toString(16)}.${thread.toString(16)}` : thread.toString(16)
  }
}

function numberOf(text: string): number | 'all' | 'any' | undefined {
  if (text === '-1') return 'all'
  if (!/^[0-9a-f]{1,8}$/i.test(text)) return undefined
  const number = Number.parseInt(text, 16)
  return number === 0 ? 'any' : number
}

/** What a thread's name means; undefined for what is none. A name without a process is one of any. */
export function threadNamed(name: string): ThreadName | undefined {
  const [, inProcess, thread] = /^p(-1|[0-9a-f]+)(?:\.(-1|[0-9a-f]+))?$/i.exec(name) ?? []
  const process = inProcess === undefined ? 'any' : numberOf(inProcess)
  const number = inProcess === undefined ? numberOf(name) : thread === undefined ? 'all' : numberOf(thread)
  return process === undefined || number === undefined ? undefined : { process, thread: number }
}

const WATCH = { write: 'watch', read: 'rwatch', access: 'awatch' } as const

/** A process that has exited, or was ended by a signal. */
function endReply({ domid, process }: Extract<Stop, { readonly type: 'ended' }>, names: ThreadNames): string {
  const signal = (process?.status ?? 0) & 0x7f
  const what = signal === 0 ? `W${hexByte((process?.status ?? 0) >> 8)}` : `X${hexByte(OF_LINUX[signal] ?? signal)}`
  return names.isMultiprocess ? `${what};process:${(process?.number ?? domid).toString(16)}` : what
}

/** The packet; `place`: the thread that is told of. */
export function stopReply(stop: Stop, place: ThreadPlace, names: ThreadNames): string {
  if (stop.type === 'ended') return endReply(stop, names)
  const at = `thread:${names.of(place)};`
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
