/**
 * Who watches what, found by path: a change looks up its own path and those above it, so its cost does not grow with
 * the number of watches elsewhere. Events go out in the order in which the watches were set.
 *
 * Reference: xen/docs/misc/xenstore.txt, section "Watches"; tools/xenstored/watch.c for depth and special watches.
 */
import type { Asker } from '../tree/permissions.ts'

/** A request that waits for others to take the events that it caused. */
export interface EventCause {
  /** Events not taken yet. */
  pending: number
}

/** Whose watches they are: a connection. */
export interface WatchOwner {
  readonly privileged: boolean
  /** In whose name the connection asks. */
  asker(): Asker
  /** Sends a watch's event for a changed path. */
  deliver(watch: Watch, path: string, cause: EventCause | undefined): void
}

/** One watch of one connection. */
export interface Watch {
  readonly session: WatchOwner
  /** The watched node, absolute. */
  readonly path: string
  readonly token: string
  /** Levels below the node that count; -1 for all. */
  readonly depth: number
  /** Characters to leave out of the path in events: a watch set by a relative path reports relative ones. */
  readonly prefixLength: number
  /** Order of setting, over all connections. */
  readonly sequence: number
}

/** Which watches a change concerns. */
export const MATCH = {
  /** Watches set on exactly this path. */
  EXACT: 0,
  /** Watches on this path and on those above it, as their depth allows. */
  SUBTREE: 1,
  /** Watches without a depth on exactly this path: `@releaseDomain` as it always was. */
  WITHOUT_DEPTH: 2,
  /** Exact watches, and those with a depth above: `@releaseDomain/5`. */
  WITH_DEPTH: 3,
} as const

/** One of {@link MATCH}. */
export type Match = (typeof MATCH)[keyof typeof MATCH]

/** All watches of a store. */
export class WatchRegistry {
  private readonly byPath = new Map<string, Set<Watch>>()
  private sequence = 0
  private count = 0
  /** What was found above a node last, while no watch comes or goes. */
  private recent: { readonly parent: string | undefined; readonly match: Match; readonly found: readonly Watch[] } | undefined

  /** How many watches there are. */
  get size(): number {
    return this.count
  }

  /** The sequence number of the next watch. */
  nextSequence(): number {
    this.sequence += 1
    return this.sequence
  }

  add(watch: Watch): void {
    this.recent = undefined
    const set = this.byPath.get(watch.path)
    if (set === undefined) this.byPath.set(watch.path, new Set([watch]))
    else set.add(watch)
    this.count += 1
  }

  delete(watch: Watch): void {
    const set = this.byPath.get(watch.path)
    if (set === undefined || !set.delete(watch)) return
    this.recent = undefined
    this.count -= 1
    if (set.size === 0) this.byPath.delete(watch.path)
  }

  /** The watches that a change of `path` concerns, in the order in which they were set. */
  matching(path: string, match: Match): readonly Watch[] {
    if (this.count === 0) return []
    const found: Watch[] = []
    const exact = this.byPath.get(path)
    if (exact !== undefined) for (const watch of exact) if (match !== MATCH.WITHOUT_DEPTH || watch.depth < 0) found.push(watch)
    if (match === MATCH.SUBTREE || match === MATCH.WITH_DEPTH) for (const watch of this.above(path, match)) found.push(watch)
    return found.length < 2 ? found : found.sort((a, b) => a.sequence - b.sequence)
  }

  /** Watches on the nodes above; those of a node's children, which mostly change one after the other, are looked for once. */
  private above(path: string, match: Match): readonly Watch[] {
    const parent = path.length > 1 ? path.slice(0, path.lastIndexOf('/')) : undefined
    const known = this.recent
    if (known !== undefined && known.parent === parent && known.match === match) return known.found
    const found: Watch[] = []
    this.collect(path, match, found)
    this.recent = { parent, match, found }
    return found
  }

  private collect(path: string, match: Match, found: Watch[]): void {
    let levels = 0
    let end = path.length
    while (end > 1) {
      const slash = path.lastIndexOf('/', end - 1)
      if (slash < 0 || (slash === 0 && end === 1)) return
      levels += 1
      end = slash
      const set = this.byPath.get(slash === 0 ? '/' : path.slice(0, slash))
      if (set === undefined) continue
      for (const watch of set) {
        const unlimited = watch.depth < 0 && match !== MATCH.WITH_DEPTH
        if (unlimited || watch.depth >= levels) found.push(watch)
      }
    }
  }
}
