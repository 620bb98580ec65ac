/**
 * PUSH POP CALL RET LEAVE ENTER, and jumps: everything that ends a block or moves the stack pointer. Where segments are
 * not flat, the same functions work on offsets: the stack pointer is as wide as SS.B says, bases are added, limits
 * checked.
 */
import { CONDITIONS, GPR, SEGMENT, VECTOR } from '../../../x86/index.ts'
import { pushConditionAfter } from '../emit/conditions.ts'
import { constant, typeOf } from '../emit/binder.ts'
import type { Binder, Size } from '../emit/binder.ts'
import { SEGMENT_USE, segmentAccess } from '../layout/segment-access.ts'
import type { SegmentUse } from '../layout/segment-access.ts'
import { SLOT, State } from '../layout/state.ts'
import {
  all, branches, branchesOn, byHandler, changeRegister, codeAddress, from, fromRegister, immediate, into, intoRegister, intoSlot,
  jumps, on, pops, pushes, stack, stores,
} from './facts.ts'
import type { Effect } from './facts.ts'
import type { Emit, MicroList } from './micro.ts'

type StackSize = 16 | 32 | 64

/** An access to the stack. */
interface StackAccess {
  readonly offset: number
  /** Pushes how much lower than that it is. */
  readonly below?: () => void
  readonly bytes: number
  readonly use: SegmentUse
}

/** Sets `address` to the linear address of the stack pointer, or a register that stands for it, plus an offset. */
function stackAddress(b: Binder, address: number, access: StackAccess, register: number = GPR.rsp): void {
  const c = b.code
  b.fixed(register, b.width).get()
  if (access.offset !== 0) {
    constant(c, b.width, access.offset)
    c.op(`${typeOf(b.width)}.add`)
  }
  if (access.below !== undefined) {
    access.below()
    c.op(`${typeOf(b.width)}.sub`)
  }
  if (b.segmented) throughSegment(b, access)
  if (b.width === 32) c.op('i64.extend_i32_u')
  c.set(address)
}

/** Cuts the i32 on the stack to the width of the stack pointer. */
function maskStack(b: Binder): void {
  b.code.get(b.base)
  b.code.memory('i32.load', State.stackMask.offset)
  b.code.op('i32.and')
}

/** Turns the offset on the stack (i32) into a linear address, after a look at the limit. */
function throughSegment(b: Binder, { use, bytes }: StackAccess): void {
  const c = b.code
  const offset = c.local('i32')
  maskStack(b)
  c.set(offset)
  b.checkSegment(offset, segmentAccess(SEGMENT.ss, use, bytes))
  c.get(offset)
  c.get(b.base)
  c.memory('i32.load', SLOT.ss)
  c.op('i32.add')
  c.release('i32', offset)
}

const reading = (size: StackSize): StackAccess => ({ offset: 0, bytes: size / 8, use: SEGMENT_USE.READ })
const pushing = (size: StackSize): StackAccess => ({ offset: -size / 8, bytes: size / 8, use: SEGMENT_USE.WRITE })

/** Sets the stack pointer, or the part of it that SS.B leaves, to what `push` pushes. */
function setStack(b: Binder, push: () => void): void {
  const place = b.fixed(GPR.rsp, b.width)
  if (!b.segmented) return place.set(push)
  const c = b.code
  place.set(() => {
    push()
    maskStack(b)
    place.get()
    c.get(b.base)
    c.memory('i32.load', State.stackMask.offset)
    c.i32(-1)
    c.op('i32.xor', 'i32.and', 'i32.or')
  })
}

/** Adds to the stack pointer. */
function moveStack(b: Binder, push: () => void): void {
  const place = b.fixed(GPR.rsp, b.width)
  setStack(b, () => {
    place.get()
    push()
    b.code.op(`${typeOf(b.width)}.add`)
  })
}

