/**
 * Time-outs of a socket whose other end is not trusted: one that says nothing, or stops in the middle, is ended and does
 * not keep what waits for it. Time is that of the wall: a peer lives in no host's virtual time.
 */
import type { Socket } from 'node:net'
import { XenError, parseDuration, type Duration } from '../util/index.ts'

/** How long a peer may be silent. */
export interface SocketLimits {
  /** Until its first message has come, from when it was connected or accepted. Default 10 seconds. */
  readonly handshakeTimeout?: Duration | undefined
  /** Without a byte in either direction. Default one minute; Infinity for ever. */
  readonly idleTimeout?: Duration | undefined
}

const DEFAULTS = { handshakeTimeout: '10s', idleTimeout: '60s' } as const
/** Milliseconds beyond which a timer of Node does not reach. */
const LONGEST = 0x7fff_ffff

/** Milliseconds of a limit; 0, which stands for none, beyond what a timer can reach. */
function milliseconds(limits: SocketLimits, name: keyof SocketLimits): number {
  const nanoseconds = parseDuration(limits[name] ?? DEFAULTS[name], name, { most: Infinity })
  const result = Math.max(1, Math.ceil(nanoseconds / 1e6))
  return result > LONGEST ? 0 : result
}

/** The limits in milliseconds, checked; 0 for none. */
export interface CheckedLimits {
  readonly handshake: number
  readonly idle: number
}

/** Looks at limits before anything is opened. Throws INVALID_ARGUMENT. */
export const checkLimits = (limits: SocketLimits): CheckedLimits =>
  ({ handshake: milliseconds(limits, 'handshakeTimeout'), idle: milliseconds(limits, 'idleTimeout') })

const timedOut = (what: string, after: number): XenError =>
  new XenError('TIMED_OUT', `the other host ${what} for ${after / 1000} s`, { details: { milliseconds: after } })

/** Ends the socket with TIMED_OUT when nothing moves for the idle time. */
export function limitIdle(socket: Socket, { idle }: CheckedLimits): void {
  if (idle === 0) return
  socket.setTimeout(idle, () => socket.destroy(timedOut('has said nothing', idle)))
}

/** Ends the socket with TIMED_OUT unless its first `bytes` bytes come within the handshake's time. */
export function limitHandshake(socket: Socket, bytes: number, { handshake }: CheckedLimits): void {
  if (handshake === 0) return
  const before = socket.bytesRead
  const timer = setTimeout(() => {
    if (socket.bytesRead - before < bytes) socket.destroy(timedOut('has not begun', handshake))
  }, handshake)
  timer.unref()
  socket.once('close', () => clearTimeout(timer))
}
