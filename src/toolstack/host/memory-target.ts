/**
 * Memory targets: the toolstack writes what a domain is to have, the guest's balloon driver does it, and the
 * hypervisor's limit keeps it from having more. And the maximum, above which no target may be.
 * Reference: docs/misc/xenstore-paths.pandoc, memory/target and memory/static-max; the rules of
 * libxl_set_memory_target and libxl_domain_setmaxmem.
 */
import type { ControlInterface } from '../../hypervisor/index.ts'
import { shown, XenError, type DomId, tryRead } from '../../util/index.ts'
import type { LocalStore } from '../../xenstore/index.ts'
import type { HostParts } from '../boot/boot-host.ts'
import { FIRST_DEVICE_PAGE } from '../builder/pvh-layout.ts'
import { parseSize } from '../grub/memory-size.ts'
import { MAX_MEMORY } from '../config/option-table.ts'
import { checkCall } from './call-options.ts'
import {
  maximumNode, memorySettings, PAGES_PER_MEBIBYTE, SLACK_PAGES, targetNode,
} from '../domains/memory-settings.ts'
import type { Operation, OperationOptions } from '../run/operation.ts'
import type { Operations } from '../run/operations.ts'
import { checkLives, checkPatience, type RunLoop, type UntilOptions } from '../run/run-loop.ts'
import type { Wishes } from '../run/wishes.ts'

/** What setting a target or the maximum needs of the host. */
export interface MemoryHost {
  readonly control: ControlInterface
  readonly store: LocalStore
  readonly loop: RunLoop
  readonly operations: Operations
  readonly wishes: Wishes<MemoryBefore>
  onTarget(domid: DomId, mebibytes: number): void
  onMaximum(domid: DomId, mebibytes: number): void
}

/** How far a domain's balloon has come. */
export interface MemoryProgress {
  readonly type: 'memory'
  readonly pages: number
  readonly targetPages: number
}

/** The hypervisor's new limit of a domain: its maximum and what it may have beyond that. */
export interface MaximumProgress {
  readonly type: 'limit'
  readonly pages: number
}

/** What a target that does not come true gives way to. */
export interface MemoryBefore {
  /** The target, as XenStore had it. */
  readonly target: string | undefined
  /** The hypervisor's limit, in pages; a maximum that was set meanwhile counts. */
  maxPages: number
}

/** Less than this no guest can live with. */
const LEAST = 1

/** An amount of memory: MiB, or a text as `512M` or `1G`; with a sign in front it is more or less than there is. */
export type MemoryAmount = number | string

/**
 * MiB of an amount; `base` is what a signed one counts from. A text's number without a unit counts MiB, as xl's does. What is no
 * amount is given back as it is.
 */
export function mebibytesOf(amount: MemoryAmount, base: () => number): number {
  if (typeof amount !== 'string') return amount
  const [, sign = '', size = ''] = /^([+-]?)(.+)$/.exec(amount) ?? []
  const bytes = parseSize(/^[0-9]+$/.test(size) ? `${size}m` : size)
  // It is refused where amounts are checked, as what it is.
  if (bytes === undefined) return amount as unknown as number
  const mebibytes = bytes / 2 ** 20
  if (sign === '') return mebibytes
  return Math.ceil(base()) + (sign === '-' ? -mebibytes : mebibytes)
}

/** A domain's memory in MiB. */
export interface DomainMemorySummary {
  /** What it has. */
  readonly current: number
  /** What it is to have; undefined where nobody has said so. */
  readonly target: number | undefined
  /** What its target may be at most; undefined as above. */
  readonly maximum: number | undefined
  /** What the hypervisor lets it have. */
  readonly limit: number
  /** What is kept aside for it. */
  readonly claimed: number
}

/** How a domain's memory is. */
export function memoryOf({ control, store }: Pick<MemoryHost, 'control' | 'store'>, domid: DomId): DomainMemorySummary {
  const { totalPages, maxPages, outstandingPages } = control.domainInfo(domid)
  return {
    current: totalPages / PAGES_PER_MEBIBYTE, ...memorySettings(store, domid),
    limit: maxPages / PAGES_PER_MEBIBYTE, claimed: outstandingPages / PAGES_PER_MEBIBYTE,
  }
}

function checkWhole(what: string, mebibytes: number): void {
  if (Number.isInteger(mebibytes) && mebibytes >= LEAST && mebibytes <= MAX_MEMORY) return
  throw new XenError('INVALID_ARGUMENT', `${what} is a whole number of MiB from ${LEAST} to ${MAX_MEMORY}, got ${shown(mebibytes)}`, {
    details: { mebibytes },
  })
}

/** Pages that a domain has beside its memory: those of a PVH guest that no balloon takes. */
function pagesBeside(control: ControlInterface, domid: DomId): number {
  if (!control.domainInfo(domid).translated) return 0
  return control.domainFrames(domid).filter((frame) => (control.machineToPhys(frame) ?? 0) >= FIRST_DEVICE_PAGE).length
}

function checkTarget({ control, store }: MemoryHost, domid: DomId, mebibytes: number): void {
  checkWhole('a memory target', mebibytes)
  const { totalPages } = control.domainInfo(domid)
  const staticMax = memorySettings(store, domid).maximum ?? 0
  if (mebibytes > staticMax) {
    throw new XenError('INVALID_ARGUMENT', `domain ${domid} can have at most ${staticMax} MiB, got ${mebibytes}`, {
      details: { mebibytes, maximum: staticMax },
    })
  }
  const wanted = mebibytes * PAGES_PER_MEBIBYTE - totalPages
  const { freeFrames, outstandingFrames } = control.hostInfo()
  const freePages = freeFrames - outstandingFrames + control.domainInfo(domid).outstandingPages
  if (wanted > freePages) {
    throw new XenError(
      'OUT_OF_MEMORY',
      `domain ${domid} would need ${wanted} more pages, the host has ${freePages} free`,
      {
        details: { neededPages: wanted, freePages },
      },
    )
  }
}

