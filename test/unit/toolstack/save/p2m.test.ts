import { describe, expect, test } from 'vitest'
import { COMPAT, type GuestAbi, NATIVE, SharedInfo } from '../../../../src/abi/index.ts'
import { NO_FRAME, P2mReading, readP2m } from '../../../../src/toolstack/save/p2m.ts'
import type { Mfn } from '../../../../src/util/index.ts'
import { FrameHost } from '../../../support/frame-host.ts'

const PAGES = 40
const ABIS = [NATIVE, COMPAT]

/** Writes one field of shared_info. */
type Set = (name: 'maxPfn' | 'pfnToMfnFrameListList' | 'p2mCr3' | 'p2mVaddr' | 'p2mGeneration', value: bigint) => void

/** A domain of 40 pages that describes its list as a tree: page 0 is the root, 1 the list of lists, 2 the list. */
function described(abi: GuestAbi = NATIVE) {
  const host = new FrameHost()
  host.addressSize = abi.width
  const frames = host.populatePhysmap(host.domid, PAGES, 0)
  const view = (frame: Mfn): DataView => {
    const bytes = host.frameBytes(host.domid, frame)
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }
  const put = (page: number, index: number, value: bigint): void =>
    abi.word.set(view(frames[page]!), index * abi.word.size, value)
  const set: Set = (name, value) =>
    abi.of(SharedInfo).arch.layout[name].set(view(host.sharedInfoFrame), abi.of(SharedInfo).arch.at(0), value)
  put(0, 0, BigInt(frames[1]!))
  put(1, 0, BigInt(frames[2]!))
  frames.forEach((frame, i) => put(2, i, BigInt(frame)))
  set('maxPfn', BigInt(PAGES))
  set('pfnToMfnFrameListList', BigInt(frames[0]!))
  return { host, frames, put, set, isTree: true }
}

/** The same with a linear list: page 3 to 6 are tables that map page 2 at `address`. */
function linear(address: bigint) {
  const domain = described()
  const { frames, put, set } = domain
  const index = (level: number): number => Number((address >> BigInt(12 + 9 * (level - 1))) & 511n)
  for (const [page, level, next] of [[3, 4, 4], [4, 3, 5], [5, 2, 6], [6, 1, 2]] as const) {
    put(page, index(level), (BigInt(frames[next]!) << 12n) | 0x67n)
  }
  set('p2mCr3', BigInt(frames[3]!) << 12n)
  set('p2mVaddr', address)
  return { ...domain, isTree: false }
}

