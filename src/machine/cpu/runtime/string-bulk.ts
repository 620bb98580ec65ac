/** String instructions in bulk: how many elements of MOVS and STOS go at once, and moving them. */
import { GPR, PAGE_SIZE } from '../../../x86/index.ts'
import type { Code } from '../../../wasm/index.ts'
import { State, WATCH } from '../layout/state.ts'
import type { AccessFunctions } from './access.ts'

/** Locals of one string function. */
export interface Work {
  readonly code: Code
  readonly functions: AccessFunctions
  /** Function that checks an access through a segment; negative where segments are flat. */
  readonly checkSegment: number
  readonly base: number
  readonly record: number
  readonly shift: number
  readonly repeat: number
  readonly count: number
  readonly source: number
  readonly target: number
  readonly hostSource: number
  readonly hostTarget: number
  readonly elements: number
  readonly step: number
  readonly status: number
  readonly value: number
  readonly other: number
}

/** Runs one of four pieces of code, chosen by the element's size. */
export function bySize(w: Work, result: 'i64' | undefined, body: (log: number) => void): void {
  const c = w.code
  for (const log of [0, 1, 2]) {
    c.get(w.shift)
    c.i32(log)
    c.op('i32.eq')
    c.if(result)
    body(log)
    c.else()
  }
  body(3)
  for (let i = 0; i < 3; i += 1) c.end()
}

/** Pushes 1 when a host address lies in the processor's state: the scratch area. */
export function pushIsScratch(w: Work, host: number): void {
  w.code.get(host)
  w.code.get(w.base)
  w.code.op('i32.sub')
  w.code.i32(State.size)
  w.code.op('i32.lt_u')
}

/** Decides how many elements go at once: 1, or for MOVS and STOS forwards whatever stays in the pages at hand. */
export function measure(name: string, w: Work): void {
  const c = w.code
  c.i32(1)
  c.set(w.elements)
  if (w.checkSegment >= 0 || (name !== 'movs' && name !== 'stos')) return
  c.get(w.repeat)
  c.get(w.step)
  c.i32(0)
  c.op('i32.gt_s', 'i32.and')
  pushIsScratch(w, w.hostTarget)
  c.op('i32.eqz', 'i32.and')
  if (name === 'movs') {
    pushIsScratch(w, w.hostSource)
    c.op('i32.eqz', 'i32.and')
  }
  // Where one of the pages at hand is watched, each element is looked at.
  c.get(w.base)
  c.memory('i32.load', State.watch.offset)
  c.i32(~WATCH.PAGES)
  c.op('i32.and', 'i32.eqz', 'i32.and')
  c.if()
  bulk(name, w)
  c.end()
}

function bulk(name: string, w: Work): void {
  const c = w.code
  const room = c.local('i32')
  const limit = (push: () => void): void => {
    push()
    c.set(room)
    c.get(room)
    c.get(w.elements)
    c.get(room)
    c.get(w.elements)
    c.op('i32.lt_u', 'select')
    c.set(w.elements)
  }
  const untilPageEnd = (host: number) => (): void => {
    c.i32(PAGE_SIZE)
    c.get(host)
    c.i32(PAGE_SIZE - 1)
    c.op('i32.and', 'i32.sub')
    c.get(w.shift)
    c.op('i32.shr_u')
  }
  c.i32(PAGE_SIZE)
  c.set(w.elements)
  limit(untilPageEnd(w.hostTarget))
  if (name === 'movs') limit(untilPageEnd(w.hostSource))
  limit(() => {
    c.get(w.base)
    c.memory('i32.load', State.budget.offset)
    c.i32(1)
    c.op('i32.add')
  })
  // The count last: it may be larger than 32 bits.
  c.get(w.count)
  c.get(w.elements)
  c.op('i64.extend_i32_u')
  c.get(w.count)
  c.get(w.elements)
  c.op('i64.extend_i32_u', 'i64.lt_u', 'select', 'i32.wrap_i64')
  c.set(w.elements)
  if (name === 'movs') overlap(w, limit)
  c.release('i32', room)
}

/** A target a little behind its source repeats a pattern: copy only what is already there. */
function overlap(w: Work, limit: (push: () => void) => void): void {
  const c = w.code
  c.get(w.hostTarget)
  c.get(w.hostSource)
  c.op('i32.gt_u')
  c.if()
  limit(() => {
    c.get(w.hostTarget)
    c.get(w.hostSource)
    c.op('i32.sub')
    c.get(w.shift)
    c.op('i32.shr_u')
  })
  // Less than one element apart: one at a time, from the value read before.
  c.get(w.elements)
  c.op('i32.eqz')
  c.if()
  c.i32(1)
  c.set(w.elements)
  c.end()
  c.end()
}

/** Copies all elements at once. */
export function copyBulk(w: Work): void {
  const c = w.code
  c.get(w.hostTarget)
  c.get(w.hostSource)
  c.get(w.elements)
  c.get(w.shift)
  c.op('i32.shl')
  c.memoryCopy()
}

/** Fills with the accumulator: the first element, then copies of twice as much each time. */
export function fillBulk(w: Work): void {
  const c = w.code
  const [done, bytes, part] = [c.local('i32'), c.local('i32'), c.local('i32')]
  c.get(w.base)
  c.memory('i64.load', GPR.rax * 8)
  c.set(w.value)
  c.get(w.elements)
  c.get(w.shift)
  c.op('i32.shl')
  c.set(bytes)
  c.get(w.shift)
  c.op('i32.eqz')
  // Zero, in any size, is bytes too.
  c.get(w.value)
  c.op('i64.eqz', 'i32.or')
  c.if()
  c.get(w.hostTarget)
  c.get(w.value)
  c.op('i32.wrap_i64')
  c.get(bytes)
  c.memoryFill()
  c.else()
  storeElement(w)
  c.i32(1)
  c.get(w.shift)
  c.op('i32.shl')
  c.set(done)
  const again = c.loop()
  c.get(bytes)
  c.get(done)
  c.op('i32.sub')
  c.set(part)
  c.get(part)
  c.get(done)
  c.get(part)
  c.get(done)
  c.op('i32.lt_u', 'select')
  c.set(part)
  c.get(w.hostTarget)
  c.get(done)
  c.op('i32.add')
  c.get(w.hostTarget)
  c.get(part)
  c.memoryCopy()
  c.get(done)
  c.get(part)
  c.op('i32.add')
  c.tee(done)
  c.get(bytes)
  c.op('i32.lt_u')
  c.brIf(again)
  c.end()
  c.end()
  c.release('i32', done, bytes, part)
}

/** Stores one element at the target's host address. */
export function storeElement(w: Work): void {
  const c = w.code
  const sizes = ['i64.store8', 'i64.store16', 'i64.store32', 'i64.store'] as const
  bySize(w, undefined, (log) => {
    c.get(w.hostTarget)
    c.get(w.value)
    c.memory(sizes[log]!)
  })
}
