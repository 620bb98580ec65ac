/** Images of a machine's memory: what is written since the last one is found, whoever wrote it, and brought back. */
import { describe, expect, test } from 'vitest'
import { Machine, PagePool, type MachineImages, type MachineOptions, type MemoryImage } from '../../../../src/machine/index.ts'
import { SeededRandom, below } from '../../../../src/util/index.ts'
import { CODE, CpuBench, DATA } from '../../../support/cpu.ts'

const NONE = new Uint32Array(0)

class Compiling extends Machine {
  constructor(options: MachineOptions) {
    super({ ...options, compiler: { samples: 1, slice: 200 } })
  }
}

/** Writes a word to each of eight pages, again and again. */
const STORES = `
  again: mov $0x600000, %rdi
  add $1, %rax
  mov $8, %rcx
  page: mov %rax, 8(%rdi)
  add $4096, %rdi
  dec %rcx
  jnz page
  dec %rdx
  jnz again
  ud2`

/** The bytes of all frames; the memory behind them, up to a whole page of WebAssembly's, is nobody's. */
const frames = ({ memory }: Machine): Uint8Array => memory.bytes.subarray(memory.firstFrame * 4096, memory.endFrame * 4096)

describe.each([['the interpreter', Machine], ['the compiling tier', Compiling]])('a store of a processor with %s', (_, Library) => {
  test('is found, copied once, and taken back, with the code that was decoded for it', { timeout: 30_000 }, () => {
    const bench = new CpuBench({ library: { Machine: Library }, accounting: 'work' })
    const { machine, cpu } = bench
    bench.set('rdx', 1000)
    bench.run(STORES, 20_000)
    const pool = new PagePool()
    const images = machine.keepImages(pool, { fresh: false })
    const first = images.capture(NONE)!
    const before = { pages: pool.pages, bytes: frames(machine).slice(), state: cpu.save(), hash: first.hash() }
    const steps = (): number => {
      const after = machine.createProcessor({ mode: 'hosted', accounting: 'work' })
      after.load(before.state)
      let executed = 0
      for (let i = 0; i < 10; i += 1) {
        after.run(300)
        executed += after.executed
      }
      return executed + Number(after.registers.low(1)) * 1e6
    }
    cpu.destroy()
    const told = steps()
    const second = images.capture(NONE)!
    expect(second.hash()).not.toBe(before.hash)
    // Eight pages of data at most, and a page of what was paid for lines.
    expect(pool.pages - before.pages).toBeLessThanOrEqual(9)
    expect(images.restore(first, NONE).pages).toBeLessThanOrEqual(9)
    expect(Buffer.compare(frames(machine), before.bytes)).toBe(0)
    expect(images.capture(NONE)!.hash()).toBe(before.hash)
    // The same instructions in the same time.
    expect(steps()).toBe(told)
    expect(images.capture(NONE)!.hash()).toBe(second.hash())
  })
})

test('bits that a walk sets in page tables are taken back as well', () => {
  const bench = new CpuBench()
  bench.run('ud2')
  const { memory } = bench.machine
  const images = bench.machine.keepImages(new PagePool(), { fresh: false })
  const first = images.capture(NONE)!
  const before = memory.bytes.slice(memory.firstFrame * 4096)
  // Pages of data were not looked at yet: neither accessed nor dirty.
  bench.cpu.registers.setRip(CODE, 0)
  bench.set('rdi', DATA)
  bench.run('mov (%rdi), %rax\nmov %rax, 4096(%rdi)\nud2')
  const second = images.capture(NONE)!
  expect(second.hash()).not.toBe(first.hash())
  images.restore(first, NONE)
  expect(Buffer.compare(memory.bytes.subarray(memory.firstFrame * 4096), before)).toBe(0)
})

