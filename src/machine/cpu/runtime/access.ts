/**
 * Memory accesses off the fast path: across pages, and into frames that hold decoded code. A write that cannot go
 * straight to its place is put together in the state's scratch area and carried out by `commit`.
 */
import { PAGE_SHIFT, PAGE_SIZE } from '../../../x86/index.ts'
import type { Code, ModuleWriter } from '../../../wasm/index.ts'
import type { AddressWidth } from '../emit/binder.ts'
import { ACCESS, MODE, STATUS, State } from '../layout/state.ts'
import { pushLines } from './tlb.ts'
import { raiseProtection } from './walk-steps.ts'

const SCRATCH = State.scratch.offset

/** Numbers of the functions. */
export interface AccessFunctions {
  /** (base, address, bytes) -> host address, 0 on a fault. */
  readonly forRead: number
  readonly forWrite: number
  /** (base) -> status. */
  readonly commit: number
}

/**
 * What the functions call: `codeWritten` (frame) -> (), `watched` (base, bytes, 1 for a write) -> 1 to go on, or what to return. And how
 * wide linear addresses are.
 */
export interface AccessImports {
  readonly width: AddressWidth
  readonly codeWritten: number
  readonly watched: number
}

/** Adds the functions. */
export function defineAccess(module: ModuleWriter, probe: number, imports: AccessImports): AccessFunctions {
  const { codeWritten, watched, width } = imports
  const forRead = module.function(['i32', 'i64', 'i32'], ['i32'])
  writeWatch(forRead.code, watched, 0)
  writeForRead(forRead.code, probe, width)
  const forWrite = module.function(['i32', 'i64', 'i32'], ['i32'])
  writeWatch(forWrite.code, watched, 1)
  writeForWrite(forWrite.code, probe, width)
  const commitPiece = module.function(['i32', 'i32', 'i32'], ['i32'])
  writeCommitPiece(commitPiece.code, codeWritten)
  const commit = module.function(['i32'], ['i32'])
  writeCommit(commit.code, commitPiece.index)
  return { forRead: forRead.index, forWrite: forWrite.index, commit: commit.index }
}

const [BASE, ADDRESS, BYTES] = [0, 1, 2]

/**
 * While data accesses are watched: has the access at hand looked at. Returns 0 when it is to fault; a store that goes
 * aside is told where to instead.
 */
function writeWatch(c: Code, watched: number, isWrite: 0 | 1): void {
  const answer = c.local('i32')
  c.get(BASE)
  c.memory('i32.load', State.watch.offset)
  c.if()
  c.get(BASE)
  c.get(ADDRESS)
  c.memory('i64.store', State.watchedAddress.offset)
  c.get(BASE)
  c.get(BYTES)
  c.i32(isWrite)
  c.call(watched)
  c.tee(answer)
  c.i32(1)
  c.op('i32.ne')
  c.if()
  c.get(answer)
  c.op('return')
  c.end()
  c.end()
}

/** Pushes the offset of the address in its page. */
function pushOffset(c: Code): void {
  c.get(ADDRESS)
  c.op('i32.wrap_i64')
  c.i32(PAGE_SIZE - 1)
  c.op('i32.and')
}

/** Pushes 1 when the access goes on in the next page. */
function pushCrosses(c: Code): void {
  pushOffset(c)
  c.get(BYTES)
  c.op('i32.add')
  c.i32(PAGE_SIZE)
  c.op('i32.gt_u')
}

/** Probes into a local; returns 0 on a fault. */
function probeInto(c: Code, target: number, options: { probe: number; access: number; address: () => void }): void {
  c.get(BASE)
  options.address()
  c.i32(options.access)
  c.call(options.probe)
  c.tee(target)
  c.op('i32.eqz')
  c.if()
  c.i32(0)
  c.op('return')
  c.end()
}

/** Probes both pages of an access that crosses; leaves the bytes of the first piece in `split`. */
function probeBoth(
  c: Code,
  locals: { first: number; second: number; split: number },
  options: { probe: number; access: number; width: AddressWidth },
): void {
  if (options.width === 32) refuseEnd(c)
  c.i32(PAGE_SIZE)
  pushOffset(c)
  c.op('i32.sub')
  c.set(locals.split)
  probeInto(c, locals.first, { ...options, address: () => c.get(ADDRESS) })
  probeInto(c, locals.second, {
    ...options,
    address: () => {
      c.get(ADDRESS)
      c.get(locals.split)
      c.op('i64.extend_i32_u', 'i64.add')
      if (options.width === 32) {
        c.i64(-1, 0)
        c.op('i64.and')
      }
    },
  })
}

/**
 * 32-bit linear addresses: an access that goes on at address 0 leaves its segment, which in flat code nobody has looked
 * at. Whether that is the stack segment the driver finds out.
 */
function refuseEnd(c: Code): void {
  c.get(ADDRESS)
  c.get(BYTES)
  c.op('i64.extend_i32_u', 'i64.add')
  c.i64(0, 1)
  c.op('i64.gt_u')
  c.get(BASE)
  c.memory('i32.load', State.mode.offset)
  c.i32(MODE.SEGMENTED)
  c.op('i32.and', 'i32.eqz', 'i32.and')
  c.if()
  raiseProtection(c, BASE, ADDRESS)
  c.i32(0)
  c.op('return')
  c.end()
}

