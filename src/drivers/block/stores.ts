/**
 * The stores of a back-end's disks as one state. What lies in memory alone is saved with its contents, once, however many
 * disks share it. Everything else is opened anew by whoever opened it; the changes that overlays keep above it are saved.
 */
import { badState, shape, XenError, type StateOf } from '../../util/index.ts'
import type { BlockStore } from './block-store.ts'
import type { DiskRequest } from './disk-request.ts'
import { diskRequest } from './disk-request.ts'
import { LateOverlay } from './late-overlay.ts'
import { MemoryBlockStore, memoryStoreState, type MemoryStoreState } from './memory-store.ts'
import { OverlayBlockStore, overlayState, type OverlayState } from './overlay-store.ts'

/** A saved store that lies in memory alone. */
export interface SavedMemoryStore {
  readonly kind: 'memory'
  readonly content: MemoryStoreState
}

/** A saved overlay over a store in memory. */
export interface SavedOverlay {
  readonly kind: 'overlay'
  /** The place of the store below, which stands before it. */
  readonly base: number
  readonly changes: OverlayState
}

/** A store that is to be opened again. */
export interface SavedOpening {
  readonly kind: 'opened'
  readonly request: DiskRequest
  /** Bytes that it had. */
  readonly size: number
  /** What was changed since the store was to stay as it is; absent while it need not. */
  readonly since?: OverlayState | undefined
  /** Of the overlays that the opener answers, the uppermost first. */
  readonly changes: readonly OverlayState[]
}

const memory = /* @__PURE__ */ shape.record<SavedMemoryStore>({ kind: /* @__PURE__ */ shape.oneOf('memory'), content: memoryStoreState })
const overlay = /* @__PURE__ */ shape.record<SavedOverlay>({
  kind: /* @__PURE__ */ shape.oneOf('overlay'), base: /* @__PURE__ */ shape.whole(0, 2 ** 20), changes: overlayState,
})
const opened = /* @__PURE__ */ shape.record<SavedOpening>({
  kind: /* @__PURE__ */ shape.oneOf('opened'), request: diskRequest, size: shape.time, since: /* @__PURE__ */ shape.optional(overlayState),
  changes: /* @__PURE__ */ shape.list(overlayState, 64),
})

/** One saved store: what it holds, or what lies above the store below and what it is opened by. */
export type StoreState = SavedMemoryStore | SavedOverlay | SavedOpening

/** All stores, in an order in which each can be made. */
export const storesState = /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.variant<StoreState>('kind', { memory, overlay, opened }), 2 ** 20)

/** Saved stores. */
export type StoresState = StateOf<typeof storesState>

/** A disk's store, and what it was opened for. */
export interface OpenedStore {
  readonly store: BlockStore
  readonly request: DiskRequest
}

/** True for a store whose contents are all in memory: nobody has to open anything for it. */
export const isHeld = (store: BlockStore): boolean =>
  store instanceof MemoryBlockStore || (store instanceof OverlayBlockStore && isHeld(store.below))

/** The stores of disks, each once, with those below them, in an order in which each can be made. */
export function listStores(disks: readonly OpenedStore[]): readonly OpenedStore[] {
  const found = new Map<BlockStore, OpenedStore>()
  const add = (entry: OpenedStore): void => {
    const { store, request } = entry
    if (found.has(store)) return
    if (store instanceof OverlayBlockStore && isHeld(store)) add({ store: store.below, request })
    found.set(store, entry)
  }
  disks.forEach(add)
  return [...found.values()]
}

function changesOf(store: BlockStore): OverlayState[] {
  return store instanceof OverlayBlockStore ? [store.save(), ...changesOf(store.below)] : []
}

const openedChanges = (store: BlockStore): Pick<SavedOpening, 'since' | 'changes'> =>
  (store instanceof LateOverlay ? { since: store.changes(), changes: changesOf(store.base) } : { changes: changesOf(store) })

/** The stores as plain data. */
export function saveStores(disks: readonly OpenedStore[]): StoresState {
  const all = listStores(disks)
  return all.map(({ store, request }): StoreState => {
    if (store instanceof MemoryBlockStore) return { kind: 'memory', content: store.save() }
    if (!isHeld(store) || !(store instanceof OverlayBlockStore)) return { kind: 'opened', request: { ...request }, size: store.size, ...openedChanges(store) }
    return { kind: 'overlay', base: all.findIndex((other) => other.store === store.below), changes: store.save() }
  })
}

function applyChanges(store: BlockStore, changes: OverlayState[]): BlockStore {
  let level = store
  for (const each of changes) {
    if (!(level instanceof OverlayBlockStore)) throw badState('a disk was an overlay, and is opened as something else')
    level.load(each)
    level = level.below
  }
  return store
}

/** Makes the stores again. Rejects with what `open` fails with, and with INVALID_STATE; then those that were opened are closed. */
export async function loadStores(saved: StoresState, open: (request: DiskRequest) => Promise<BlockStore>): Promise<readonly BlockStore[]> {
  const made: BlockStore[] = []
  const toClose: BlockStore[] = []
  try {
    for (const each of saved) {
      if (each.kind === 'memory') made.push(MemoryBlockStore.from(each.content))
      else if (each.kind === 'overlay') {
        const base = made[each.base]
        if (base === undefined) throw badState('an overlay stands before what is below it')
        made.push(applyChanges(new OverlayBlockStore(base), [each.changes]))
      } else {
        const store = await open(each.request)
        toClose.push(store)
        if (store.size < each.size) throw badState(`disk ${each.request.name} of domain ${each.request.domid} is smaller than it was: ${store.size} bytes, not ${each.size}`)
        const late = new LateOverlay(applyChanges(store, [...each.changes]))
        if (each.since !== undefined) late.load(each.since)
        made.push(late)
      }
    }
    return made
  } catch (error) {
    await Promise.allSettled(toClose.map(async (store) => store.close()))
    throw XenError.is(error) ? error : new XenError('IO', 'a disk cannot be opened again', { cause: error })
  }
}
