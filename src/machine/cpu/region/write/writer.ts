/**
 * Writes a region as one WebAssembly function, (base, record) -> STATUS: NEXT when it declines or has come back to its
 * entry, where the interpreter goes on with the block's records; JUMP when it has set rip. Everything is in locals until
 * one common epilogue puts it back. Nothing is raised here: an instruction that would fault is left to the interpreter.
 *
 * The budget is paid exactly: instructions are counted while the code is written and taken off where ways join, and at
 * exits; it is compared only at the entry and at loops, with the longest way to the next such place.
 */
import { PAGE_SIZE } from '../../../../x86/index.ts'
import type { Code, Label, ModuleWriter } from '../../../../wasm/index.ts'
import { STATUS, State } from '../../layout/state.ts'
import { RECORD } from '../../layout/record.ts'
import { FIRST_LEAD, exitCause } from '../form/exit-causes.ts'
import type { ExitCause } from '../form/exit-causes.ts'
import { EXIT_WORD, exitWord } from '../form/exit-word.ts'
import { FLAG_HELPERS } from './flag-helpers.ts'
import { RegionBinder, pushLinear } from './region-binder.ts'
import type { RegionControl } from './region-binder.ts'
import type { RegisterUse } from './region-registers.ts'
import { RUNTIME_IMPORTS, instructionsBehind, writeCall } from './region-calls.ts'
import { blockUse } from './block-uses.ts'
import type { BlockUse } from './block-uses.ts'
import type { MicroProfiles } from '../form/micro-profiles.ts'
import { RecordReader } from '../form/record-reader.ts'
import type { Region, RegionBlock, RegionInstruction } from '../form/region.ts'
import { steadyPages } from './steady.ts'
import type { SteadyPages } from './steady.ts'
import { OUTSIDE, structure } from '../form/structure.ts'
import type { RegionNode, RegionShape } from '../form/structure.ts'

/** What a region's function is written with. */
export interface RegionFunctions {
  /** Imported functions by name: those of {@link RegionWriter.imports}. */
  readonly imported: ReadonlyMap<string, number>
  /** Pushes an i32, not 0 when the region holds for the processor in local 0; the front record is local 1. */
  pushValid(code: Code): void
}

/** Writes the functions of a machine's regions. */
export class RegionWriter {
  /** Functions that regions call. */
  readonly imports = { ...FLAG_HELPERS, ...RUNTIME_IMPORTS }
  private readonly view: DataView
  private readonly profiles: MicroProfiles

  constructor(view: DataView, profiles: MicroProfiles) {
    this.view = view
    this.profiles = profiles
  }

  /** Adds a region's function to a module; its number. */
  write(module: ModuleWriter, region: Region, functions: RegionFunctions): number {
    const { index, code } = module.function(['i32', 'i32'], ['i32'], region.instructions * USUAL_BYTES + 1024)
    const { view, profiles } = this
    const shape = structure(region)
    const reader = new RecordReader(view)
    const uses = new Map<RegionBlock, BlockUse>()
    let [used, written] = [0, 0]
    const nodes = shape.nodes.map((node) => {
      let use = uses.get(node.block)
      if (use === undefined) uses.set(node.block, (use = blockUse(reader, profiles, node.block, region.windows ?? 'wide')))
      used |= use.used
      written |= use.written
      return { node, use }
    })
    const pages = steadyPages(reader, nodes)
    new FunctionWriter(code, { shape, view, profiles, functions, use: { used, written }, uses, pages }).write()
    return index
  }
}

interface FunctionOptions {
  readonly shape: RegionShape
  readonly view: DataView
  readonly profiles: MicroProfiles
  readonly functions: RegionFunctions
  readonly use: RegisterUse
  readonly uses: ReadonlyMap<RegionBlock, BlockUse>
  readonly pages: SteadyPages
}

const [BASE, FRONT_RECORD] = [0, 1]
/** Bytes of WebAssembly that an instruction becomes, mostly. */
const USUAL_BYTES = 64
/** More is taken off the budget at once, as an exit could not tell it. */
const MOST_OWED = EXIT_WORD.owed.mask - 1

