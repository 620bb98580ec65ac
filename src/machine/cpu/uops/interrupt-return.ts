/**
 * IRET of a hosted processor's 64-bit code to the segments that it has, where these never change: Linux returns to itself so after each
 * instruction that it patches. All else is its handler's, and so is every return that would change more than pointers and arithmetic flags.
 */
import { GPR, PAGE_SIZE, RFLAGS } from '../../../x86/index.ts'
import type { Code } from '../../../wasm/index.ts'
import type { Binder } from '../emit/binder.ts'
import { takeFlags } from '../emit/flags.ts'
import { State } from '../layout/state.ts'
import { fromUnit, immediate, intoRegister, intoUnit, setsFlags, sometimes, stack } from './facts.ts'
import type { Effect } from './facts.ts'
import type { MicroList } from './micro.ts'

/** Where the frame's elements lie, and how long it is. */
const FRAME = { rip: 0, cs: 8, flags: 16, rsp: 24, ss: 32, bytes: 40 } as const
/** What is more than a return while it is set: a fault, a flag that the return clears. */
const UNUSUAL = RFLAGS.NT | RFLAGS.RF
/** Flags beside the arithmetic ones that a return may change. */
const OTHER_FLAGS = RFLAGS.TF | RFLAGS.DF | RFLAGS.NT | RFLAGS.AC | RFLAGS.ID
/** Bits of an address above those that tell it. */
const SIGN_BITS = 16

function pushWord(b: Binder, { offset }: { readonly offset: number }): void {
  b.code.get(b.base)
  b.code.memory('i32.load', offset)
}

/** Gives up when the i32 on the stack is not zero. */
function giveUpIf(b: Binder): void {
  b.code.if()
  b.giveUp()
  b.code.end()
}

/** Gives up where a return is more than what is done here, whatever its frame says, or the frame lies in two pages. */
function checkState(b: Binder, pointer: number): void {
  const c = b.code
  pushWord(b, State.constantSelectors)
  c.op('i32.eqz')
  pushWord(b, State.watch)
  c.op('i32.or')
  pushWord(b, State.systemFlags)
  c.i32(UNUSUAL)
  c.op('i32.and', 'i32.or')
  c.get(pointer)
  c.op('i32.wrap_i64')
  c.i32(PAGE_SIZE - 1)
  c.op('i32.and')
  c.i32(PAGE_SIZE - FRAME.bytes)
  c.op('i32.gt_u', 'i32.or')
  giveUpIf(b)
}

/** Pushes 1 when the frame leads to another segment, or to an address that is none. */
function pushLeadsElsewhere(c: Code, b: Binder, { host, target }: { readonly host: number; readonly target: number }): void {
  c.get(host)
  c.memory('i32.load16_u', FRAME.cs)
  c.get(host)
  c.memory('i32.load16_u', FRAME.ss)
  c.i32(16)
  c.op('i32.shl', 'i32.or')
  pushWord(b, State.constantSelectors)
  c.op('i32.ne')
  c.get(target)
  c.i64(SIGN_BITS)
  c.op('i64.shl')
  c.i64(SIGN_BITS)
  c.op('i64.shr_s')
  c.get(target)
  c.op('i64.ne', 'i32.or')
}

/** Pushes what is not zero when the frame's flags, in a local, change more than arithmetic ones. */
function pushChangesMore(c: Code, b: Binder, flags: number): void {
  c.get(flags)
  pushWord(b, State.systemFlags)
  c.op('i32.xor')
  c.i32(OTHER_FLAGS)
  c.op('i32.and')
  c.get(flags)
  c.i32(RFLAGS.RF)
  c.op('i32.and', 'i32.or')
}

/** The handler's price, which is paid here as well. */
function pay(b: Binder): void {
  const c = b.code
  c.get(b.base)
  pushWord(b, State.budget)
  pushWord(b, State.returnPrice)
  c.op('i32.sub')
  c.memory('i32.store', State.budget.offset)
}

function emitReturn(b: Binder): void {
  const c = b.code
  const [pointer, target] = [c.local('i64'), c.local('i64')]
  const [host, flags] = [c.local('i32'), c.local('i32')]
  b.fixed(GPR.rsp, 64).get()
  c.set(pointer)
  checkState(b, pointer)
  // The flags are what a return reads first, and so what faults.
  c.get(pointer)
  c.i64(FRAME.flags)
  c.op('i64.add')
  c.set(pointer)
  b.hostForRead(pointer, 4)
  c.i32(-FRAME.flags)
  c.op('i32.add')
  c.tee(host)
  c.memory('i64.load', FRAME.rip)
  c.set(target)
  c.get(host)
  c.memory('i32.load', FRAME.flags)
  c.set(flags)
  pushLeadsElsewhere(c, b, { host, target })
  pushChangesMore(c, b, flags)
  c.op('i32.or')
  giveUpIf(b)
  b.fixed(GPR.rsp, 64).set(() => {
    c.get(host)
    c.memory('i64.load', FRAME.rsp)
  })
  takeFlags(b, flags, 'with overflow')
  pay(b)
  b.jump(() => c.get(target))
  c.release('i64', pointer, target)
  c.release('i32', host, flags)
}

const RETURN: readonly Effect[] = [
  immediate, stack('read', 32), sometimes(intoRegister(GPR.rsp, 64)), fromUnit('systemFlags'), sometimes(setsFlags()), intoUnit('rip'),
  { handler: 'perhaps', ends: 'handler', price: 'handler', width: 64 },
]

/** Adds it. */
export function defineInterruptReturn(list: MicroList): void {
  list.add(['iret', 64], RETURN, emitReturn)
}
