/**
 * The TLB in generated code: looking a page up, filling an entry after a walk. An entry holds the tags that need no
 * further look: the write tag only when the page is dirty already, holds no decoded code and is not being watched.
 */
import { PAGE_SHIFT, PAGE_SIZE, PTE } from '../../../x86/index.ts'
import type { Code } from '../../../wasm/index.ts'
import { FRAME_RIGHT } from '../../interface/sources.ts'
import { NOTE_GROUP_SHIFT } from '../../memory/layout.ts'
import { ACCESS, NO_TAG, PERMISSION, State, TLB, TLB_LOG, WATCH } from '../layout/state.ts'
import { load, testPermission } from './walk-steps.ts'
import type { Walk } from './walk-steps.ts'

/** Pushes 1 when writing is allowed by the tables, or by ring 0 without write protection. */
export function pushWritable(w: Walk): void {
  const c = w.code
  c.get(w.rights)
  c.i32(PTE.WRITABLE)
  c.op('i32.and')
  testPermission(w, PERMISSION.USER | PERMISSION.WRITE_PROTECT)
  c.op('i32.eqz', 'i32.or')
  c.i32(0)
  c.op('i32.ne')
}

/** Writes `probe`: the TLB, then the walk, of which there is one for processors whose host translates. */
export function writeProbe(c: Code, walk: number, nestedWalk: number): void {
  const [base, address, access] = [0, 1, 2]
  const entry = c.local('i32')
  pushEntry(c, base, address)
  c.tee(entry)
  c.get(access)
  c.op('i32.add')
  c.memory('i64.load')
  c.get(address)
  c.i64(-PAGE_SIZE)
  c.op('i64.and', 'i64.eq')
  c.if()
  c.get(address)
  c.op('i32.wrap_i64')
  c.get(entry)
  c.memory('i32.load', TLB.delta)
  c.op('i32.add', 'return')
  c.end()
  const pushArguments = (): void => {
    for (const local of [base, address, access]) c.get(local)
  }
  c.get(base)
  c.memory('i32.load', State.permissions.offset)
  c.i32(PERMISSION.NESTED)
  c.op('i32.and')
  c.if()
  pushArguments()
  c.call(nestedWalk)
  c.op('return')
  c.end()
  pushArguments()
  c.call(walk)
}

/** Pushes the address of the TLB entry for a linear address. */
function pushEntry(c: Code, base: number, address: number): void {
  c.get(base)
  c.memory('i32.load', State.bank.offset)
  c.get(address)
  c.i64(PAGE_SHIFT)
  c.op('i64.shr_u', 'i32.wrap_i64')
  c.i32(TLB.entries - 1)
  c.op('i32.and')
  c.i32(Math.log2(TLB.entryBytes))
  c.op('i32.shl', 'i32.add')
}

/** Notes that the page has been written, for dirty tracking. */
export function noteWrite(w: Walk): void {
  notePage(w, w.table)
}

/** The same for the page that a host address in a local lies in. */
export function notePage(w: Walk, host: number): void {
  const c = w.code
  pushFrameNote(w, host)
  c.i32(0)
  c.memory('i32.store8')
  load(w, State.noteGroups.offset)
  c.get(host)
  c.i32(PAGE_SHIFT + NOTE_GROUP_SHIFT)
  c.op('i32.shr_u', 'i32.add')
  c.i32(1)
  c.memory('i32.store8')
}

function pushFrameNote(w: Walk, host: number): void {
  load(w, State.frameNotes.offset)
  w.code.get(host)
  w.code.i32(PAGE_SHIFT)
  w.code.op('i32.shr_u', 'i32.add')
}

/** Pushes the lines with decoded code, one bit for each, of the page that a host address in a local lies in. */
export function pushLines(c: Code, base: number, host: number): void {
  c.get(base)
  c.memory('i32.load', State.codeLines.offset)
  c.get(host)
  c.i32(PAGE_SHIFT)
  c.op('i32.shr_u')
  c.i32(3)
  c.op('i32.shl', 'i32.add')
  c.memory('i64.load')
}

