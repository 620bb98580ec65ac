/**
 * Requests of one ring that its store has not answered, by their number: what each reads and where, and how its answer
 * goes on to the guest. An answer comes from the store, or from a record of another run that the store stays silent in.
 */
import type { HypercallPort } from '../../guest/index.ts'
import { XenError } from '../../util/index.ts'
import { markWritten } from './store-work.ts'

/** Memory of the host, in which stores leave what they read. */
type HostMemory = HypercallPort['memory']

/** An answer of a store that did not come at once. */
export interface StoreAnswer {
  /** Which of the requests that were waited for it answers, since the ring was connected: the first is 1. */
  readonly request: number
  readonly okay: boolean
  /** A copy of what was read, as it lies in the guest's pages; empty for a request that reads nothing. */
  bytes(): Uint8Array
}

/** An answer that was taken down: what {@link StoreAnswer} says, as plain data. */
export interface RecordedAnswer {
  readonly request: number
  readonly okay: boolean
  readonly bytes: Uint8Array
}

/** A request that waits for its store. */
export interface WaitingRequest {
  /** Where in the host's memory its bytes go: start and length, in pairs. Empty when it reads nothing. */
  readonly reads: Uint32Array
  /** Lets time go on. */
  release(): void
  /** Carries the answer to the guest. */
  take(okay: boolean): void
}

/** The waiting requests of one ring. */
export class WaitingRequests {
  /** How many requests were waited for so far. */
  asked = 0
  private readonly memory: HostMemory
  private readonly waiting = new Map<number, WaitingRequest>()
  private readonly idle: (() => void)[] = []

  constructor(memory: HostMemory) {
    this.memory = memory
  }

  /** How many wait now. */
  get size(): number {
    return this.waiting.size
  }

  /** True while the request with this number waits. */
  has(number: number): boolean {
    return this.waiting.has(number)
  }

  /** Notes a request; its number. */
  add(request: WaitingRequest): number {
    this.asked += 1
    this.waiting.set(this.asked, request)
    return this.asked
  }

  /** Ends a request. One that a record has answered before its store does nothing. */
  take(number: number, okay: boolean): void {
    const request = this.waiting.get(number)
    if (request === undefined) return
    request.release()
    this.waiting.delete(number)
    request.take(okay)
    if (this.waiting.size === 0) for (const resolve of this.idle.splice(0)) resolve()
  }

  /** Time stands still for none of them any longer; resolves when none waits any more. */
  async end(): Promise<void> {
    for (const request of this.waiting.values()) request.release()
    if (this.waiting.size > 0) await new Promise<void>((resolve) => this.idle.push(resolve))
  }

  /** A copy of what a request has read so far. */
  bytesOf(number: number): Uint8Array {
    const { reads } = this.known(number)
    const bytes = new Uint8Array(lengthOf(reads))
    let at = 0
    for (let index = 0; index < reads.length; index += 2) {
      const [from, length] = [reads[index]!, reads[index + 1]!]
      bytes.set(this.memory.bytes.subarray(from, from + length), at)
      at += length
    }
    return bytes
  }

  /**
   * Puts bytes where a request reads them to. Throws INVALID_STATE when no such request waits, INVALID_ARGUMENT when it
   * reads another number of bytes.
   */
  fill(number: number, bytes: Uint8Array): void {
    const { reads } = this.known(number)
    const expected = lengthOf(reads)
    if (bytes.length !== expected) {
      throw new XenError('INVALID_ARGUMENT', `request ${number} reads ${expected} bytes, not ${bytes.length}`, {
        details: { request: number, expected, length: bytes.length },
      })
    }
    let at = 0
    for (let index = 0; index < reads.length; index += 2) {
      const [from, length] = [reads[index]!, reads[index + 1]!]
      this.memory.bytes.set(bytes.subarray(at, at + length), from)
      markWritten(this.memory, from, length)
      at += length
    }
  }

  private known(number: number): WaitingRequest {
    const request = this.waiting.get(number)
    if (request !== undefined) return request
    throw new XenError('INVALID_STATE', `no request ${number} waits for its store`, { details: { request: number } })
  }
}

function lengthOf(reads: Uint32Array): number {
  let length = 0
  for (let index = 1; index < reads.length; index += 2) length += reads[index]!
  return length
}
