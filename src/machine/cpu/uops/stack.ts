/** PUSH POP CALL RET LEAVE ENTER, and jumps: everything that ends a block or moves the stack pointer. */
import { GPR } from '../../../x86/index.ts'
import { CONDITIONS, pushConditionAfter } from '../emit/conditions.ts'
import { constant, typeOf } from '../emit/binder.ts'
import type { Binder, Size } from '../emit/binder.ts'
import { SLOT } from '../state.ts'
import type { Emit, MicroList } from './micro.ts'

type StackSize = 16 | 32 | 64

/** Sets `address` to the linear address of the stack pointer plus `offset`. */
function stackAddress(b: Binder, address: number, offset: number): void {
  const c = b.code
  b.fixed(GPR.rsp, b.width).get()
  constant(c, b.width, offset)
  c.op(`${typeOf(b.width)}.add`)
  if (b.width === 32) {
    c.op('i64.extend_i32_u')
    c.get(b.base)
    c.memory('i64.load', SLOT.ss)
    c.op('i64.add')
    c.i64(-1, 0)
    c.op('i64.and')
  }
  c.set(address)
}

/** Adds to the stack pointer. */
function moveStack(b: Binder, push: () => void): void {
  const place = b.fixed(GPR.rsp, b.width)
  place.set(() => {
    place.get()
    push()
    b.code.op(`${typeOf(b.width)}.add`)
  })
}

/** Pushes what `value` pushes on the guest's stack. */
export function pushValue(b: Binder, size: StackSize, value: () => void): void {
  const address = b.code.local('i64')
  stackAddress(b, address, -size / 8)
  b.storeAt(address, size, value)
  moveStack(b, () => constant(b.code, b.width, -size / 8))
  b.code.release('i64', address)
}

/** Leaves the top of the guest's stack in a local and, unless `check` refuses it, removes it. */
export function popValue(b: Binder, size: StackSize, target: number, check = (): void => {}): void {
  const address = b.code.local('i64')
  stackAddress(b, address, 0)
  b.loadAt(address, size)
  b.code.set(target)
  check()
  moveStack(b, () => constant(b.code, b.width, size / 8))
  b.code.release('i64', address)
}

function definePushes(list: MicroList): void {
  for (const size of [16, 32, 64] as const) {
    const type = typeOf(size)
    list.add(`push.${size}.r`, (b) => {
      const value = b.code.local(type)
      b.get('a', size)
      b.code.set(value)
      pushValue(b, size, () => b.code.get(value))
      b.code.release(type, value)
    })
    list.add(`push.${size}.i`, (b) => pushValue(b, size, () => b.immediate(size)))
    list.add(`pop.${size}.r`, (b) => {
      const value = b.code.local(type)
      popValue(b, size, value)
      b.place('a', size).set(() => b.code.get(value))
      b.code.release(type, value)
    })
    // The address is worked out with the stack pointer already moved, which stays unmoved when the store faults.
    list.add(`pop.${size}.m2`, (b) => {
      const c = b.code
      const [value, address, old] = [c.local(type), c.local('i64'), c.local(typeOf(b.width))]
      const pointer = b.fixed(GPR.rsp, b.width)
      stackAddress(b, address, 0)
      b.loadAt(address, size)
      c.set(value)
      pointer.get()
      c.set(old)
      moveStack(b, () => constant(c, b.width, size / 8))
      b.address(2)
      c.set(address)
      const restored = c.local('i64')
      c.get(b.base)
      c.memory('i64.load', GPR.rsp * 8)
      c.set(restored)
      pointer.set(() => c.get(old))
      b.storeAt(address, size, () => c.get(value))
      c.get(b.base)
      c.get(restored)
      c.memory('i64.store', GPR.rsp * 8)
      c.release('i64', address, restored)
      c.release(typeOf(b.width), old)
      c.release(type, value)
    })
    list.add(`leave.${size}`, (b) => {
      const c = b.code
      const [value, address] = [c.local(type), c.local('i64')]
      const frame = b.fixed(GPR.rbp, b.width)
      frame.get()
      if (b.width === 32) {
        c.op('i64.extend_i32_u')
        c.get(b.base)
        c.memory('i64.load', SLOT.ss)
        c.op('i64.add')
        c.i64(-1, 0)
        c.op('i64.and')
      }
      c.set(address)
      b.loadAt(address, size)
      c.set(value)
      b.fixed(GPR.rsp, b.width).set(() => {
        frame.get()
        constant(c, b.width, size / 8)
        c.op(`${typeOf(b.width)}.add`)
      })
      b.fixed(GPR.rbp, size).set(() => c.get(value))
      c.release('i64', address)
      c.release(type, value)
    })
  }
}

/** Brings the i64 on the stack, or the value of `size`, to a code address of the operand size. */
function asAddress(b: Binder, size: Size): void {
  if (size !== 64) b.code.op('i64.extend_i32_u')
}

/** Refuses the code address in a local when it is not canonical: the instruction faults then, not the fetch. */
function requireCanonical(b: Binder, size: Size, target: number): void {
  if (size !== 64) return
  const c = b.code
  c.get(target)
  c.i64(0, 0x8000)
  c.op('i64.add')
  c.i64(48)
  c.op('i64.shr_u', 'i64.eqz', 'i32.eqz')
  c.if()
  b.protection()
  c.end()
}

