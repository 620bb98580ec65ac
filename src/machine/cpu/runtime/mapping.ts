/**
 * Whether pages of code are mapped as they were when something was made of them, in generated code. The walks leave no
 * trace: code that is only looked at has not been accessed, and no translation gives way to its own.
 *
 * A list of pages in memory: 16 bytes each, the linear address and the host address; one with host address 0 ends it.
 */
import type { ModuleWriter } from '../../../wasm/index.ts'
import { ACCESS } from '../layout/state.ts'

/** Offsets in a list of pages. */
export const MAPPED_PAGE = { linear: 0, host: 8, bytes: 16 } as const

/** Adds the function (base, list) -> 1 when all pages are mapped for execution as the list says, else 0. */
export function defineMapping(module: ModuleWriter, peek: number): number {
  const { index, code: c } = module.function(['i32', 'i32'], ['i32'])
  const [base, list, host] = [0, 1, c.local('i32')]
  const again = c.loop()
  c.get(list)
  c.memory('i32.load', MAPPED_PAGE.host)
  c.tee(host)
  c.op('i32.eqz')
  c.if()
  c.i32(1)
  c.op('return')
  c.end()
  c.get(base)
  c.get(list)
  c.memory('i64.load', MAPPED_PAGE.linear)
  c.i32(ACCESS.EXECUTE)
  c.call(peek)
  c.get(host)
  c.op('i32.eq')
  c.if()
  c.get(list)
  c.i32(MAPPED_PAGE.bytes)
  c.op('i32.add')
  c.set(list)
  c.br(again)
  c.end()
  c.end()
  c.i32(0)
  return index
}
