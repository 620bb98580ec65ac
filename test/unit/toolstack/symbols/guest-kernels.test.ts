import { expect, test } from 'vitest'
import { GuestKernels, type GuestMemorySource } from '../../../../src/toolstack/symbols/guest-kernels.ts'
import type { DomId } from '../../../../src/util/index.ts'
import { BASE, kallsymsTables } from '../../../support/kallsyms.ts'

const ID = 3 as DomId
const PAGE = 4096
/** The page of the guest's that its kernel begins at. */
const START = 4096

/** A guest with its kernel's tables in it, in frames from 100 on; how often pages were read. */
function guest({ translated, awaited = [] }: { readonly translated: boolean; readonly awaited?: readonly number[] }) {
  const image = kallsymsTables('to 6.1', 5000)
  const pages = new Map<number, Uint8Array>()
  for (let at = 0; at < image.length; at += PAGE) {
    const page = new Uint8Array(PAGE)
    page.set(image.subarray(at, at + PAGE))
    pages.set(100 + at / PAGE, page)
  }
  const world = { reads: 0, asked: [] as number[], pages, hasRegisters: true }
  const source = {
    domainInfo: () => ({ translated, hasRegisters: world.hasRegisters }),
    domainFrames: () => [...pages.keys()], machineToPhys: (frame: number) => frame - 100 + START,
    highestGfn: () => 0x7fff_ffff, onDemandGfns: () => [...awaited],
    frameOfGfn: (_: DomId, gfn: number) => {
      world.asked.push(gfn)
      return pages.has(gfn - START + 100) ? gfn - START + 100 : undefined
    },
    frameBytes: (_: DomId, frame: number) => {
      world.reads += 1
      const page = pages.get(frame)
      if (page === undefined) throw new Error('no frame of the domain')
      return page
    },
  } as unknown as GuestMemorySource
  return { world, source }
}

test.each([false, true])('a kernel in the memory of a guest names its functions, and is read once (translated: %s)', (translated) => {
  const { world, source } = guest({ translated })
  const kernels = new GuestKernels(source, () => 0)
  expect(kernels.of(ID)?.find(BASE + 301 * 32)?.name).toBe('name_301')
  const { reads } = world
  expect(kernels.of(ID)?.find(BASE + 302 * 32)?.name).toBe('name_302')
  expect(world.reads).toBe(reads + 1)
})

test('a kernel that has gone is not believed, and one that has come is found a second later', () => {
  const { world, source } = guest({ translated: false })
  let now = 0
  const kernels = new GuestKernels(source, () => now)
  expect(kernels.of(ID)).toBeDefined()
  const kept = [...world.pages]
  for (const page of world.pages.values()) page.fill(0)
  expect(kernels.of(ID)).toBeUndefined()
  for (const [frame] of kept) world.pages.delete(frame)
  const other = guest({ translated: false }).world.pages
  for (const [frame, page] of other) world.pages.set(frame, page)
  now = 5e8
  expect(kernels.of(ID)).toBeUndefined()
  now = 1e9
  expect(kernels.of(ID)).toBeDefined()
  kernels.forget(ID)
  world.hasRegisters = false
  expect(kernels.of(ID)).toBeUndefined()
})

test('pages that are to come on demand do not come for it', () => {
  const { world, source } = guest({ translated: true, awaited: [START, 17] })
  new GuestKernels(source, () => 0).of(ID)
  expect(world.asked.filter((gfn) => gfn === START || gfn === 17)).toEqual([])
  expect(world.asked.length).toBeGreaterThan(1000)
})
