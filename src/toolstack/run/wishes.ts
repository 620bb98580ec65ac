/**
 * Wishes that a guest fulfils in its own time, of which only the newest counts: memory targets, numbers of vCPUs. An
 * older one that is overtaken is over, and does not undo the newer one; when the newest is taken back, what was there
 * before the first unfulfilled one is back.
 */
import { XenError, type DomId } from '../../util/index.ts'

/** One wish, not yet fulfilled. */
export interface Wish<S> {
  /** Throws SUPERSEDED when a newer wish has taken its place. */
  check(): void
  /** It has come true. */
  fulfil(): void
  /** It will not come true: `undo` is called with what was there before, unless a newer wish counts. */
  takeBack(undo: (before: S) => void): void
}

interface Chain<S> {
  readonly before: S
  newest: { superseded: boolean }
}

/** The unfulfilled wishes of one kind, by domain. */
export class Wishes<S> {
  private readonly kind: string
  private readonly chains = new Map<DomId, Chain<S>>()

  /** `kind` says what is wished for: "memory target". */
  constructor(kind: string) {
    this.kind = kind
  }

  /** True while a wish is not fulfilled. */
  get pending(): boolean {
    return this.chains.size > 0
  }

  /** What was there before the first wish that is not yet fulfilled; undefined when there is none. */
  before(domid: DomId): S | undefined {
    return this.chains.get(domid)?.before
  }

  /** A new wish, which overtakes those before it; `before` is what is there now. */
  begin(domid: DomId, before: S): Wish<S> {
    const own = { superseded: false }
    const chain = this.chains.get(domid) ?? { before, newest: own }
    chain.newest.superseded = chain.newest !== own
    chain.newest = own
    this.chains.set(domid, chain)
    const isNewest = (): boolean => this.chains.get(domid)?.newest === own
    const end = (): void => void this.chains.delete(domid)
    return {
      check: () => {
        if (!own.superseded) return
        throw new XenError('SUPERSEDED', `this ${this.kind} of domain ${domid} was overtaken by a newer one`, {
          details: { domid },
        })
      },
      fulfil: () => {
        if (isNewest()) end()
      },
      takeBack: (undo) => {
        if (!isNewest()) return
        end()
        undo(chain.before)
      },
    }
  }
}
