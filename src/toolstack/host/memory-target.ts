/**
 * Memory targets: the toolstack writes what a domain is to have, the guest's balloon driver does it, and the
 * hypervisor's limit keeps it from having more.
 * Reference: docs/misc/xenstore-paths.pandoc, memory/target; libxl_set_memory_target's rules.
 */
import type { ControlInterface } from '../../hypervisor/index.ts'
import { XenError, type DomId } from '../../util/index.ts'
import type { LocalStore } from '../../xenstore/index.ts'
import { PAGES_PER_MEBIBYTE, SLACK_PAGES } from './domain-shell.ts'
import { domainPath } from './domain-nodes.ts'
import type { MemoryProgress } from './host-events.ts'
import { startOperation, type Operation } from './operation.ts'
import type { RunLoop, UntilOptions } from './run-loop.ts'

/** What setting a target needs of the host. */
export interface MemoryHost {
  readonly control: ControlInterface
  readonly store: LocalStore
  readonly loop: RunLoop
  now(): number
  onTarget(domid: DomId, mebibytes: number): void
}

/** Less than this no guest can live with. */
const LEAST = 1

function check({ control, store }: MemoryHost, domid: DomId, mebibytes: number): void {
  if (!Number.isInteger(mebibytes) || mebibytes < LEAST) {
    throw new XenError('INVALID_ARGUMENT', `a memory target is a whole number of MiB, got ${mebibytes}`, {
      details: { mebibytes },
    })
  }
  const staticMax = Number(store.tryRead(`${domainPath(domid)}/memory/static-max`) ?? 0) / 1024
  if (mebibytes > staticMax) {
    throw new XenError('INVALID_ARGUMENT', `domain ${domid} can have at most ${staticMax} MiB, got ${mebibytes}`, {
      details: { mebibytes, maximum: staticMax },
    })
  }
  const { totalPages } = control.domainInfo(domid)
  const wanted = mebibytes * PAGES_PER_MEBIBYTE - totalPages
  const { freeFrames } = control.hostInfo()
  if (wanted > freeFrames) {
    throw new XenError(
      'OUT_OF_MEMORY',
      `domain ${domid} would need ${wanted} more pages, the host has ${freeFrames} free`,
      {
        details: { neededPages: wanted, freePages: freeFrames },
      },
    )
  }
}

/** Sets a domain's target and waits until the guest has reached it. Aborted or timed out, the old target is back. */
export function setMemoryTarget(
  host: MemoryHost,
  domid: DomId,
  mebibytes: number,
  options: UntilOptions,
): Operation<void, MemoryProgress> {
  const { control, store, loop } = host
  const settings = { name: `memory target of domain ${domid}`, now: host.now, signal: options.signal }
  return startOperation<void, MemoryProgress>(settings, async ({ report, undo }) => {
    check(host, domid, mebibytes)
    const node = `${domainPath(domid)}/memory/target`
    const before = store.tryRead(node)
    const { maxPages, totalPages: atFirst } = control.domainInfo(domid)
    undo(() => {
      if (!control.hasDomain(domid)) return
      control.setMaxPages(domid, maxPages)
      if (before === undefined) store.tryRm(node)
      else store.write(node, before)
    })
    const targetPages = mebibytes * PAGES_PER_MEBIBYTE
    control.setMaxPages(domid, targetPages + SLACK_PAGES)
    store.write(node, String(mebibytes * 1024))
    host.onTarget(domid, mebibytes)
    let reported = -1
    await loop.until(settings.name, () => {
      const { totalPages } = control.domainInfo(domid)
      if (totalPages !== reported) report({ type: 'memory', pages: totalPages, targetPages })
      reported = totalPages
      return targetPages < atFirst ? totalPages <= targetPages : totalPages >= targetPages
    }, options)
  })
}
