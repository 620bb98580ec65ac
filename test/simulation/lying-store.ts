/**
 * A store as one side reaches it: questions and answers take time, none reaches who sleeps or is dead, and for a while it may lie: answer as it was some time ago, say that
 * this is how it is now, say nothing of changes any more, or leave some of them out.
 */
import type { ClusterStore, MemoryConnection, StoreBatch, StoreEntry, StoreLease, StoreRange } from '../../src/fleet/index.ts'
import type { Side, SimClock } from './sim-clock.ts'

/** What a store does wrong. */
export const LIES = ['stale', 'lying', 'mute', 'gaps'] as const
/** One of them. */
export type Lie = (typeof LIES)[number]

/** How a store is told of. */
export interface DistantParts {
  readonly clock: SimClock
  /** Who asks, and who answers. */
  readonly side: Side
  readonly storeSide: Side
  readonly store: MemoryConnection
  /** Milliseconds that a word takes. */
  latency(): number
}

/** The store, and its lies. */
export class DistantStore implements ClusterStore {
  private readonly parts: DistantParts
  private readonly until = new Map<Lie, number>()
  /** What reads are answered from while they are stale. */
  private past: StoreRange | undefined
  private batches = 0

  constructor(parts: DistantParts) {
    this.parts = parts
  }

  /** Lies for so many milliseconds. */
  async lie(how: Lie, milliseconds: number): Promise<void> {
    const { clock, store } = this.parts
    if (how === 'stale' || how === 'lying') this.past = await store.range('').catch(() => undefined)
    this.until.set(how, clock.now + milliseconds)
  }

  /** Lies no more. */
  isHonest(): void {
    this.until.clear()
  }

  private does(how: Lie): boolean {
    return this.parts.clock.now < (this.until.get(how) ?? 0)
  }

  private far<T>(ask: () => Promise<T>): Promise<T> {
    const { clock, side, storeSide, latency } = this.parts
    return new Promise((resolve, reject) => {
      clock.after(storeSide, latency(), () => {
        ask().then((answer) => clock.after(side, latency(), () => resolve(answer)), (error: unknown) => clock.after(side, latency(), () => reject(error as Error)))
      })
    })
  }

  get(key: string): Promise<StoreEntry | undefined> {
    return this.far(async () => {
      const now = await this.parts.store.get(key)
      return this.past !== undefined && (this.does('stale') || this.does('lying')) ? this.past.entries.find((entry) => entry.key === key) : now
    })
  }

  range(prefix: string): Promise<StoreRange> {
    return this.far(async () => {
      const now = await this.parts.store.range(prefix)
      if (this.past === undefined || !(this.does('stale') || this.does('lying'))) return now
      return { entries: this.past.entries.filter(({ key }) => key.startsWith(prefix)), revision: this.does('lying') ? now.revision : this.past.revision }
    })
  }

  txn(...given: Parameters<ClusterStore['txn']>): ReturnType<ClusterStore['txn']> {
    return this.far(() => this.parts.store.txn(...given))
  }

  async lease(...given: Parameters<ClusterStore['lease']>): Promise<StoreLease> {
    const { id, ttl, keepAlive, revoke } = await this.far(() => this.parts.store.lease(...given))
    return { id, ttl, keepAlive: () => this.far(keepAlive), revoke: () => this.far(revoke) }
  }

  async *watch(...given: Parameters<ClusterStore['watch']>): AsyncGenerator<StoreBatch, void> {
    const { clock, side, store, latency } = this.parts
    const [, { signal } = {}] = given
    for await (const batch of store.watch(...given)) {
      await new Promise<void>((resolve) => void clock.after(side, latency(), resolve))
      this.batches += 1
      // Once it has fallen silent it stays so, and says not even that.
      if (this.does('mute')) return await aborted(signal)
      if (this.does('gaps') && this.batches % 2 === 0) continue
      yield batch
    }
  }

  close(): void {
    this.parts.store.close()
  }
}

/** Resolves when a signal fires. */
const aborted = (signal: AbortSignal | undefined): Promise<void> => new Promise((resolve) => {
  if (signal?.aborted === true) resolve()
  else signal?.addEventListener('abort', () => resolve(), { once: true })
})
