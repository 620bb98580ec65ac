/** A block store that does to requests what faults want: it fails them, loses a part of them, flips a bit, lets them wait. */
import type { BlockStore, DiskServices } from '../../drivers/index.ts'
import { XenError } from '../../util/index.ts'
import { StoreBetween } from '../disk/store-between.ts'
import type { DiskEffect, DiskFacts } from './fault-row.ts'

/** Asks what becomes of a request; undefined: nothing is done to it. */
export type DiskJudge = (facts: Omit<DiskFacts, 'domid' | 'disk'>) => DiskEffect | undefined

/** Stands between a back-end and a store. */
export class FaultyStore extends StoreBetween {
  private readonly services: DiskServices
  private readonly judge: DiskJudge

  constructor(store: BlockStore, services: DiskServices, judge: DiskJudge) {
    super(store)
    this.services = services
    this.judge = judge
  }

  read(offset: number, target: Uint8Array): void | Promise<void> {
    return this.carry({ kind: 'read', offset, length: target.length }, () => this.store.read(offset, target), ({ flip }) => {
      if (flip !== undefined) target[flip >>> 3]! ^= 1 << (flip & 7)
    })
  }

  write(offset: number, source: Uint8Array): void | Promise<void> {
    return this.carry({ kind: 'write', offset, length: source.length }, ({ arrives }) => {
      const rest = arrives === undefined ? source : source.subarray(0, arrives)
      return rest.length === 0 ? undefined : this.store.write(offset, rest)
    })
  }

  flush(): void | Promise<void> {
    return this.carry({ kind: 'flush', offset: 0, length: 0 }, () => this.store.flush())
  }

  close(): void | Promise<void> {
    return this.store.close()
  }

  protected discarding(offset: number, length: number): void | Promise<void> {
    return this.carry({ kind: 'discard', offset, length }, () => this.store.discard?.(offset, length))
  }

  /** Lets a request through as it is to be: what is not done at all fails at once, what is torn fails behind what arrives. */
  private carry(facts: Omit<DiskFacts, 'domid' | 'disk'>, work: (effect: DiskEffect) => void | Promise<void>, behind: (effect: DiskEffect) => void = () => undefined): void | Promise<void> {
    const effect = this.judge(facts)
    if (effect === undefined) return this.held(work({}))
    const isDone = effect.error === undefined || effect.arrives !== undefined
    const { delay } = effect
    // A timer is set while the back-end is at work: behind that an idle host's time is elsewhere.
    const later = delay === undefined ? undefined : () => new Promise<void>((resolve) => this.services.after(delay, resolve))
    const done = isDone ? this.held(work(effect), later) : later?.()
    const end = (): void => {
      behind(effect)
      if (effect.error !== undefined) throw new XenError('IO', `${effect.error} (a fault of the test)`, { details: { ...facts } })
    }
    return done === undefined ? end() : done.then(end)
  }

  /** Time stands still for what is outside of the host. */
  private held(done: void | Promise<void>, later?: () => Promise<void>): void | Promise<void> {
    if (done === undefined) return later?.()
    const release = this.services.hold()
    return Promise.resolve(done).then(() => {
      const waited = later?.()
      release()
      return waited
    }, (error: unknown) => {
      release()
      throw error
    })
  }
}
