/**
 * Instructions that a function of the runtime carries out in the midst of a region: string instructions. What it uses is
 * put into the state before the call, what it changes is taken back behind it; budget, page and record are just what the
 * interpreter would show it there, so that a repetition stops where it would stop without regions.
 */
import type { Code } from '../../../../wasm/index.ts'
import { IP, RECORD } from '../../layout/record.ts'
import { STATUS, State } from '../../layout/state.ts'
import type { InterpreterExports, StringExports } from '../../interpreter/module.ts'
import { STRINGS } from '../../runtime/strings.ts'
import type { RegionBinder } from './region-binder.ts'
import { recordUse } from './block-uses.ts'
import type { MicroProfile } from '../form/micro-profiles.ts'
import type { RegionInstruction } from '../form/region.ts'

const SIGNATURE = { parameters: ['i32', 'i32'], results: ['i32'] } as const

const NAMES = /* @__PURE__ */ STRINGS.map((name) => `string.${name}` as const)

/** The functions that regions call, by the names of the interpreter's exports. */
export const RUNTIME_IMPORTS: Readonly<Record<string, typeof SIGNATURE>> =
  /* @__PURE__ */ Object.fromEntries(NAMES.map((name) => [name, SIGNATURE]))

/** Those of them that the interpreter exports. */
export const runtimeExports = (interpreter: InterpreterExports): StringExports =>
  Object.fromEntries(NAMES.map((name) => [name, interpreter[name]])) as StringExports

/** One call. */
export interface RuntimeCall {
  readonly func: number
  /** The record's micro-operation. */
  readonly profile: MicroProfile
  /** Local with the budget, and how much more it holds than the interpreter's would at this record. */
  readonly budget: number
  readonly due: number
  /** Pushes the page of the region's entry; undefined when the record lies in the same. */
  readonly entryPage: (() => void) | undefined
  /** Leaves the region behind the instruction, which is done; or before it, which is not, or not to its end. */
  leaveBehind(): void
  leaveBefore(): void
}

/** Instructions of the decoded block behind an instruction. */
export function instructionsBehind(view: DataView, { end }: RegionInstruction): number {
  let count = 0
  let last = -1
  for (let record = end; view.getUint16(record + RECORD.number, true) !== 0; record += RECORD.bytes) {
    const ip = view.getUint16(record + RECORD.ip, true) & IP.OFFSET
    if (ip !== last) count += 1
    last = ip
  }
  return count
}

/** Writes the call for the record at hand. */
export function writeCall(b: RegionBinder, call: RuntimeCall): void {
  const c = b.code
  const { facts } = call.profile
  const status = c.local('i32')
  const use = recordUse(b.reader, call.profile)
  const usesFlags = (facts.flagsRead | facts.flagsWritten) !== 0
  b.registers.spill({ used: 0, written: use.used })
  if (usesFlags) b.flags.store(b)
  if (call.entryPage !== undefined) storePage(c, b.base, () => b.pushPage())
  c.get(b.base)
  c.get(call.budget)
  c.i32(call.due)
  c.op('i32.sub')
  c.memory('i32.store', State.budget.offset)
  c.get(b.base)
  c.i32(b.reader.at)
  c.call(call.func)
  c.set(status)
  c.get(b.base)
  c.memory('i32.load', State.budget.offset)
  c.i32(call.due)
  c.op('i32.add')
  c.set(call.budget)
  if (call.entryPage !== undefined) storePage(c, b.base, call.entryPage)
  b.registers.load({ used: use.written, written: 0 })
  if (usesFlags) b.flags.load(b.base)
  c.get(status)
  c.unlikely()
  c.if()
  c.get(status)
  c.i32(STATUS.RELOAD)
  c.op('i32.eq')
  c.if()
  call.leaveBehind()
  c.end()
  call.leaveBefore()
  c.end()
  c.release('i32', status)
}

function storePage(c: Code, base: number, push: () => void): void {
  c.get(base)
  push()
  c.memory('i64.store', State.page.offset)
}
