/**
 * XenStore over Unix sockets: a server's door for tools that know nothing of this library, and a client's way to any
 * server, xenstored included. Who may connect is decided by the socket file's permissions, as with xenstored: whoever
 * can open it is the privileged domain.
 */
import { chmodSync, lstatSync, unlinkSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { XenError, checkOptions, duration, parseDuration, whole, type Duration } from '../util/index.ts'
import {
  XenStoreClient, type StoreTransport, type TransportListener, type TransportState, type XenStoreServer,
} from '../xenstore/index.ts'
import { BusyPoll, defaultBusyPoll } from './busy-poll.ts'

/** Pieces that are kept for a reader that is behind before the socket is told to stop. */
const WAITING_PIECES = 4

/** A socket as a transport. */
export class SocketTransport implements StoreTransport {
  private readonly socket: Socket
  private pieces: Uint8Array[] = []
  private ended = false
  private gone = false
  private full = false
  private listener: TransportListener | undefined
  private readonly poll: BusyPoll

  /** Polls as `poll` decides, which all sockets of a server share; a client sleeps until something comes. */
  constructor(socket: Socket, poll: BusyPoll = new BusyPoll(0)) {
    this.socket = socket
    this.poll = poll
    socket.on('data', (piece) => this.arrived(piece))
    socket.on('drain', () => this.drained())
    // An error is always followed by 'close', which is where the end is noticed.
    socket.on('error', () => undefined)
    socket.on('end', () => this.finish())
    socket.on('close', () => this.vanished())
  }

  private arrived(piece: Buffer): void {
    // A Buffer's subarray costs several times that of a plain array, and the server takes many of each piece.
    this.pieces.push(new Uint8Array(piece.buffer, piece.byteOffset, piece.length))
    if (this.pieces.length >= WAITING_PIECES) this.socket.pause()
    this.listener?.readable()
    this.poll.arrived()
  }

  private drained(): void {
    this.full = false
    this.listener?.writable()
  }

  private finish(): void {
    if (this.ended) return
    this.ended = true
    this.listener?.readable()
  }

  private vanished(): void {
    this.gone = true
    this.finish()
    this.listener?.writable()
  }

  /** `ended` once the socket has closed and everything that came has been received. */
  get state(): TransportState {
    return this.ended && this.pieces.length === 0 ? 'ended' : 'open'
  }

  receive(): Uint8Array | undefined {
    const piece = this.pieces.shift()
    if (piece !== undefined && this.socket.isPaused() && this.pieces.length === 0) this.socket.resume()
    return piece
  }

  send(bytes: Uint8Array): number {
    if (this.gone) return bytes.length
    if (this.full || !this.socket.writable) return 0
    // The socket may keep what it is given beyond this call, so it gets a copy of its own.
    this.full = !this.socket.write(Buffer.from(bytes))
    return bytes.length
  }

  close(): void {
    this.ended = true
    this.pieces = []
    this.socket.destroy()
  }

  listen(listener: TransportListener): void {
    this.listener = listener
  }
}

/** How the socket is opened. */
export interface XenStoreListenOptions {
  /** Permissions of the socket file: who may connect. Default 0o600, its owner only. */
  readonly mode?: number
  /**
   * How long the process looks for the next message after an answer before it sleeps, while messages follow
   * each other that closely: answers come two to three times as soon, for processor time while waiting. 0 sleeps at
   * once. Default `'200us'`, and 0 on a machine with a single processor.
   */
  readonly busyPoll?: Duration
}

/** An open door. */
export interface XenStoreListener {
  /** Stops accepting, drops the clients that came in here, and removes the socket file. */
  close(): Promise<void>
}

/** Opens the socket so that nobody gets in before its permissions are right. */
function bind(server: Server, path: string, mode: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void => reject(error)
    server.once('error', failed)
    const before = process.umask(0o777 & ~mode)
    try {
      server.listen(path, () => {
        server.off('error', failed)
        chmodSync(path, mode)
        resolve()
      })
    } finally {
      process.umask(before)
    }
  })
}

/** True when somebody listens at the path. */
function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path)
    probe.once('connect', () => {
      probe.destroy()
      resolve(true)
    })
    probe.once('error', () => resolve(false))
  })
}

async function bindOrReplace(server: Server, path: string, mode: number): Promise<void> {
  try {
    await bind(server, path, mode)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code !== 'EADDRINUSE' || !lstatSync(path).isSocket() || await isServed(path)) {
      throw new XenError('IO', `cannot listen at ${path}: ${message}`, { details: { path }, cause: error })
    }
    // A socket file that a dead server left behind.
    unlinkSync(path)
    await bind(server, path, mode)
  }
}

/**
 * Lets clients in through a Unix socket. They are privileged. The server is not driven from here: whoever made it
 * calls its `process`, for example with `onWork: () => setImmediate(() => server.process())`: then all sockets that have
 * something are read first and answered together, which serves many clients a quarter faster than one after the other.
 *
 * @example
 * const door = await listenXenStore(server, '/run/xenstored/socket')
 */
export async function listenXenStore(
  server: XenStoreServer,
  path: string,
  options: XenStoreListenOptions = {},
): Promise<XenStoreListener> {
  const sockets = new Set<Socket>()
  checkOptions('listenXenStore', options, { mode: whole(0, 0o7777), busyPoll: duration() })
  const { busyPoll } = options
  const poll = new BusyPoll(busyPoll === undefined ? defaultBusyPoll() : parseDuration(busyPoll, 'busyPoll') / 1e6)
  const door = createServer((socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    server.addConnection(new SocketTransport(socket, poll))
  })
  await bindOrReplace(door, path, options.mode ?? 0o600)
  return {
    close: () => new Promise((resolve) => {
      door.close(() => resolve())
      for (const socket of sockets) socket.destroy()
    }),
  }
}

/** Connects to the server behind a Unix socket: one of this library's, or xenstored. */
export function connectXenStore(path: string): Promise<XenStoreClient> {
  return new Promise((resolve, reject) => {
    const socket = connect(path)
    const failed = (cause: Error): void => {
      reject(new XenError('IO', `cannot connect to ${path}: ${cause.message}`, { details: { path }, cause }))
    }
    socket.once('error', failed)
    socket.once('connect', () => {
      socket.off('error', failed)
      resolve(new XenStoreClient(new SocketTransport(socket)))
    })
  })
}
