/**
 * Pre-copy: all pages while the domain runs, then again those it has written meanwhile, round after round, until few
 * are left or it does not help any more: a domain that writes the same pages all the time dirties them as fast as they
 * are sent. What is left then is sent while the domain stands still.
 * Reference: tools/libs/guest/xg_sr_save.c, precopy_policy (the first two figures, not the code).
 */
import type { ControlInterface } from '../../hypervisor/index.ts'
import type { DomId } from '../../util/index.ts'
import type { ImageWriter } from '../save/image-writer.ts'

/** When to stop copying a running domain. */
export interface PrecopyLimits {
  /** Rounds at most, the first one included. Default 5. */
  readonly maxRounds?: number | undefined
  /** Stops when fewer pages than this are dirty. Default 50. */
  readonly dirtyPages?: number | undefined
  /**
   * Makes another round only while it has less than this part of the last one's pages to send. Default 7/8; with
   * Infinity the other limits alone decide, as with libxc.
   */
  readonly worthwhile?: number | undefined
}

/** Rounds of copying. */
export type PrecopyProgress =
  | { readonly type: 'round'; readonly round: number; readonly pages: number }
  | { readonly type: 'pages'; readonly round: number; readonly pages: number; readonly total: number }

/** What copying needs. */
export interface PrecopyJob {
  readonly control: Pick<ControlInterface, 'readLogDirty'>
  readonly domid: DomId
  readonly image: ImageWriter
  readonly limits: PrecopyLimits
  report(event: PrecopyProgress): void
  /** Called behind each batch; throws when copying should end. */
  check(): void
  /** The domain gets its turn. */
  breathe(): Promise<void>
}

const LIMITS = { rounds: 5, dirtyPages: 50, worthwhile: 7 / 8 } as const
/**
 * Pages after which a running domain gets its turn, at the latest. Domain and copy share a thread: this many are copied
 * in about the time that a shared turn takes. Those that are only named are next to no work.
 */
const PAGES_PER_TURN = 512
const NAMED = 1 / 128

/** Writes one round of pages; those that have to be written again. */
export async function copyRound(
  job: PrecopyJob,
  round: number,
  options: { readonly pages: ArrayLike<number>; readonly live: boolean },
): Promise<number[]> {
  const { image } = job
  const { pages, live } = options
  job.report({ type: 'round', round, pages: pages.length })
  let sent = 0
  let work = 0
  return image.writePages(pages, {
    live,
    onBatch: async (count, full) => {
      sent += count
      work += full + (count - full) * NAMED
      job.report({ type: 'pages', round, pages: sent, total: pages.length })
      job.check()
      if (!live || work < PAGES_PER_TURN) return
      work = 0
      await job.breathe()
    },
  })
}

/** Pages that were written since the last look. */
export const dirtyPages = ({ control, domid, image }: PrecopyJob): number[] =>
  control.readLogDirty(domid, { clear: true }).listBelow(image.end)

/** Copies a running domain; the pages that are still to be sent, and how many rounds there were. */
export async function precopy(job: PrecopyJob): Promise<{ readonly rounds: number; readonly left: readonly number[] }> {
  const maxRounds = job.limits.maxRounds ?? LIMITS.rounds
  const enough = job.limits.dirtyPages ?? LIMITS.dirtyPages
  const worthwhile = job.limits.worthwhile ?? LIMITS.worthwhile
  const left = new Set<number>()
  let pages: ArrayLike<number> = job.image.pages()
  for (let round = 1; ; round += 1) {
    for (const pfn of await copyRound(job, round, { pages, live: true })) left.add(pfn)
    await job.breathe()
    for (const pfn of dirtyPages(job)) left.add(pfn)
    for (const pfn of job.image.retyped()) left.add(pfn)
    const helps = left.size < pages.length * worthwhile
    if (left.size < enough || !helps || round >= maxRounds) return { rounds: round, left: [...left] }
    pages = [...left]
    left.clear()
    job.image.refresh()
  }
}