/** Copies the two pieces into the scratch area. */
function gather(c: Code, locals: { first: number; second: number; split: number }): void {
  c.get(BASE)
  c.i32(SCRATCH)
  c.op('i32.add')
  c.get(locals.first)
  c.get(locals.split)
  c.memoryCopy()
  c.get(BASE)
  c.i32(SCRATCH)
  c.op('i32.add')
  c.get(locals.split)
  c.op('i32.add')
  c.get(locals.second)
  c.get(BYTES)
  c.get(locals.split)
  c.op('i32.sub')
  c.memoryCopy()
}

function pushScratch(c: Code): void {
  c.get(BASE)
  c.i32(SCRATCH)
  c.op('i32.add')
}

function writeForRead(c: Code, probe: number, width: AddressWidth): void {
  const locals = { first: c.local('i32'), second: c.local('i32'), split: c.local('i32') }
  pushCrosses(c)
  c.op('i32.eqz')
  c.if()
  c.get(BASE)
  c.get(ADDRESS)
  c.i32(ACCESS.READ)
  c.call(probe)
  c.op('return')
  c.end()
  probeBoth(c, locals, { probe, access: ACCESS.READ, width })
  gather(c, locals)
  pushScratch(c)
}

/** Pushes 1 when the frame of a host address holds decoded code. */
function pushHasCode(c: Code, host: number): void {
  pushLines(c, BASE, host)
  c.i64(0)
  c.op('i64.ne')
}

function writeForWrite(c: Code, probe: number, width: AddressWidth): void {
  const locals = { first: c.local('i32'), second: c.local('i32'), split: c.local('i32') }
  pushCrosses(c)
  c.if()
  probeBoth(c, locals, { probe, access: ACCESS.WRITE, width })
  c.else()
  c.get(BYTES)
  c.set(locals.split)
  probeInto(c, locals.first, { probe, access: ACCESS.WRITE, address: () => c.get(ADDRESS) })
  pushHasCode(c, locals.first)
  c.op('i32.eqz')
  c.if()
  c.get(locals.first)
  c.op('return')
  c.end()
  c.get(locals.first)
  c.set(locals.second)
  c.end()
  gather(c, locals)
  const note = (offset: number, local: number): void => {
    c.get(BASE)
    c.get(local)
    c.memory('i32.store', offset)
  }
  note(State.pendingFirst.offset, locals.first)
  note(State.pendingSecond.offset, locals.second)
  note(State.pendingSplit.offset, locals.split)
  note(State.pendingSize.offset, BYTES)
  pushScratch(c)
}

/** (base, host, bytes) -> status: tells about a written piece that overlaps lines with decoded code. */
function writeCommitPiece(c: Code, codeWritten: number): void {
  const [base, host, bytes] = [0, 1, 2]
  const pushLine = (offset: () => void): void => {
    c.get(host)
    offset()
    c.i32(PAGE_SIZE - 1)
    c.op('i32.and')
    c.i32(6)
    c.op('i32.shr_u', 'i64.extend_i32_u')
  }
  pushLines(c, base, host)
  // A piece is at most 64 bytes, so it touches the lines of its first and last byte.
  c.i64(1)
  pushLine(() => {})
  c.op('i64.shl')
  c.i64(1)
  pushLine(() => {
    c.get(bytes)
    c.op('i32.add')
    c.i32(1)
    c.op('i32.sub')
  })
  c.op('i64.shl', 'i64.or', 'i64.and', 'i64.eqz')
  c.if()
  c.i32(STATUS.NEXT)
  c.op('return')
  c.end()
  c.get(host)
  c.i32(PAGE_SHIFT)
  c.op('i32.shr_u')
  c.call(codeWritten)
  c.i32(STATUS.RELOAD)
}

/** Carries out the pending write. */
function writeCommit(c: Code, commitPiece: number): void {
  const [first, second, split, rest] = [c.local('i32'), c.local('i32'), c.local('i32'), c.local('i32')]
  const take = (local: number, offset: number): void => {
    c.get(BASE)
    c.memory('i32.load', offset)
    c.set(local)
  }
  take(first, State.pendingFirst.offset)
  take(second, State.pendingSecond.offset)
  take(split, State.pendingSplit.offset)
  take(rest, State.pendingSize.offset)
  c.get(rest)
  c.get(split)
  c.op('i32.sub')
  c.set(rest)
  c.get(first)
  pushScratch(c)
  c.get(split)
  c.memoryCopy()
  c.get(second)
  pushScratch(c)
  c.get(split)
  c.op('i32.add')
  c.get(rest)
  c.memoryCopy()
  c.get(BASE)
  c.get(first)
  c.get(split)
  c.call(commitPiece)
  c.get(rest)
  c.if('i32')
  c.get(BASE)
  c.get(second)
  c.get(rest)
  c.call(commitPiece)
  c.else()
  c.i32(STATUS.NEXT)
  c.end()
  c.op('i32.or')
}
