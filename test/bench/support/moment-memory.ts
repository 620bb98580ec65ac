/**
 * What moments take of a process's memory: the same run without moments and with them, each from the same moment on, and what the process
 * holds behind each, with everything given back that nobody refers to. What the run itself leaves - the guest's output, code of V8 - is in
 * both, so that the difference is the moments'. A process that holds less than the pages that moments have by their own count has not been
 * measured, and that is said.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Host, Moment } from '../../../src/toolstack/index.ts'

const PAGE_SIZE = 4096
/** Collections behind which nothing more is given back: what one has freed of rows outside of the heap goes with the next. */
const COLLECTIONS = 4

/** A run in steps, which goes the same way each time that it begins at its moment. */
export interface SteppedRun {
  /** Brings a host to where the run begins. */
  begin(): Promise<Host>
  step(host: Host, number: number): Promise<void>
}

/** What moments along a run take. */
export interface MomentMemory {
  readonly moments: number
  /** Bytes by which the process has grown more than it does without moments; undefined where they are less than the pages' own. */
  readonly taken: number | undefined
  /** Bytes of the pages in which each moment differs from the one before, by the moments' own count. */
  readonly differ: number
  /** Bytes by which the process grows without moments. */
  readonly without: number
}

let collect: (() => void) | undefined

/** Bytes that this process holds: V8's heap, and rows outside of it. */
async function heldBytes(): Promise<number> {
  if (collect === undefined) {
    setFlagsFromString('--expose-gc')
    collect = runInNewContext('gc') as () => void
  }
  for (let i = 0; i < COLLECTIONS; i += 1) {
    collect()
    await new Promise((resolve) => { setTimeout(resolve, 10) })
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

/** Measures `count` moments, a step apart. */
export async function momentMemory({ begin, step }: SteppedRun, count: number): Promise<MomentMemory> {
  const growth = async (behind: (host: Host) => Promise<void>): Promise<number> => {
    const host = await begin()
    const before = await heldBytes()
    for (let number = 0; number < count; number += 1) {
      await step(host, number)
      await behind(host)
    }
    return await heldBytes() - before
  }
  const none = async (): Promise<void> => undefined
  // The first time V8 compiles, and rows get their sizes.
  await growth(none)
  const without = await growth(none)
  const moments: Moment<Host>[] = []
  const grown = await growth(async (host) => void moments.push(await host.checkpoint()))
  const differ = moments.reduce((sum, { newPages }) => sum + newPages, 0) * PAGE_SIZE
  for (const moment of moments.splice(0)) moment.dispose()
  const taken = grown - without
  return { moments: count, taken: taken < differ ? undefined : taken, differ, without }
}
