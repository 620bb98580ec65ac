/**
 * The stores of a back-end's disks as one state. What lies in memory alone is saved with its contents, once, however many
 * disks share it. Everything else is opened anew by whoever opened it; the changes that overlays keep above it are saved.
 */
import { badState, shape, XenError, type StateOf } from '../../util/index.ts'
import type { BlockStore } from './block-store.ts'
import type { DiskRequest } from './disk-request.ts'
import { diskRequest } from './disk-request.ts'
import { MemoryBlockStore, memoryStoreState } from './memory-store.ts'
import { OverlayBlockStore, overlayState } from './overlay-store.ts'

const memory = /* @__PURE__ */ shape.record({ kind: /* @__PURE__ */ shape.oneOf('memory'), content: memoryStoreState })
/** `base` is the place of the store below, which stands before it. */
const overlay = /* @__PURE__ */ shape.record({
  kind: /* @__PURE__ */ shape.oneOf('overlay'), base: /* @__PURE__ */ shape.whole(0, 2 ** 20), changes: overlayState,
})
/** `changes` are those of the overlays that the opener answers, the uppermost first. */
const opened = /* @__PURE__ */ shape.record({
  kind: /* @__PURE__ */ shape.oneOf('opened'), request: diskRequest, changes: /* @__PURE__ */ shape.list(overlayState, 64),
})
type StoreState = StateOf<typeof memory> | StateOf<typeof overlay> | StateOf<typeof opened>

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

function changesOf(store: BlockStore): StateOf<typeof overlayState>[] {
  return store instanceof OverlayBlockStore ? [store.save(), ...changesOf(store.below)] : []
}

/** The stores as plain data. */
export function saveStores(disks: readonly OpenedStore[]): StoresState {
  const all = listStores(disks)
  return all.map(({ store, request }): StoreState => {
    if (store instanceof MemoryBlockStore) return { kind: 'memory', content: store.save() }
    if (!isHeld(store) || !(store instanceof OverlayBlockStore)) return { kind: 'opened', request: { ...request }, changes: changesOf(store) }
    return { kind: 'overlay', base: all.findIndex((other) => other.store === store.below), changes: store.save() }
  })
}

function applyChanges(store: BlockStore, changes: StateOf<typeof overlayState>[]): BlockStore {
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
        made.push(applyChanges(store, [...each.changes]))
      }
    }
    return made
  } catch (error) {
    await Promise.allSettled(toClose.map(async (store) => store.close()))
    throw XenError.is(error) ? error : new XenError('IO', 'a disk cannot be opened again', { cause: error })
  }
}
