/** CRC32, MXCSR, and the check for pending x87 exceptions that MMX instructions begin with. */
import { VECTOR } from '../../../x86/index.ts'
import type { Binder, Size } from '../emit/binder.ts'
import { typeOf } from '../emit/binder.ts'
import { State } from '../layout/state.ts'
import { change, from, fromUnit, into, raises } from './facts.ts'
import type { MicroList } from './micro.ts'

/** The CRC's polynomial with its bits in reverse. */
const POLYNOMIAL = 0x82f6_3b78 | 0

/** CRC32 of `size` bits of the source into the 32-bit destination: one step a bit. */
function checksum(b: Binder, size: Size): void {
  const c = b.code
  const type = typeOf(size)
  const [crc, rest, value] = [c.local('i32'), c.local('i32'), c.local(type)]
  const place = b.place('destination', 32)
  place.get()
  c.set(crc)
  b.get('source', size)
  c.set(value)
  for (let part = 0; part < Math.max(size / 32, 1); part += 1) {
    const bits = Math.min(size, 32)
    c.get(value)
    if (type === 'i64') {
      c.i64(part * 32)
      c.op('i64.shr_u', 'i32.wrap_i64')
    }
    c.get(crc)
    c.op('i32.xor')
    c.set(crc)
    c.i32(bits)
    c.set(rest)
    const again = c.loop()
    c.get(crc)
    c.i32(1)
    c.op('i32.shr_u')
    c.i32(POLYNOMIAL)
    c.i32(0)
    c.get(crc)
    c.i32(1)
    c.op('i32.and', 'i32.sub', 'i32.and', 'i32.xor')
    c.set(crc)
    c.get(rest)
    c.i32(1)
    c.op('i32.sub')
    c.tee(rest)
    c.brIf(again)
    c.end()
  }
  place.set(() => c.get(crc))
  c.release('i32', crc, rest)
  c.release(type, value)
}

/** Adds the family. */
export function defineVectorSystem(list: MicroList): void {
  for (const size of [8, 16, 32, 64] as const) list.add(['crc32', size], [change('destination', 32), from('source', size)],
    (b) => checksum(b, size))
  list.add(['mxcsr'], [into('destination', 32), fromUnit('mxcsr')], (b) => b.place('destination', 32).set(() => {
    b.code.get(b.base)
    b.code.memory('i32.load', State.mxcsr.offset)
  }))
  list.add(['x87-check'], [fromUnit('x87Status'), raises], (b) => {
    const c = b.code
    c.get(b.base)
    c.memory('i32.load', State.x87Status.offset)
    c.i32(0x80)
    c.op('i32.and')
    c.if()
    b.raise(VECTOR.MF)
    c.end()
  })
}
