/** Disks of a moment that lie outside are opened before anything of the host changes: whoever cannot open one has changed nothing. */
import { checkStore, type BlockStore, type DiskRequest } from '../../drivers/index.ts'
import { badState, XenError, type SavedTree } from '../../util/index.ts'
import type { ResolvedHostOptions } from '../boot/host-options.ts'
import { openedBy, type DiskOpener, type DiskOpenRequest } from '../device-kinds/device-sources.ts'
import type { Kept } from '../moments/family.ts'

/** The host's own opener behind those that are made here. */
const originals = /* @__PURE__ */ new WeakMap<DiskOpener, DiskOpener>()

/** A disk as a moment has it: it lies outside, and had a size. */
interface OutsideDisk {
  readonly kind: string
  readonly request: DiskRequest
  readonly size: number
}

/** What of a moment's disks has to be opened. The moment's tree was saved by this process, or has been checked. */
function disksOf({ parts }: SavedTree): readonly OutsideDisk[] {
  const backEnds = (parts['devices'] as SavedTree).parts['back-ends'] as SavedTree
  const disks = backEnds.parts['vbd'] as { readonly state: { readonly stores: readonly OutsideDisk[] } } | undefined
  return (disks?.state.stores ?? []).filter(({ kind }) => kind === 'opened')
}

/** Throws INVALID_STATE where contents outside are known by something else than at a moment. */
function checkStamp(before: string | undefined, now: string | undefined, { domid, name, params }: Pick<DiskRequest, 'domid' | 'name' | 'params'>): void {
  if (before === undefined || now === undefined || before === now) return
  const message = `disk ${name} of domain ${domid} has other contents than at the moment: somebody has written to ${params}`
  throw new XenError('INVALID_STATE', message, { details: { domid, disk: name, target: params } })
}

/** Throws INVALID_STATE where a disk that a host goes on with was changed outside since the moment; `now`: what they are known by. */
export function checkContents({ tree, stamps }: Kept, now: ReadonlyMap<string, string>): void {
  for (const { request } of disksOf(tree)) checkStamp(stamps.get(openedBy(request)), now.get(openedBy(request)), request)
}

async function openAll({ tree, stamps }: Kept, openDisk: DiskOpener, opened: Map<string, BlockStore>): Promise<void> {
  for (const { request, size } of disksOf(tree)) {
    const store = checkStore(await openDisk({ ...request, origin: 'attach' }))
    opened.set(openedBy(request), store)
    if (store.size < size) throw badState(`disk ${request.name} of domain ${request.domid} is smaller than it was: ${store.size} bytes, not ${size}`)
    checkStamp(stamps.get(openedBy(request)), store.stamp, request)
  }
}

/**
 * Options whose opener gives first what has been opened here. Rejects with what opening rejects with, and INVALID_STATE for contents that are
 * others than at the moment; then all is closed again.
 */
export async function openedBefore(kept: Kept): Promise<ResolvedHostOptions> {
  const { options } = kept
  if (options.openDisk === undefined) return options
  const openDisk = originals.get(options.openDisk) ?? options.openDisk
  const opened = new Map<string, BlockStore>()
  try {
    await openAll(kept, openDisk, opened)
  } catch (error) {
    await Promise.allSettled([...opened.values()].map(async (store) => store.close()))
    throw XenError.is(error) ? error : new XenError('IO', 'a disk cannot be opened again', { cause: error })
  }
  const opener: DiskOpener = (request: DiskOpenRequest) => {
    const found = opened.get(openedBy(request))
    opened.delete(openedBy(request))
    return found ?? openDisk(request)
  }
  originals.set(opener, openDisk)
  return { ...options, openDisk: opener }
}