test('another machine of the same size becomes the same', () => {
  const bench = new CpuBench()
  bench.set('rdx', 3)
  bench.run(STORES)
  const pool = new PagePool()
  const image = bench.machine.keepImages(pool, { fresh: false }).capture(NONE)!
  const other = new Machine({ memoryBytes: 16 << 20, processors: 4 })
  const images = other.keepImages(pool, { fresh: true })
  images.restore(image, NONE)
  expect(Buffer.compare(frames(other), frames(bench.machine))).toBe(0)
  expect(images.capture(NONE)!.hash()).toBe(image.hash())
  // So does one whose memory is loaded, with the lines that were paid for.
  const loaded = new Machine({ memoryBytes: 16 << 20, processors: 4 })
  loaded.memory.load(bench.machine.memory.save())
  expect(loaded.keepImages(new PagePool(), { fresh: false }).capture(NONE)!.hash()).toBe(image.hash())
  // A machine whose memory was touched before its images are kept becomes the same as well.
  const used = new Machine({ memoryBytes: 16 << 20, processors: 4 })
  frames(used).fill(7)
  for (let mfn = used.memory.firstFrame; mfn < used.memory.endFrame; mfn += 1) used.memory.markWritten(mfn)
  used.keepImages(pool, { fresh: false }).restore(image, NONE)
  expect(Buffer.compare(frames(used), frames(bench.machine))).toBe(0)
})

test('a page that is written without a word is found where it is named, and behind the image that named it', () => {
  const machine = new Machine({ memoryBytes: 1 << 20 })
  const pool = new PagePool()
  const images = machine.keepImages(pool, { fresh: true })
  const { bytes, firstFrame } = machine.memory
  const silent = Uint32Array.of(firstFrame + 3)
  const first = images.capture(silent)!
  bytes[(firstFrame + 3) * 4096] = 1
  const second = images.capture(NONE)!
  expect(second.hash()).not.toBe(first.hash())
  bytes[(firstFrame + 3) * 4096] = 2
  images.restore(first, silent)
  expect(bytes[(firstFrame + 3) * 4096]).toBe(0)
  expect(images.restore(second, NONE).pages).toBe(1)
  expect(bytes[(firstFrame + 3) * 4096]).toBe(1)
})

test('code that was decoded stays through a restoration that leaves its bytes, and goes where they are others', () => {
  const bench = new CpuBench()
  bench.set('rdx', 3)
  bench.run(STORES)
  const images = bench.machine.keepImages(new PagePool(), { fresh: false })
  const image = images.capture(NONE)!
  const { blocks } = bench.cpu.inspectCode()
  expect(blocks).toBeGreaterThan(0)
  bench.write(DATA, [1])
  expect(images.restore(image, NONE)).toEqual({ pages: 1, code: 0 })
  const after = bench.machine.createProcessor({ mode: 'hosted' })
  expect(after.inspectCode()).toEqual({ blocks, faults: [] })
  bench.machine.memory.bytes[bench.host(CODE)] = 0x90
  bench.machine.memory.markWritten(bench.host(CODE) >>> 12)
  expect(images.restore(image, NONE).code).toBe(0)
  const last = bench.machine.createProcessor({ mode: 'hosted' })
  expect(last.inspectCode()).toEqual({ blocks: 0, faults: [] })
})

test('any order of writes, captures, restorations and releases is as with whole copies, and in the end no page is left', () => {
  const random = new SeededRandom(5)
  const machine = new Machine({ memoryBytes: 1 << 20 })
  const { memory } = machine
  const pool = new PagePool()
  const images: MachineImages = machine.keepImages(pool, { fresh: true })
  const own = memory.bytes.subarray(memory.firstFrame * 4096, memory.endFrame * 4096)
  let kept: { readonly image: MemoryImage; readonly copy: Uint8Array }[] = []
  for (let step = 0; step < 400; step += 1) {
    for (let i = below(random, 20); i > 0; i -= 1) {
      const mfn = memory.firstFrame + below(random, memory.endFrame - memory.firstFrame)
      memory.bytes.fill(below(random, 3), mfn * 4096, (mfn + 1) * 4096)
      memory.markWritten(mfn)
    }
    const which = kept[below(random, kept.length)]
    const what = below(random, 4)
    if (what === 0 || which === undefined) kept.push({ image: images.capture(NONE)!, copy: own.slice() })
    else if (what === 1) {
      images.restore(which.image, NONE)
      expect(Buffer.compare(own, which.copy)).toBe(0)
    } else if (what === 2) {
      which.image.release()
      kept = kept.filter((one) => one !== which)
    }
  }
  const distinct = new Set(kept.map(({ image }) => image.hash()))
  expect(distinct.size).toBe(new Set(kept.map(({ copy }) => Buffer.from(copy).toString('latin1'))).size)
  for (const { image } of kept) image.release()
  images.end()
  expect(pool.pages).toBe(0)
})
