/**
 * A client for measuring servers: it sends prepared bytes and only counts what comes back, so that it costs as little
 * as possible beside either server.
 */
import type { Socket } from 'node:net'
import { connectPatiently } from '../../support/peer-client.ts'

const EVENT = 15
const ERROR = 16

/** One connection. */
export class LoadClient {
  /** Replies received, errors among them. */
  replies = 0
  /** Watch events received. */
  events = 0
  /** The body of the last reply. */
  last = ''
  /** Errors that were not expected, by name. */
  readonly errors: string[] = []
  private readonly socket: Socket
  private rest: Buffer = Buffer.alloc(0)
  private wanted: { replies: number; events: number; resolve: () => void } | undefined

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (piece) => this.take(piece))
    socket.on('error', () => undefined)
  }

  static async connect(path: string): Promise<LoadClient> {
    return new LoadClient(await connectPatiently(path))
  }

  private take(piece: Buffer): void {
    const bytes = this.rest.length === 0 ? piece : Buffer.concat([this.rest, piece])
    let at = 0
    while (at + 16 <= bytes.length) {
      const end = at + 16 + bytes.readUInt32LE(at + 12)
      if (end > bytes.length) break
      const type = bytes.readUInt32LE(at)
      if (type === EVENT) this.events += 1
      else {
        this.replies += 1
        if (type === ERROR) this.errors.push(bytes.toString('latin1', at + 16, end - 1))
        if (end === bytes.length) this.last = bytes.toString('latin1', at + 16, end)
      }
      at = end
    }
    this.rest = bytes.subarray(at)
    const { wanted } = this
    if (wanted === undefined || this.replies < wanted.replies || this.events < wanted.events) return
    this.wanted = undefined
    wanted.resolve()
  }

  /** Sends bytes; resolves when so many more replies and events have come. */
  send(bytes: Uint8Array, replies: number, events = 0): Promise<void> {
    return new Promise((resolve) => {
      this.wanted = { replies: this.replies + replies, events: this.events + events, resolve }
      this.socket.write(bytes)
    })
  }

  /** Resolves when so many more events have come. */
  receive(events: number): Promise<void> {
    return new Promise((resolve) => { this.wanted = { replies: 0, events: this.events + events, resolve } })
  }

  close(): void {
    this.socket.destroy()
  }
}

/** Many messages in a row as one piece of bytes. */
export const batch = (messages: readonly Uint8Array[]): Uint8Array => Buffer.concat(messages)

/**
 * Messages that are sent again and again, each time in another transaction: written once, so that a measurement loads
 * the server and not the client.
 */
export class PreparedBatch {
  readonly count: number
  readonly bytes: Buffer
  private readonly starts: readonly number[]

  constructor(messages: readonly Uint8Array[]) {
    this.count = messages.length
    this.bytes = Buffer.concat(messages)
    let at = 0
    this.starts = messages.map((each) => {
      at += each.length
      return at - each.length
    })
  }

  /** The bytes, with a transaction's number in the messages from `first` to before `end`. */
  within(transaction: number, first = 0, end = this.count): Uint8Array {
    for (let i = first; i < end; i += 1) this.bytes.writeUInt32LE(transaction, this.starts[i]! + 8)
    return this.bytes
  }
}

/** A message. */
export function message(type: number, body: string, tx = 0): Uint8Array {
  const bytes = Buffer.allocUnsafe(16 + body.length)
  bytes.writeUInt32LE(type, 0)
  bytes.writeUInt32LE(1, 4)
  bytes.writeUInt32LE(tx, 8)
  bytes.writeUInt32LE(body.length, 12)
  bytes.write(body, 16, 'latin1')
  return bytes
}