describe('a list of frames', () => {
  test.each(ABIS)('of a guest of $width bits is found by the tree that describes it', (abi) => {
    const { host, frames } = described(abi)
    expect(readP2m(host, host.domid)).toEqual({ maxPfn: PAGES, frames: [frames[2]], entries: Uint32Array.from(frames) })
  })

  test.each([0xffff_ffff_8001_a000n, 0x0000_7f00_0000_0000n])('is found at the virtual address %x', (address) => {
    const { host, frames } = linear(address)
    expect(readP2m(host, host.domid)).toEqual({ maxPfn: PAGES, frames: [frames[2]], entries: Uint32Array.from(frames) })
  })

  test('of a 32-bit guest is found at a virtual address by tables of three levels', () => {
    const { host, frames, set } = described(COMPAT)
    const address = 0xf040_3000
    const tables = [[3, address >>> 30, 4], [4, (address >>> 21) & 511, 5], [5, (address >>> 12) & 511, 2]] as const
    for (const [page, index, next] of tables) {
      const bytes = host.frameBytes(host.domid, frames[page]!)
      new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(index * 8, (BigInt(frames[next]!) << 12n) | 0x67n, true)
    }
    set('p2mCr3', BigInt(COMPAT.cr3Of(frames[3]!)))
    set('p2mVaddr', BigInt(address))
    set('pfnToMfnFrameListList', 0xffff_ffffn)
    expect(readP2m(host, host.domid)).toEqual({ maxPfn: PAGES, frames: [frames[2]], entries: Uint32Array.from(frames) })
  })

  test('of a 32-bit guest has a thousand entries in a page', () => {
    const { host, frames, put, set } = described(COMPAT)
    set('maxPfn', 1025n)
    put(1, 1, BigInt(frames[6]!))
    put(6, 0, BigInt(frames[39]!))
    for (let i = PAGES; i < 1024; i += 1) put(2, i, 0xffff_ffffn)
    put(2, 41, 0x8000_0000n)
    put(2, 42, 0x4000_0005n)
    const { entries, frames: pages } = readP2m(host, host.domid)
    expect(pages).toEqual([frames[2], frames[6]])
    expect([entries[1024], entries[40], entries[41], entries[42]]).toEqual([frames[39], NO_FRAME, NO_FRAME, NO_FRAME])
  })

  test('has no frame where the balloon is, nor where an entry is marked as foreign', () => {
    const { host, put } = described()
    put(2, 7, 0xffff_ffff_ffff_ffffn)
    put(2, 8, (1n << 62n) | 5n)
    expect(readP2m(host, host.domid).entries.slice(7, 9)).toEqual(Uint32Array.of(NO_FRAME, NO_FRAME))
  })

  test.each<[string, (domain: ReturnType<typeof linear>) => void, RegExp]>([
    ['no end', ({ set }) => set('maxPfn', 0n), /max_pfn 0 is not from 1/],
    ['an end beyond all memory', ({ set }) => set('maxPfn', 1n << 40n), /max_pfn 1099511627776/],
    ['an end beyond its pages', ({ set }) => set('maxPfn', 600n), /not mapped/],
    ['a root that is not its own', ({ set }) => set('p2mCr3', 5n << 12n), /frame 5, which is not the domain's/],
    ['an address that is none', ({ set }) => set('p2mVaddr', 1n << 60n), /not canonical/],
    ['an address that is not mapped', ({ set }) => set('p2mVaddr', 0x1000n), /not mapped at level/],
    ['a tree that is not its own', ({ set }) => {
      set('p2mCr3', 0n)
      set('pfnToMfnFrameListList', 99999n)
    }, /frame 99999, which is not the domain's/],
    ['one frame under many numbers', ({ set, put, frames }) => {
      set('p2mCr3', 0n)
      set('maxPfn', 512n * 512n)
      for (let i = 0; i < 512; i += 1) put(1, i, BigInt(frames[2]!))
      for (let i = 0; i < 512; i += 1) put(2, i, BigInt(frames[9]!))
    }, /names more than 1104 frames/],
  ])('with %s is refused', (_, lie, message) => {
    const domain = linear(0xffff_ffff_8001_a000n)
    lie(domain)
    expect(() => readP2m(domain.host, domain.host.domid)).toThrow(
      expect.objectContaining({ code: 'INVALID_STATE', message: expect.stringMatching(message) }),
    )
  })
})

describe('a list of frames that is read again', () => {
  /** Where the list lies, and a number that no frame has. */
  const [LIST, CHANGED] = [2, 0x123]

  test('is read again where it was written, and nowhere else', () => {
    const { host, put } = linear(0x7f00_0000_0000n)
    const reading = new P2mReading(host, host.domid)
    put(LIST, 7, BigInt(CHANGED))
    const asked: number[] = []
    reading.refresh((pfn) => {
      asked.push(pfn)
      return false
    })
    expect([asked, reading.entries[7] === CHANGED]).toEqual([[LIST], false])
    reading.refresh((pfn) => pfn === LIST)
    expect(reading.entries[7]).toBe(CHANGED)
  })

  test('is read whole by whoever knows of no writes, where it is a tree, and where the guest says that it is mapped anew', () => {
    for (const [domain, change] of [[linear(0x7f00_0000_0000n), false], [described(), false], [linear(0x7f00_0000_0000n), true]] as const) {
      const { host, put, set } = domain
      const reading = new P2mReading(host, host.domid)
      put(LIST, 7, BigInt(CHANGED))
      if (change) set('p2mGeneration', 1n)
      reading.refresh(domain.isTree || change ? () => false : undefined)
      expect(reading.entries[7]).toBe(CHANGED)
    }
  })

  test('is read where the tables of the guest and of the machine do not agree on its page', () => {
    const { host, frames, put } = linear(0x7f00_0000_0000n)
    put(LIST, LIST, BigInt(frames[9]!))
    const reading = new P2mReading(host, host.domid)
    put(LIST, 7, BigInt(CHANGED))
    reading.refresh(() => false)
    expect(reading.entries[7]).toBe(CHANGED)
  })

  test('is refused where it has moved or is longer by then', () => {
    const moved = linear(0x7f00_0000_0000n)
    const reading = new P2mReading(moved.host, moved.host.domid)
    moved.put(6, 0, (BigInt(moved.frames[8]!) << 12n) | 0x67n)
    expect(() => reading.refresh()).toThrow(/moved its p2m/)
    const grown = linear(0x7f00_0000_0000n)
    const other = new P2mReading(grown.host, grown.host.domid)
    grown.set('maxPfn', 41n)
    expect(() => other.refresh(() => false)).toThrow(/moved its p2m/)
  })
})