class FunctionWriter implements RegionControl {
  private readonly code: Code
  private readonly options: FunctionOptions
  private readonly nodes: readonly RegionNode[]
  private readonly binder: RegionBinder
  private readonly budget: number
  /** Locals with the exit's word, and with rip where that does not tell it. */
  private readonly exitWord: number
  private readonly exitRip: number
  private epilogue: Label = 0
  /** Where joins stand, and where loops begin, by node. */
  private readonly labels = new Map<number, Label>()
  private readonly loops = new Map<number, Label>()
  /** Instructions done that have not been taken off the budget. */
  private owed = 0
  /** The node at hand, and instructions on the longest way from behind the instruction at hand to the next look at the budget. */
  private at = 0
  private rest = 0
  private readonly inside: ReadonlySet<number>
  /** Whether what is known where the next node begins is what is known at this point. */
  private behind: 'this' | 'any' = 'any'

  constructor(code: Code, options: FunctionOptions) {
    this.code = code
    this.options = options
    this.nodes = options.shape.nodes
    this.inside = new Set(this.nodes.map(({ block }) => block.rip))
    const { imported } = options.functions
    const functions = { storeFlags: imported.get('storeFlags')!, carryOf: imported.get('carryOf')! }
    this.budget = code.local('i32')
    this.exitWord = code.local('i64')
    this.exitRip = code.local('i64')
    this.binder = new RegionBinder(code, { view: options.view, functions, control: this, pages: options.pages })
  }

  private get region(): Region {
    return this.options.shape.region
  }

  write(): void {
    const { code: c, binder: b } = this
    this.prologue()
    b.registers.load(this.options.use)
    b.flags.load(BASE)
    c.get(BASE)
    c.memory('i32.load', State.bank.offset)
    b.pages.begin()
    this.epilogue = c.block()
    this.tree(0, 'any')
    c.end()
    b.registers.spill(this.options.use)
    this.pushPart('flags')
    b.flags.spill(BASE)
    this.takeWord()
    this.writeEnd()
  }

  /** Declines unless this is the code at its place, mapped as it was, and the budget reaches the first look at it. */
  private prologue(): void {
    const c = this.code
    const { entry, entryCount } = this.region
    // The frame may be mapped elsewhere, too.
    c.get(BASE)
    c.memory('i64.load', State.page.offset)
    pushLinear(c, Math.floor(entry / PAGE_SIZE) * PAGE_SIZE)
    c.op('i64.ne')
    this.declineIf('mapping')
    this.options.functions.pushValid(c)
    c.op('i32.eqz')
    this.declineIf('mapping')
    c.get(BASE)
    c.memory('i32.load', State.budget.offset)
    c.i32(entryCount)
    c.op('i32.add')
    c.tee(this.budget)
    c.i32(this.nodes[0]!.longest)
    c.op('i32.lt_s')
    this.declineIf('budget')
  }

  /** Declines when the i32 on the stack is not 0. */
  private declineIf(cause: ExitCause): void {
    const c = this.code
    c.if()
    this.noteExit(() => c.i32(exitCause(cause)))
    c.i32(STATUS.NEXT)
    c.op('return')
    c.end()
  }

  private noteExit(pushCause: () => void): void {
    const c = this.code
    c.get(BASE)
    c.get(FRONT_RECORD)
    c.memory('i32.store', State.exitRecord.offset)
    c.get(BASE)
    pushCause()
    c.memory('i32.store', State.exitCause.offset)
  }

  /** Has the compiler hear where the region led, and from where. */
  private noteLead(): void {
    const c = this.code
    this.pushPart('cause')
    c.i32(FIRST_LEAD)
    c.op('i32.ge_u')
    c.if()
    c.get(BASE)
    c.get(BASE)
    c.memory('i32.load', State.leads.offset)
    c.i32(1)
    c.op('i32.add')
    c.memory('i32.store', State.leads.offset)
    c.get(BASE)
    c.get(FRONT_RECORD)
    c.memory('i32.store', State.leadRecord.offset)
    c.get(BASE)
    c.get(this.exitWord)
    c.memory('i64.store', State.leadWord.offset)
    c.get(BASE)
    c.get(this.exitRip)
    c.memory('i64.store', State.leadTo.offset)
    c.end()
  }