function defineCalls(list: MicroList): void {
  for (const size of [16, 32, 64] as const) {
    const type = typeOf(size)
    // Whether the stack can be written is looked at before the target is.
    const pushNext = (b: Binder, check = (): void => {}): void =>
      pushValue(b, size, () => {
        check()
        b.nextIp()
        if (size !== 64) b.code.op('i32.wrap_i64')
      })
    list.add(`call.${size}`, (b) => {
      pushNext(b)
      b.branch('end')
    })
    list.add(`call.${size}.r`, (b) => {
      const target = b.code.local(type)
      b.get('a', size)
      b.code.set(target)
      pushNext(b, () => requireCanonical(b, size, target))
      b.jump(() => {
        b.code.get(target)
        asAddress(b, size)
      })
      b.code.release(type, target)
    })
    list.add(`jmp.${size}.r`, (b) => {
      const target = b.code.local(type)
      b.get('a', size)
      b.code.set(target)
      requireCanonical(b, size, target)
      b.jump(() => {
        b.code.get(target)
        asAddress(b, size)
      })
      b.code.release(type, target)
    })
    list.add(`ret.${size}`, (b) => {
      const target = b.code.local(type)
      popValue(b, size, target, () => requireCanonical(b, size, target))
      moveStack(b, () => b.immediate(b.width))
      b.jump(() => {
        b.code.get(target)
        asAddress(b, size)
      })
      b.code.release(type, target)
    })
  }
  list.add('jmp', (b) => b.branch('end'))
}

/** Jcc: goes on behind it unless the condition holds. */
export const conditionalJump = (condition: (typeof CONDITIONS)[number]): Emit => (b, before) => {
  pushConditionAfter(b, condition, before)
  b.code.if()
  b.branch('middle')
  b.code.end()
}

function defineConditional(list: MicroList): void {
  for (const condition of CONDITIONS) list.add(`j${condition}`, conditionalJump(condition))
  for (const width of [16, 32, 64] as const) {
    const type = typeOf(width)
    const decrement = (b: Binder): void => {
      const count = b.fixed(GPR.rcx, width)
      count.set(() => {
        count.get()
        constant(b.code, width, 1)
        b.code.op(`${type}.sub`)
      })
    }
    const notZero = (b: Binder): void => {
      b.fixed(GPR.rcx, width).get()
      constant(b.code, width, 0)
      b.code.op(`${type}.ne`)
    }
    const looping = (name: string, condition?: 'e' | 'ne'): void =>
      list.add(`${name}.${width}`, (b) => {
        decrement(b)
        notZero(b)
        if (condition !== undefined) {
          pushConditionAfter(b, condition, undefined)
          b.code.op('i32.and')
        }
        b.code.if()
        b.branch('middle')
        b.code.end()
      })
    looping('loop')
    looping('loope', 'e')
    looping('loopne', 'ne')
    list.add(`jcxz.${width}`, (b) => {
      notZero(b)
      b.code.op('i32.eqz')
      b.code.if()
      b.branch('middle')
      b.code.end()
    })
  }
}

/**
 * ENTER at nesting level 0: pushes the frame pointer, and faults when the new top of the stack could not be written.
 */
function enter(b: Binder, size: StackSize): void {
  const c = b.code
  const [address, host, value] = [c.local('i64'), c.local('i32'), c.local(typeOf(size))]
  stackAddress(b, address, -size / 8)
  b.fixed(GPR.rbp, size).get()
  c.set(value)
  b.storeAt(address, size, () => c.get(value))
  c.get(address)
  b.immediate(64)
  c.op('i64.sub')
  if (b.width === 32) {
    c.i64(-1, 0)
    c.op('i64.and')
  }
  c.set(address)
  b.hostForWrite(address, size / 8)
  c.set(host)
  moveStack(b, () => constant(c, b.width, -size / 8))
  b.fixed(GPR.rbp, size).set(() => b.fixed(GPR.rsp, size).get())
  moveStack(b, () => {
    constant(c, b.width, 0)
    b.immediate(b.width)
    c.op(`${typeOf(b.width)}.sub`)
  })
  c.release('i64', address)
  c.release('i32', host)
  c.release(typeOf(size), value)
}

function defineEnter(list: MicroList): void {
  for (const size of [16, 32, 64] as const) {
    // Deeper ones are a handler's work.
    list.add(`enter.${size}`, (b) => enter(b, size))
    // Pops into a temporary and lets the record's handler go on with it.
    list.add(`pop-handler.${size}`, (b) => {
      const value = b.code.local(typeOf(size))
      popValue(b, size, value)
      b.code.get(b.base)
      b.code.get(value)
      if (size !== 64) b.code.op('i64.extend_i32_u')
      b.code.memory('i64.store', SLOT.t0)
      b.handler()
      b.code.release(typeOf(size), value)
    })
  }
}

/** Adds the family, without the pairs. */
export function defineStackFamily(list: MicroList): void {
  definePushes(list)
  defineCalls(list)
  defineConditional(list)
  defineEnter(list)
}