/** Puts back what there was before a target; one that is above the present maximum comes down to it. */
function restoreTarget({ control, store }: MemoryHost, domid: DomId, { target, maxPages }: MemoryBefore): void {
  if (!control.hasDomain(domid)) return
  control.setMaxPages(domid, maxPages)
  const node = targetNode(domid)
  const maximum = store.tryRead(maximumNode(domid)) ?? target
  if (target === undefined) store.tryRm(node)
  else store.write(node, String(Math.min(Number(target), Number(maximum))))
}

/**
 * Sets a domain's target and waits until the guest has reached it. Aborted or timed out, the old target is back; it
 * rejects with SUPERSEDED when a newer one is set before, and with INVALID_STATE when the domain ends.
 */
export function setMemoryTarget(
  host: MemoryHost,
  domid: DomId,
  mebibytes: number,
  options: UntilOptions,
): Operation<void, MemoryProgress> {
  const { control, store, loop, wishes } = host
  const check = (): void => checkCall('setMemTarget', options)
  const activity = { kind: 'memory', doing: 'being given another memory target' } as const
  const settings = { name: `memory target of domain ${domid}`, domid, activity, signal: tryRead(() => options?.signal), check }
  return host.operations.start<void, MemoryProgress>(settings, async ({ report, undo, signal }) => {
    checkTarget(host, domid, mebibytes)
    checkPatience(options, settings.name)
    const { maxPages, totalPages: atFirst } = control.domainInfo(domid)
    const wish = wishes.begin(domid, { target: store.tryRead(targetNode(domid)), maxPages })
    undo(() => wish.takeBack((before) => restoreTarget(host, domid, before)))
    const memoryPages = mebibytes * PAGES_PER_MEBIBYTE
    const targetPages = memoryPages + pagesBeside(control, domid)
    control.setMaxPages(domid, memoryPages + SLACK_PAGES)
    store.write(targetNode(domid), String(mebibytes * 1024))
    host.onTarget(domid, mebibytes)
    let reported = -1
    await loop.until(settings.name, () => {
      wish.check()
      const { totalPages } = control.domainInfo(domid)
      if (totalPages !== reported) report({ type: 'memory', pages: totalPages, targetPages })
      reported = totalPages
      if (targetPages < atFirst ? totalPages <= targetPages : totalPages >= targetPages) return true
      checkLives(control, domid, settings.name)
      return false
    }, { ...options, signal, domid })
    wish.fulfil()
  })
}

/**
 * Sets how much a domain may have at most: the hypervisor's limit and `memory/static-max`. What it has does not change;
 * a later target may go up to there.
 */
export function setMemoryMaximum(
  host: MemoryHost,
  domid: DomId,
  mebibytes: number,
  options: OperationOptions,
): Operation<void, MaximumProgress> {
  const { control, store } = host
  const activity = { kind: 'memory', doing: 'being given another maximum' } as const
  const settings = { name: `memory maximum of domain ${domid}`, domid, activity, signal: tryRead(() => options?.signal), check: (): void => checkCall('setMaxMem', options) }
  return host.operations.start<void, MaximumProgress>(settings, async ({ report, undo }) => {
    checkWhole('a memory maximum', mebibytes)
    const { totalPages } = control.domainInfo(domid)
    // A domain without a target is to keep what it has.
    const target = memorySettings(store, domid).target ?? totalPages / PAGES_PER_MEBIBYTE
    if (mebibytes < target) {
      throw new XenError(
        'INVALID_ARGUMENT',
        `domain ${domid} is to have ${target} MiB: its maximum cannot be ${mebibytes}`,
        { details: { mebibytes, target } },
      )
    }
    const limit = mebibytes * PAGES_PER_MEBIBYTE + SLACK_PAGES
    // A target that is under way and fails gives way to this maximum, not to the one before.
    const before = host.wishes.before(domid)
    const limits = { maximum: store.tryRead(maximumNode(domid)), pages: control.domainInfo(domid).maxPages, before: before?.maxPages }
    undo(() => {
      if (!control.hasDomain(domid)) return
      if (limits.maximum === undefined) store.tryRm(maximumNode(domid))
      else store.write(maximumNode(domid), limits.maximum)
      control.setMaxPages(domid, limits.pages)
      if (before !== undefined && limits.before !== undefined) before.maxPages = limits.before
    })
    store.write(maximumNode(domid), String(mebibytes * 1024))
    control.setMaxPages(domid, limit)
    if (before !== undefined) before.maxPages = limit
    report({ type: 'limit', pages: limit })
    host.onMaximum(domid, mebibytes)
  })
}

/** Says in XenStore how much dom0 may have; libxl does so when its target is first set. Throws NOT_SUPPORTED where XenStore is dom0's own. */
export function describeDom0Memory({ plan, store, dom0MaxMebibytes }: Pick<HostParts, 'plan' | 'store' | 'dom0MaxMebibytes'>): void {
  // Throws.
  if (!plan.serves) plan.dom0.kernel.turn()
  const node = maximumNode(0 as DomId)
  if (!store.exists(node)) store.write(node, String(dom0MaxMebibytes * 1024))
}