/** Pushes what `value` pushes on the guest's stack. */
export function pushValue(b: Binder, size: StackSize, value: () => void): void {
  const address = b.code.local('i64')
  stackAddress(b, address, pushing(size))
  b.storeAt(address, size, value)
  moveStack(b, () => constant(b.code, b.width, -size / 8))
  b.code.release('i64', address)
}

/** Leaves the top of the guest's stack in a local and, unless `check` refuses it, removes it. */
export function popValue(b: Binder, size: StackSize, target: number, check = (): void => {}): void {
  const address = b.code.local('i64')
  stackAddress(b, address, reading(size))
  b.loadAt(address, size)
  b.code.set(target)
  check()
  moveStack(b, () => constant(b.code, b.width, size / 8))
  b.code.release('i64', address)
}

/** LEAVE: pops the frame pointer from where it points to. */
const leaves = (size: StackSize): Effect[] =>
  [stack('read', size, GPR.rbp), changeRegister(GPR.rbp, size), intoRegister(GPR.rsp, 32), { width: size }]

function definePushes(list: MicroList): void {
  for (const size of [16, 32, 64] as const) {
    const type = typeOf(size)
    list.add(['push', size, 'r'], [from('register', size), pushes(size)], (b) => {
      const value = b.code.local(type)
      b.get('register', size)
      b.code.set(value)
      pushValue(b, size, () => b.code.get(value))
      b.code.release(type, value)
    })
    list.add(['push', size, 'i'], [immediate, pushes(size)], (b) => pushValue(b, size, () => b.immediate(size)))
    list.add(['pop', size, 'r'], [pops(size), into('destination', size)], (b) => {
      const value = b.code.local(type)
      popValue(b, size, value)
      b.place('destination', size).set(() => b.code.get(value))
      b.code.release(type, value)
    })
    // Only for the faults of reading the top.
    list.add(['peek', size], [stack('probe-read', size), { width: size }], (b) => {
      const [address, host] = [b.code.local('i64'), b.code.local('i32')]
      stackAddress(b, address, reading(size))
      b.hostForRead(address, size / 8)
      b.code.set(host)
      b.code.release('i64', address)
      b.code.release('i32', host)
    })
    // The address is worked out with the stack pointer already moved, which stays unmoved when the store faults.
    list.addLong(['pop', size, 'm'], [pops(size), stores(2, size)], (b) => {
      const c = b.code
      const [value, address, old] = [c.local(type), c.local('i64'), c.local(typeOf(b.width))]
      const pointer = b.fixed(GPR.rsp, b.width)
      stackAddress(b, address, reading(size))
      b.loadAt(address, size)
      c.set(value)
      pointer.get()
      c.set(old)
      moveStack(b, () => constant(c, b.width, size / 8))
      b.address(2)
      c.set(address)
      const restored = c.local('i64')
      b.fixed(GPR.rsp, 64).get()
      c.set(restored)
      pointer.set(() => c.get(old))
      b.storeAt(address, size, () => c.get(value))
      b.fixed(GPR.rsp, 64).set(() => c.get(restored))
      c.release('i64', address, restored)
      c.release(typeOf(b.width), old)
      c.release(type, value)
    })
    list.add(['leave', size], leaves(size), (b) => {
      const c = b.code
      const [value, address] = [c.local(type), c.local('i64')]
      const frame = b.fixed(GPR.rbp, b.width)
      stackAddress(b, address, reading(size), GPR.rbp)
      b.loadAt(address, size)
      c.set(value)
      setStack(b, () => {
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

/**
 * Refuses the code address in a local when it is not canonical, or lies behind the code segment's limit: the
 * instruction faults then, not the fetch.
 */
function requireTarget(b: Binder, size: Size, target: number): void {
  if (b.segmented) return b.checkSegment(target, segmentAccess(SEGMENT.cs, SEGMENT_USE.FETCH, 1))
  if (size !== 64) return
  const c = b.code
  c.get(target)
  c.i64(0, 0x8000)
  c.op('i64.add')
  c.i64(48)
  c.op('i64.shr_u', 'i64.eqz', 'i32.eqz')
  c.if()
  b.raise(VECTOR.GP)
  c.end()
}

/** Goes to an address that it has; in 64-bit code one that may not be canonical. */
const indirect = (size: StackSize): Effect => all(jumps, { width: size, raises: size === 64 })

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
    list.add(['call', size], [pushes(size), branches], (b) => {
      pushNext(b, () => b.checkBranch())
      b.branch('end')
    })
    list.add(['call', size, 'r'], [from('register', size), pushes(size), codeAddress, indirect(size)], (b) => {
      const target = b.code.local(type)
      b.get('register', size)
      b.code.set(target)
      pushNext(b, () => requireTarget(b, size, target))
      b.jump(() => {
        b.code.get(target)
        asAddress(b, size)
      })
      b.code.release(type, target)
    })
    list.add(['jmp', size, 'r'], [from('register', size), indirect(size)], (b) => {
      const target = b.code.local(type)
      b.get('register', size)
      b.code.set(target)
      requireTarget(b, size, target)
      b.jump(() => {
        b.code.get(target)
        asAddress(b, size)
      })
      b.code.release(type, target)
    })
    list.add(['ret', size], [pops(size), immediate, indirect(size)], (b) => {
      const target = b.code.local(type)
      popValue(b, size, target, () => requireTarget(b, size, target))
      moveStack(b, () => b.immediate(b.width))
      b.jump(() => {
        b.code.get(target)
        asAddress(b, size)
      })
      b.code.release(type, target)
    })
  }
  list.add(['jmp'], [branches], (b) => {
    b.checkBranch()
    b.branch('end')
  })
}

/** Jcc: goes on behind it unless the condition holds. */
export const conditionalJump = (condition: (typeof CONDITIONS)[number]): Emit => (b, before) => {
  pushConditionAfter(b, condition, before)
  b.code.if()
  b.checkBranch()
  b.branch('middle')
  b.code.end()
}

function defineConditional(list: MicroList): void {
  for (const condition of CONDITIONS) {
    const jump = list.add([`j${condition}`], [on(condition), branchesOn], conditionalJump(condition))
    list.jumps.set(condition, jump)
  }
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
    const looping = (name: string, condition?: 'e' | 'ne'): void => {
      const counted = all(changeRegister(GPR.rcx, width), branchesOn, { width })
      list.add([name, width], condition === undefined ? [counted] : [counted, on(condition)], (b) => {
        const count = b.fixed(GPR.rcx, width)
        count.get()
        constant(b.code, width, 1)
        b.code.op(`${type}.ne`)
        if (condition !== undefined) {
          pushConditionAfter(b, condition, undefined)
          b.code.op('i32.and')
        }
        b.code.if()
        b.checkBranch()
        decrement(b)
        b.branch('middle')
        b.code.end()
        decrement(b)
      })
    }
    looping('loop')
    looping('loope', 'e')
    looping('loopne', 'ne')
    list.add(['jcxz', width], [fromRegister(GPR.rcx), branchesOn, { width }], (b) => {
      b.fixed(GPR.rcx, width).get()
      b.code.op(`${type}.eqz`)
      b.code.if()
      b.checkBranch()
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
  stackAddress(b, address, pushing(size))
  b.fixed(GPR.rbp, size).get()
  c.set(value)
  b.storeAt(address, size, () => c.get(value))
  stackAddress(b, address, { ...pushing(size), below: () => b.immediate(b.width) })
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
    list.add(['enter', size], [pushes(size), stack('probe-write', size), immediate, changeRegister(GPR.rbp, size)],
      (b) => enter(b, size))
    // Pops into a temporary and lets the record's handler go on with it.
    list.add(['pop-handler', size], [pops(size), intoSlot(SLOT.t0), byHandler], (b) => {
      const value = b.code.local(typeOf(size))
      popValue(b, size, value)
      b.slot(SLOT.t0, 64).set(() => {
        b.code.get(value)
        if (size !== 64) b.code.op('i64.extend_i32_u')
      })
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