/** Pushes 1 when the page holds no decoded code and is not being watched. */
function pushUnwatched(w: Walk): void {
  const c = w.code
  pushLines(c, w.base, w.table)
  c.op('i64.eqz')
  pushFrameNote(w, w.table)
  c.memory('i32.load8_u')
  c.op('i32.eqz', 'i32.and')
}

/** Fills the TLB entry of the page. */
export function fill(w: Walk, leaf: number): void {
  const c = w.code
  const entry = c.local('i32')
  const tag = c.local('i64')
  pushEntry(c, w.base, w.address)
  c.set(entry)
  log(w, entry)
  c.get(w.address)
  c.i64(-PAGE_SIZE)
  c.op('i64.and')
  c.set(tag)
  const setTag = (offset: number, allowed: () => void): void => {
    c.get(entry)
    c.get(tag)
    c.i64(NO_TAG)
    allowed()
    c.op('select')
    c.memory('i64.store', offset)
  }
  // While data accesses are watched, none may pass the slow path by, or none of its kind to the page at hand.
  const unwatched = (other: number): void => {
    load(w, State.watch.offset)
    c.i32(~(WATCH.PAGES | WATCH.NOTED | other))
    c.op('i32.and', 'i32.eqz', 'i32.and')
  }
  // SMEP and SMAP split what a page allows; then only the access at hand is remembered.
  const unlessSplit = (access: number): void => {
    testPermission(w, PERMISSION.SMEP | PERMISSION.SMAP)
    c.op('i32.eqz')
    c.get(w.access)
    c.i32(access)
    c.op('i32.eq', 'i32.or')
  }
  const andFrame = (right: number): void => {
    if (w.nested === undefined) return
    c.get(w.frameRights)
    c.i32(right)
    c.op('i32.and')
    c.i32(0)
    c.op('i32.ne', 'i32.and')
  }
  setTag(TLB.read, () => {
    unlessSplit(ACCESS.READ)
    andFrame(FRAME_RIGHT.READ)
    unwatched(WATCH.HELD_WRITE)
  })
  setTag(TLB.write, () => {
    pushWritable(w)
    c.get(leaf)
    c.memory('i32.load')
    c.i32(PTE.DIRTY)
    c.op('i32.and')
    c.i32(0)
    c.op('i32.ne', 'i32.and')
    pushUnwatched(w)
    c.op('i32.and')
    unlessSplit(ACCESS.WRITE)
    c.op('i32.and')
    andFrame(FRAME_RIGHT.WRITE)
    unwatched(WATCH.HELD_READ)
  })
  setTag(TLB.execute, () => {
    c.get(w.noExecute)
    c.op('i32.eqz')
    unlessSplit(ACCESS.EXECUTE)
    c.op('i32.and')
    andFrame(FRAME_RIGHT.EXECUTE)
  })
  c.get(entry)
  c.get(w.table)
  c.get(tag)
  c.op('i32.wrap_i64', 'i32.sub')
  c.memory('i32.store', TLB.delta)
}

/** Notes an entry that is empty so far, so that a flush finds it; when the log is full a flush clears everything. */
function log(w: Walk, entry: number): void {
  const c = w.code
  const count = c.local('i32')
  const tags = [TLB.read, TLB.write, TLB.execute]
  for (const [i, tag] of tags.entries()) {
    c.get(entry)
    c.memory('i32.load', tag)
    if (i > 0) c.op('i32.and')
  }
  // Pages have zeros where NO_TAG has a one.
  c.i32(NO_TAG)
  c.op('i32.and')
  c.if()
  load(w, State.logCount.offset)
  c.tee(count)
  c.i32(TLB_LOG.entries)
  c.op('i32.lt_u')
  c.if()
  load(w, State.log.offset)
  c.get(count)
  c.i32(2)
  c.op('i32.shl', 'i32.add')
  c.get(entry)
  c.memory('i32.store')
  c.get(w.base)
  c.get(count)
  c.i32(1)
  c.op('i32.add')
  c.memory('i32.store', State.logCount.offset)
  c.end()
  c.end()
}