  /** Pushes a part of the exit's word. */
  private pushPart(part: 'cause' | 'flags' | 'owed'): void {
    const c = this.code
    const { shift, mask } = EXIT_WORD[part]
    c.get(this.exitWord)
    c.op('i32.wrap_i64')
    c.i32(shift)
    c.op('i32.shr_u')
    c.i32(mask)
    c.op('i32.and')
  }

  /** Takes budget and rip out of the exit's word. */
  private takeWord(): void {
    const c = this.code
    c.get(this.budget)
    this.pushPart('owed')
    c.op('i32.sub')
    c.set(this.budget)
    c.get(this.exitRip)
    c.get(this.exitWord)
    c.i64(EXIT_WORD.rip.shift)
    c.op('i64.shr_s')
    pushLinear(c, this.region.entry)
    c.op('i64.add')
    this.pushPart('cause')
    c.i32(exitCause('indirect'))
    c.op('i32.eq', 'select')
    c.set(this.exitRip)
  }

  /** At its own entry the block's records are next, which have to be paid for; a look-up would lead here again. */
  private writeEnd(): void {
    const c = this.code
    const { entry, entryCount } = this.region
    this.noteExit(() => this.pushPart('cause'))
    this.noteLead()
    c.get(this.exitRip)
    pushLinear(c, entry)
    c.op('i64.eq')
    c.get(this.budget)
    c.i32(entryCount)
    c.op('i32.ge_s', 'i32.and')
    c.if()
    c.get(BASE)
    c.get(this.budget)
    c.i32(entryCount)
    c.op('i32.sub')
    c.memory('i32.store', State.budget.offset)
    c.i32(STATUS.NEXT)
    c.op('return')
    c.end()
    c.get(BASE)
    c.get(this.budget)
    c.memory('i32.store', State.budget.offset)
    c.get(BASE)
    c.get(this.exitRip)
    c.memory('i64.store', State.rip.offset)
    c.i32(STATUS.JUMP)
  }

  /** Writes a node and everything that it dominates. */
  private tree(number: number, behind: 'this' | 'any'): void {
    const { code: c, binder: b } = this
    const node = this.nodes[number]!
    const { windows } = b.pages
    const mark = windows.mark
    this.behind = node.isLoop ? 'any' : behind
    if (!node.isLoop) {
      this.within(number, 0)
      return windows.close(mark)
    }
    // At the entry the budget has been looked at.
    if (number === 0) b.flags.merge()
    else this.intoLoop(node)
    this.loops.set(number, c.loop())
    b.flags.state = 'merged'
    this.within(number, 0)
    windows.close(mark)
    c.op('unreachable')
    c.end()
  }

  /** Writes a node inside the blocks behind which its joins from the given one on stand. */
  private within(number: number, from: number): void {
    const { code: c, binder: b } = this
    const join = this.nodes[number]!.joins[from]
    if (join === undefined) return this.body(number)
    this.labels.set(join, c.block())
    this.within(number, from + 1)
    c.end()
    b.flags.state = 'merged'
    this.owed = 0
    this.tree(join, 'any')
  }

  private body(number: number): void {
    const { block, next, longest } = this.nodes[number]!
    this.binder.pages.windows.enter(this.options.uses.get(block)!.values, this.behind)
    block.instructions.forEach((instruction, index) => {
      this.at = number
      this.rest = longest - index - 1
      this.instruction(instruction)
      this.owed += 1
      if (this.owed === MOST_OWED) this.settleBudget()
    })
    if (block.end === 'next') this.go(next, block.stops === true ? 'instruction' : 'target', block.next)
    else if (block.end === 'conditional') this.go(next, 'target', block.next)
  }

  private instruction(instruction: RegionInstruction): void {
    const { binder: b } = this
    const { profiles } = this.options
    for (let record = instruction.first; record < instruction.end; record += RECORD.bytes) {
      b.reader.go(instruction, record)
      const profile = profiles.of(b.reader.number)
      b.isComparison = profile.isComparison
      profile.emit(b)
    }
  }

  /** Takes off the budget what is owed, and leaves the flags as whoever does not know where control came from takes them. */
  private join(): void {
    this.settleBudget()
    this.binder.flags.merge()
  }

