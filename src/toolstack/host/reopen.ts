/** Disks of a moment that lie outside are opened before anything of the host changes: whoever cannot open one has changed nothing. */
import type { BlockStore, DiskRequest } from '../../drivers/index.ts'
import type { SavedTree } from '../../util/index.ts'
import type { ResolvedHostOptions } from '../boot/host-options.ts'
import type { DiskOpener, DiskOpenRequest } from '../device-kinds/device-sources.ts'

/** What a disk is opened by; a moment has opened some already. */
const keyOf = ({ domid, device, params }: DiskRequest): string => JSON.stringify([domid, device, params])

/** What of a moment's disks has to be opened. The moment's tree was saved by this process, or has been checked. */
function requestsOf({ parts }: SavedTree): readonly DiskRequest[] {
  const backEnds = (parts['devices'] as SavedTree).parts['back-ends'] as SavedTree
  const disks = backEnds.parts['vbd'] as { readonly state: { readonly stores: readonly { readonly kind: string; readonly request: DiskRequest }[] } } | undefined
  return (disks?.state.stores ?? []).flatMap(({ kind, request }) => (kind === 'opened' ? [request] : []))
}

/** Options whose opener gives first what has been opened here. Rejects with what opening rejects with; then all is closed again. */
export async function openedBefore(tree: SavedTree, options: ResolvedHostOptions): Promise<ResolvedHostOptions> {
  const { openDisk } = options
  const requests = requestsOf(tree)
  if (requests.length === 0 || openDisk === undefined) return options
  const opened = new Map<string, BlockStore>()
  try {
    for (const request of requests) opened.set(keyOf(request), await openDisk({ ...request, origin: 'attach' }))
  } catch (error) {
    await Promise.allSettled([...opened.values()].map(async (store) => store.close()))
    throw error
  }
  const opener: DiskOpener = (request: DiskOpenRequest) => {
    const found = opened.get(keyOf(request))
    opened.delete(keyOf(request))
    return found ?? openDisk(request)
  }
  return { ...options, openDisk: opener }
}
