/**
 * The other host, as the transport shows it: it may be silent only for so long, and when it goes in the middle of a
 * migration that is told as what it is, whoever broke off: a stream that ends early is nobody's damaged file here.
 * Its patience is measured by the wall, as the other host may have a clock of its own.
 */
import { parseDuration, XenError, type Duration } from '../../util/index.ts'
import { iterate, openOutput, type ChunkIterator, type LendingChunks, type OpenOutput, type ReadMemory } from '../stream/index.ts'
import type { MigrationTransport } from './transport.ts'

/** How long the other host is waited for. */
export interface PeerOptions {
  /**
   * Longest time, by the wall, that the other host may say nothing while it is waited for, or take nothing of what it is
   * sent; then the migration ends with TIMED_OUT. Default: two minutes, which is more than a guest may take to be
   * suspended. `Infinity` waits for ever.
   */
  readonly peerTimeout?: Duration | undefined
}

const DEFAULT_PATIENCE = 120e9
/** Longest time of a timer, in milliseconds; waiting longer is waiting for ever. */
const LONGEST_TIMER = 0x7fff_ffff

/** The error of a peer that has broken off, or was cut off. */
export const peerGone = (cause?: unknown): XenError =>
  new XenError('CLOSED', 'the other host has ended the migration, or the connection to it was lost', { cause })

/** The same output for what comes before the handover: a peer that takes nothing any more has broken off. */
export const beforeHandover = (output: OpenOutput): OpenOutput => ({
  ...output,
  write: (chunk) => output.write(chunk).catch((error: unknown) => {
    throw XenError.is(error, 'IO') || XenError.is(error, 'CLOSED') ? peerGone(error) : error
  }),
})

/** Whose turn it is: while it is ours, the other host's silence means nothing. */
interface Turn {
  ours: boolean
}

/** Waits for the other host, but not for ever. */
async function patiently<T>(work: Promise<T>, milliseconds: number, what: string, turn: Turn): Promise<T> {
  if (!(milliseconds <= LONGEST_TIMER)) return work
  let timer: ReturnType<typeof setTimeout> | undefined
  try {
    return await Promise.race([work, new Promise<never>((_, reject) => {
      const arm = (): void => { timer = setTimeout(expired, milliseconds) }
      const expired = (): void => {
        if (turn.ours) return arm()
        const seconds = milliseconds / 1000
        reject(new XenError('TIMED_OUT', `the other host has ${what} for ${seconds} s`, { details: { seconds } }))
      }
      arm()
    })])
  } finally {
    clearTimeout(timer)
    work.catch(() => undefined)
  }
}

const THEIRS: Turn = { ours: false }

/** Watches over a transport. Throws INVALID_ARGUMENT for a time-out that is none. */
export function openPeer({ readable, writable }: MigrationTransport, { peerTimeout }: PeerOptions): MigrationPeer {
  const patience = parseDuration(peerTimeout ?? DEFAULT_PATIENCE, 'peerTimeout', { most: Infinity }) / 1e6
  const output = openOutput(writable)
  const turn: Turn = { ours: false }
  const watch = (memory: ReadMemory): AsyncIterable<Uint8Array> =>
    watched(iterate(readable, memory), (work) => patiently(work, patience, 'said nothing', turn))
  return {
    // Only one of the two is ever asked for: who reads is one.
    readable: {
      [Symbol.asyncIterator]: () => watch('fresh')[Symbol.asyncIterator](),
      lent: { [Symbol.asyncIterator]: () => watch('reused')[Symbol.asyncIterator]() },
    },
    output: { ...output, write: (chunk) => patiently(output.write(chunk), patience, 'taken nothing', THEIRS) },
    turn,
  }
}

/** Iterates over what the other host sends: its silence and its end are errors. */
const watched = (
  chunks: ChunkIterator, patient: <T>(work: Promise<T>) => Promise<T>,
): AsyncIterable<Uint8Array> => ({
  [Symbol.asyncIterator]: () => ({
    next: async () => {
      const next = await patient((async () => chunks.next())()).catch((error: unknown) => {
        // What a pipe that packs cannot make sense of is no end of it.
        throw XenError.is(error, 'TIMED_OUT') || XenError.is(error, 'INVALID_STREAM') ? error : peerGone(error)
      })
      if (next.done === true) throw peerGone()
      return next
    },
    return: async () => {
      await chunks.return?.()
      return { done: true, value: undefined }
    },
  }),
})

/** One end of a transport, watched over: what is read from it, and where to write. */
export interface MigrationPeer {
  readonly readable: LendingChunks
  readonly output: OpenOutput
  /** To be set while the other host is not expected to say anything. */
  readonly turn: Turn
}
