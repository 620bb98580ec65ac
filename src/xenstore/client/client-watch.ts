/** One watch on the client's side: events wait here until they are taken, each different one once, and not without end. */
import { ChangeQueue } from '../store/change-queue.ts'
import type { StoreRequest } from '../protocol/messages.ts'
import type { XenError } from '../../util/index.ts'

/** A change that a watch reports. */
export interface WatchEvent {
  /** The node that changed; relative when the watch was set by a relative path. */
  readonly path: string
  readonly token: string
}

/** The watch. */
export class ClientWatch {
  readonly path: string
  readonly token: string
  /** Takes events as they come, instead of the queue. */
  listener: ((event: WatchEvent) => void) | undefined
  readonly depth: number | undefined
  private readonly waiting: ChangeQueue
  private ended = false
  private failure: XenError | undefined
  private wake: (() => void) | undefined

  constructor(path: string, token: string, depth: number | undefined) {
    this.path = path
    this.token = token
    this.depth = depth
    this.waiting = new ChangeQueue(path)
  }

  /** The request that sets it. */
  request(): StoreRequest {
    return { op: 'watch', path: this.path, token: this.token, depth: this.depth }
  }

  /** Takes an event in. */
  push({ path, token }: WatchEvent): void {
    if (this.ended) return
    if (this.listener !== undefined) {
      this.listener({ path, token })
      return
    }
    this.waiting.push(path)
    this.wake?.()
  }

  /** The next event; undefined at the end. */
  async next(): Promise<WatchEvent | undefined> {
    for (;;) {
      if (this.failure !== undefined) throw this.failure
      if (this.ended) return undefined
      const path = this.waiting.take()
      if (path !== undefined) return { path, token: this.token }
      await new Promise<void>((resolve) => { this.wake = resolve })
    }
  }

  /** Ends it; whoever waits gets no more. */
  end(): void {
    this.ended = true
    this.wake?.()
  }

  /** Ends it with an error. */
  fail(error: XenError): void {
    this.failure = error
    this.wake?.()
  }
}
