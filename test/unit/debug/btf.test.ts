/** Types out of BTF: written here by the format's description, and damaged in every byte. */
import { expect, test } from 'vitest'
import { Btf, BTF_KIND, type MemoryControl, VirtualMemory } from '../../../src/debug/index.ts'
import { TypedValues } from '../../../src/debug/linux/typed-values.ts'
import { SeededRandom, below, type DomId, type Mfn, XenError } from '../../../src/util/index.ts'

const names = ['', 'int', 'char', 'list_head', 'next', 'task', 'pid', 'comm', 'flags', 'link', 'task_t', 'do_it']
const text = new TextEncoder().encode(`${names.join('\0')}\0`)
const nameAt = (name: string): number => names.slice(0, names.indexOf(name)).reduce((sum, one) => sum + one.length + 1, 0)
const info = (kind: number, count = 0, flag = 0): number => ((flag << 31) | (kind << 24) | count) >>> 0
/** 1 int, 2 char, 3 struct list_head { next: 4 }, 4 pointer to 3, 5 char[8], 6 struct task, 7 typedef of 6, 8 prototype, 9 function. */
const types = [
  nameAt('int'), info(BTF_KIND.INT), 4, (1 << 24) | 32,
  nameAt('char'), info(BTF_KIND.INT), 1, 8,
  nameAt('list_head'), info(BTF_KIND.STRUCT, 1), 8, nameAt('next'), 4, 0,
  0, info(BTF_KIND.POINTER), 3,
  0, info(BTF_KIND.ARRAY), 0, 2, 1, 8,
  nameAt('task'), info(BTF_KIND.STRUCT, 5, 1), 32, nameAt('pid'), 1, 0, nameAt('comm'), 5, 32, nameAt('flags'), 1, (3 << 24) | 97, nameAt('link'), 3, 128, 0, 3, 192,
  nameAt('task_t'), info(BTF_KIND.TYPEDEF), 6,
  0, info(BTF_KIND.PROTOTYPE), 0,
  nameAt('do_it'), info(BTF_KIND.FUNCTION), 8,
]
function section(): Uint8Array {
  const bytes = new Uint8Array(24 + types.length * 4 + text.length)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, 0xeb9f, true)
  view.setUint8(2, 1)
  for (const [i, value] of [24, 0, types.length * 4, types.length * 4, text.length].entries()) view.setUint32(4 + 4 * i, value, true)
  for (const [i, value] of types.entries()) view.setUint32(24 + 4 * i, value, true)
  bytes.set(text, 24 + types.length * 4)
  return bytes
}

/** A page at 0x1000. */
function memoryOf(page: Uint8Array): VirtualMemory {
  const control = {
    translate: (_: DomId, address: bigint) => (address >> 12n === 1n ? { frame: 7 as Mfn, offset: Number(address & 4095n) } : undefined),
    frameBytes: () => page, readFrames: (_: DomId, __: Uint32Array, into: Uint8Array) => into.set(page), markWritten: () => undefined,
  } as unknown as MemoryControl
  return new VirtualMemory(() => control, 1 as DomId)
}

test('types have names, sizes and members, those of unnamed structures among them', () => {
  const btf = Btf.read(section())
  expect([btf.count, btf.find('task'), btf.find('struct task'), btf.find('task_t'), btf.find('nothing')]).toEqual([9, 6, 6, 7, undefined])
  expect([1, 2, 3, 4, 5, 7, 9].map((type) => btf.size(type))).toEqual([4, 1, 8, 8, 8, 32, 0])
  expect(btf.member(7, 'link.next')).toEqual({ type: 4, offset: 128, bits: 0 })
  expect(btf.member(6, 'next')).toMatchObject({ type: 4, offset: 192 })
  expect(btf.member(6, 'flags')).toMatchObject({ offset: 97, bits: 3 })
  expect(btf.member(6, 'pid.more')).toBeUndefined()
  expect(btf.functions()).toEqual(['do_it'])
})

test('values in memory are read by their types', () => {
  const page = new Uint8Array(4096)
  const view = new DataView(page.buffer)
  view.setInt32(0, -3, true)
  page.set(new TextEncoder().encode('init'), 4)
  view.setUint8(12, 0b1010)
  view.setBigUint64(16, 0x1000n, true)
  view.setBigUint64(24, 0x2000n, true)
  const values = new TypedValues(Btf.read(section()), memoryOf(page))
  expect(values.read('task_t', 0x1000)).toEqual({ pid: -3, comm: 'init', flags: 5, link: { next: 0x1000n }, next: 0x2000n })
  expect([values.member('task', 0x1000, 'link.next'), values.member('task', 0x1000n, 'flags'), values.offsetOf('task', 'link')]).toEqual([0x1000n, 5, 16])
  for (const wrong of [() => values.read('nothing', 0), () => values.read('task', 0x3000), () => values.read('task', 0x1ff8), () => values.member('task', 0x1000, 'nothing')]) {
    expect(wrong).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  }
})

test('damaged types are refused or lead to wrong answers, never to anything worse', () => {
  const random = new SeededRandom(3)
  const whole = section()
  const page = new Uint8Array(4096)
  let refused = 0
  for (let i = 0; i < 3000; i += 1) {
    const bytes = whole.slice(0, below(random, 4) === 0 ? below(random, whole.length) : whole.length)
    for (let left = 1 + below(random, 3); left > 0 && bytes.length > 0; left -= 1) bytes[below(random, bytes.length)] = below(random, 256)
    try {
      const btf = Btf.read(bytes)
      const values = new TypedValues(btf, memoryOf(page))
      btf.functions()
      for (const name of ['task', 'task_t']) values.read(name, 0x1000)
      btf.member(btf.find('task')!, 'link.next')
    } catch (error) {
      expect(XenError.is(error, 'INVALID_IMAGE') || XenError.is(error, 'INVALID_ARGUMENT')).toBe(true)
      refused += 1
    }
  }
  expect(refused).toBeGreaterThan(500)
  expect(() => Btf.read('text' as never)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
})