  /**
   * As `join`, before a loop's first block: leaves when the budget does not reach the next look at it. Here, where flags may be
   * known: inside of the loop nobody could keep them for that without taking them along all the time.
   */
  private intoLoop({ block, longest }: RegionNode): void {
    const c = this.code
    this.settleBudget()
    c.get(this.budget)
    c.i32(longest)
    c.op('i32.lt_s')
    this.exitIf('budget', block.rip)
    this.binder.flags.merge()
  }

  private settleBudget(): void {
    const c = this.code
    if (this.owed === 0) return
    c.get(this.budget)
    c.i32(this.owed)
    c.op('i32.sub')
    c.set(this.budget)
    this.owed = 0
  }

  /** Leaves the region with what is done and owed at this point. */
  private exit(cause: ExitCause, rip: number): void {
    this.setWord(cause, rip)
    this.code.br(this.epilogue)
  }

  /** Leaves it when the i32 on the stack is not 0. */
  private exitIf(cause: ExitCause, rip: number): void {
    this.setWord(cause, rip)
    this.code.unlikely()
    this.code.brIf(this.epilogue)
  }

  private setWord(cause: ExitCause, rip: number): void {
    const { number } = this.binder.flags
    pushLinear(this.code, exitWord({ cause, flags: number, owed: this.owed, rip: rip - this.region.entry }))
    this.code.set(this.exitWord)
  }

  /** Control goes on from the node at hand, whose last instruction is done. */
  private go(target: number, cause: ExitCause, rip: number): void {
    if (target === OUTSIDE) return this.exit(this.inside.has(rip) ? 'irreducible' : cause, rip)
    if (target <= this.at) {
      this.intoLoop(this.nodes[target]!)
      return this.code.br(this.loops.get(target)!)
    }
    const label = this.labels.get(target)
    if (label === undefined) return this.tree(target, 'this')
    this.join()
    this.code.br(label)
  }

  leaveBefore(cause: ExitCause): void {
    this.exit(cause, this.binder.reader.rip)
  }

  leaveBeforeIf(cause: ExitCause): void {
    this.exitIf(cause, this.binder.reader.rip)
  }

  callRuntime(name: string): void {
    const { code: c, binder: b } = this
    const { instruction } = b.reader
    const profile = this.options.profiles.of(b.reader.number)
    const { entry, pages } = this.region
    const behind = (): void => this.aside(() => this.exit('budget', b.reader.next))
    writeCall(b, {
      func: this.options.functions.imported.get(`string.${name}`)!, profile, budget: this.budget,
      due: this.owed + 1 + instructionsBehind(this.options.view, instruction),
      entryPage: pages.length === 1 ? undefined : () => pushLinear(c, Math.floor(entry / PAGE_SIZE) * PAGE_SIZE),
      leaveBehind: behind, leaveBefore: () => this.leaveBefore('instruction'),
    })
    // Repetitions have taken from what the way was to be paid from.
    c.get(this.budget)
    c.i32(this.owed + 1 + this.rest)
    c.op('i32.lt_s')
    c.if()
    behind()
    c.end()
  }

  branch(): void {
    const { block, taken } = this.nodes[this.at]!
    this.aside(() => this.go(taken, 'target', block.target!))
  }

  jump(target: number): void {
    const c = this.code
    for (const site of this.nodes[this.at]!.sites) {
      const { rip } = this.nodes[site]!.block
      c.get(target)
      pushLinear(c, rip)
      c.op('i64.eq')
      c.if()
      this.aside(() => this.go(site, 'target', rip))
      c.end()
    }
    c.get(target)
    c.set(this.exitRip)
    this.aside(() => {
      // Regions are left here most of all: the words are worked out without a call where that can be.
      if (this.binder.flags.known() !== undefined) this.binder.flags.settle(this.binder)
      this.exit('indirect', this.binder.reader.rip)
    })
  }

  /** Writes a way from behind the instruction at hand; then goes on from before. */
  private aside(body: () => void): void {
    const { at, owed } = this
    const { flags, reader, pages: { windows } } = this.binder
    const { state } = flags
    const known = windows.state
    const { instruction, at: record } = reader
    this.owed += 1
    body()
    this.at = at
    this.owed = owed
    flags.state = state
    windows.state = known
    reader.go(instruction, record)
  }
}
