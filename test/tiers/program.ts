/**
 * Random programs of many blocks, from a seed: loops, calls and returns that do not match, jumps into the middle of loops,
 * jumps through tables, code that rewrites itself, faults that a handler of the program goes on behind, accesses and code
 * across pages, flags that are read far from where they were set, string operations; 64-bit and 32-bit code. A program is one of
 * the oracle's cases, so that the processor underneath can run it too. It ends by a system call or after its last step.
 */
import { SeededRandom, below, type Random } from '../../src/util/index.ts'
import { dataAddress, randomCase } from '../oracle/initial-state.ts'
import { FLAT_MODE, LONG_MODE } from '../oracle/segments.ts'
import { bytesOf, oneIn } from '../oracle/short-address.ts'
import { MAX_PATCHES, PATCH_BYTES, REGIONS, type OracleCase, type Patch } from '../oracle/wire.ts'
import { Fillers, type Judge } from './fillers.ts'
import { ProgramWriter, type Label } from './writer.ts'

const [RAX, RCX, RDX, RBX, RSP, RSI, RDI] = [0, 1, 2, 3, 4, 6, 7] as const
const [FIXED, WRITABLE, DATA, CONSTANTS] = REGIONS
/** In the first bytes of the data, which no random operand begins in. */
const CELL = { fuel: DATA.address + 0x10, resume: DATA.address + 0x18, faults: DATA.address + 0x20 } as const
/** Jumps back that a program may make before it ends. */
const FUEL = 400
/** Bytes of code and blocks at most. */
const MOST_BYTES = 1700
const MOST_BLOCKS = 24
const STEPS = 3000
/** Entries of the table of jumps, a power of two. */
const TABLE = 4
const STACK = DATA.address + 0x2800
/** An address that is not mapped. */
const NOWHERE = 0x0bad_0000

/** How a program is made. */
export interface ProgramOptions {
  readonly code: 64 | 32
  readonly judge: Judge
}

/** Writes one program. */
class Generator {
  private readonly random: Random
  private readonly w: ProgramWriter
  private readonly fillers: Fillers
  private readonly judge: Judge
  private readonly blocks: Label[]
  private readonly functions: Label[]
  private readonly placed = new Set<Label>()
  private readonly end: Label
  private readonly handler: Label
  /** Bytes of code that may be written over with anything. */
  private readonly soft: Label[] = []
  private readonly table = CONSTANTS.address + 0x40

  constructor(random: Random, { code, judge }: ProgramOptions) {
    this.random = random
    this.judge = judge
    const origin = (): number => (oneIn(random, 2) ? 0x1000 - 0x10 - below(random, 0x400) : 0x80 + below(random, 0x700))
    this.w = new ProgramWriter(code === 64 ? LONG_MODE : FLAT_MODE, { fixed: FIXED.address + origin(), writable: WRITABLE.address + origin() })
    this.fillers = new Fillers(random, this.w, judge)
    this.blocks = Array.from({ length: 5 + below(random, MOST_BLOCKS - 5) }, () => this.w.label())
    this.functions = Array.from({ length: 1 + below(random, 4) }, () => this.w.label())
    this.end = this.w.label()
    this.handler = this.w.label()
  }

  /** The program as a case. */
  make(): OracleCase {
    const { w, random } = this
    const begin = w.here
    w.set(RSP, STACK)
    for (const [index, label] of this.blocks.entries()) this.block(index, label)
    this.finishWith(this.end)
    for (const label of this.functions) this.function(label)
    for (const label of this.blocks) if (!this.placed.has(label)) w.place(label)
    w.place(this.end).raw(...w.isLong ? [0x0f, 0x05] : [0xb8, 0, 0, 0, 0, 0xcd, 0x80])
    w.goTo('fixed')
    w.place(this.handler).raw(0xff).at(CELL.faults, 0).raw(0xff).at(CELL.resume, 4)
    const one = randomCase(random, begin, new Uint8Array(0), w.mode)
    const patches = [...this.memory(), ...w.finish(PATCH_BYTES), ...this.fillers.patches].slice(0, MAX_PATCHES)
    return { ...one, rip: begin, patches, steps: 1 + below(random, 8) === 1 ? below(random, STEPS) : STEPS, handler: this.handler.address! }
  }

  private finishWith(label: Label): void {
    this.w.raw(0xe9).relative(label)
  }

  /** Cells and the table of jumps. */
  private memory(): Patch[] {
    const targets = Array.from({ length: TABLE }, () => this.anyBlock().address!)
    const width = this.w.isLong ? 8 : 4
    return [
      { address: CELL.fuel, bytes: Uint8Array.from([...bytesOf(FUEL, 4), ...bytesOf(0, 4), ...bytesOf(this.end.address!, 4), 0, 0, 0, 0, 0, 0, 0, 0]) },
      { address: this.table, bytes: Uint8Array.from(targets.flatMap((target) => [...bytesOf(target, 4), 0, 0, 0, 0].slice(0, width))) },
    ]
  }

  private anyBlock(): Label {
    return this.blocks[below(this.random, this.blocks.length)]!
  }

  /** True while there is room for more. */
  private get hasRoom(): boolean {
    return this.w.length < MOST_BYTES
  }

  private block(index: number, label: Label): void {
    const { w, random } = this
    if (!this.hasRoom) return
    if (oneIn(random, 4)) {
      // Goes on in the other place.
      w.raw(0xe9).relative(label)
      w.goTo(w.isWritable ? 'fixed' : 'writable')
    }
    w.place(label)
    this.placed.add(label)
    const next = this.blocks[index + 1] ?? this.end
    if (!oneIn(random, 8)) this.setResume(next)
    for (let pieces = 1 + below(random, 5); pieces > 0 && this.hasRoom; pieces -= 1) this.piece()
    this.leave(next)
  }

  /** A function: called from anywhere, calls those behind it. */
  private function(label: Label): void {
    const { w, random } = this
    w.place(label)
    if (oneIn(random, 3)) w.raw(0x55)
    if (this.hasRoom) this.piece()
    const inner = this.functions[this.functions.indexOf(label) + 1]
    if (inner !== undefined && oneIn(random, 2)) w.raw(0xe8).relative(inner)
    if (oneIn(random, 4)) this.recurse(label)
    if (this.hasRoom && oneIn(random, 2)) this.fillers.one()
    if (oneIn(random, 6)) w.raw(0xc2, 8, 0)
    else w.raw(0xc3)
  }

  private recurse(label: Label): void {
    const { w } = this
    w.raw(0xff).at(CELL.fuel, 1)
    w.raw(0x78, 5, 0xe8).relative(label)
  }

  /** mov $label, the cell that says where a fault goes on */
  private setResume(label: Label): void {
    this.w.raw(0xc7).at(CELL.resume).absolute(label)
  }

  private piece(): void {
    const { random } = this
    if (!oneIn(random, 3)) {
      for (let count = 1 + below(random, 4); count > 0; count -= 1) this.fillers.one()
      return
    }
    const pieces = [
      () => this.walk(), () => this.walk(), () => this.strings(), () => this.farFlags(), () => this.farFlags(), () => this.rewrite(),
      () => this.rewriteNext(), () => this.call(), () => this.call(), () => this.wrongReturn(), () => this.fault(), () => this.swapStack(),
      () => this.scan(), () => this.jumpOver(),
    ]
    pieces[below(random, pieces.length)]!()
  }

  /** A loop over memory, by steps that come to cross lines and pages. */
  private walk(): void {
    const { w, random } = this
    const loop = w.label()
    w.set(RSI, dataAddress(random)).set(RCX, 1 + below(random, 40)).place(loop)
    for (let count = 1 + below(random, 4); count > 0; count -= 1) {
      const [reg, displacement] = [[RAX, RDX, RBX][below(random, 3)]!, below(random, 16)]
      const opcode = [0x8b, 0x03, 0x33, 0x01, 0x89, 0x39, 0x13][below(random, 7)]!
      w.raw(...w.isLong && oneIn(random, 2) ? [0x48] : [], opcode, 0x40 | reg << 3 | RSI, displacement)
    }
    w.raw(0x83, 0xc6, 1 + below(random, 90))
    if (oneIn(random, 3)) w.raw(...w.isLong ? [0xff, 0xc9] : [0x49])
    else w.raw(0x83, 0xe9, 1)
    w.raw(0x75).relative(loop, 1)
  }

  private strings(): void {
    const { w, random } = this
    const kinds = this.judge === 'native' ? [0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf] : [0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf]
    w.set(RSI, dataAddress(random)).set(RDI, dataAddress(random)).set(RCX, below(random, oneIn(random, 6) ? 700 : 20))
    const isDown = oneIn(random, 4)
    if (isDown) w.raw(0xfd)
    if (!oneIn(random, 5)) w.raw(oneIn(random, 3) ? 0xf2 : 0xf3)
    w.raw(...w.isLong && oneIn(random, 3) ? [0x48] : [], kinds[below(random, kinds.length)]!)
    if (isDown) w.raw(0xfc)
  }

  /** Flags that are set here and read some instructions later, of which none changes them. */
  private farFlags(): void {
    const { w, random } = this
    const size = (): number[] => (w.isLong && oneIn(random, 2) ? [0x48] : oneIn(random, 5) ? [0x66] : [])
    const registers = (): number => 0xc0 | [RAX, RCX, RDX, RBX][below(random, 4)]! << 3 | [RAX, RCX, RDX, RBX][below(random, 4)]!
    const setters = [0x01, 0x29, 0x39, 0x11, 0x19, 0x00, 0x28, 0x38, 0x21, 0x31, 0x85]
    w.raw(...size(), setters[below(random, setters.length)]!, registers())
    if (oneIn(random, 4)) w.raw(0xff, 0xc0 | below(random, 2) << 3 | RBX)
    if (oneIn(random, 3)) {
      // Two ways, of which one sets them anew, meet before they are read.
      const over = w.label()
      w.raw(0x70 | below(random, 16)).relative(over, 1)
      w.raw(...size(), setters[below(random, setters.length)]!, registers())
      w.place(over)
    }
    const still = [[0x89, registers()], [0x8d, 0x40 | RDX << 3 | RAX, 7], [0xf7, 0xd0 | RDX], [0x0f, 0xb6, registers()], [0x0f, 0xc8 | RBX], [0x87, registers()]]
    for (let count = below(random, 5); count > 0; count -= 1) w.raw(...still[below(random, still.length)]!)
    if (oneIn(random, 4)) w.raw(0xe8).relative(this.functions.at(-1)!)
    const condition = below(random, 16)
    const readers: readonly (() => void)[] = [
      () => w.raw(0x0f, 0x90 | condition, 0xc0 | RDX), () => w.raw(0x0f, 0x40 | condition, registers()), () => w.raw(...size(), 0x11, registers()),
      () => w.raw(...size(), 0x19, registers()), () => w.raw(0xd1, 0xd0 | RBX), () => w.raw(0xf5),
      () => { w.raw(0x70 | condition, 2, 0x31, registers()) },
    ]
    readers[below(random, readers.length)]!()
    if (this.judge === 'ours' && oneIn(random, 3)) w.raw(0x9c, 0x58)
  }

  /** Changes a byte of code somewhere else. */
  private rewrite(): void {
    const { w, random } = this
    const target = this.soft[below(random, this.soft.length)]
    if (target === undefined || oneIn(random, 3)) return this.softCode()
    if (oneIn(random, 2)) w.raw(0x80).atLabel(target, 6).raw(1 + below(random, 255))
    else w.raw(0xfe).atLabel(target, 0)
  }

  /** An instruction with an operand that others may change, where it can be written. */
  private softCode(): void {
    const { w, random } = this
    w.raw(0x81, 0xc0 | below(random, 8) << 3 | [RAX, RDX, RBX][below(random, 3)]!)
    const label = w.label()
    w.place(label).raw(...bytesOf(random.next(), 4))
    if (w.isWritable) this.soft.push(label)
  }

  /** Changes the instruction right behind. */
  private rewriteNext(): void {
    const { w } = this
    const label = w.label()
    w.raw(0xfe).atLabel(label, 0)
    w.raw(0x83, 0xc0 | RBX).place(label).raw(5)
  }

  private call(): void {
    const { w, random } = this
    const target = this.functions[below(random, this.functions.length)]!
    // From two places, so that one return leads to both.
    if (oneIn(random, 2)) w.raw(0xe8).relative(target)
    if (oneIn(random, 3)) w.setLabel(RAX, target).raw(0xff, 0xd0)
    else w.raw(0xe8).relative(target)
  }

  /** A return to where no call was, or from where nothing returns. */
  private wrongReturn(): void {
    const { w, random } = this
    const behind = w.label()
    const kind = below(random, 3)
    if (kind === 0) w.setLabel(RAX, behind).raw(0x50, 0xc3)
    else if (kind === 1) {
      // A call for the sake of its address.
      w.raw(0xe8).relative(behind)
      w.place(behind).raw(0x58)
      return
    } else {
      w.raw(0x68).absolute(this.anyBlock()).raw(0xff).at(CELL.fuel, 1)
      w.raw(0x78, 1, 0xc3, 0x59)
    }
    w.place(behind)
  }

  private fault(): void {
    const { w, random } = this
    const kinds: readonly (() => void)[] = [
      () => w.raw(0x0f, 0x0b), () => w.raw(...this.judge === 'ours' ? [0xcc] : [0x0f, 0x0b]), () => w.raw(0x31, 0xc9, 0xf7, 0xf1),
      () => { w.raw(0x8b).at(NOWHERE, RDX) }, () => { w.raw(0x89).at(CONSTANTS.address + 8, RDX) }, () => { w.raw(0xff).at(FIXED.address, 0) },
      () => w.set(RSI, DATA.address + 0x81).raw(0x0f, 0x28, 0x46, 0), () => w.set(RAX, NOWHERE).raw(0xff, 0xe0), () => w.raw(0xf4),
      () => w.set(RSI, CONSTANTS.address - 2).raw(0x01, 0x06), () => w.set(RSI, CONSTANTS.address + 0xffe).raw(0x03, 0x16),
      () => w.set(RAX, DATA.address + 0x300).raw(0xff, 0xe0),
    ]
    kinds[below(random, kinds.length)]!()
  }

  /** Another stack, one whose end is near a page's, and back. */
  private swapStack(): void {
    const { w, random } = this
    w.set(RSP, DATA.address + 0x1000 + below(random, 5) * 4)
    w.raw(0x50, 0x53, 0x5a, 0xff, 0x34, 0x24, 0x58, 0x58)
    w.set(RSP, STACK)
  }

  /** BSF, BSR, BT and the like, of what is not zero. */
  private scan(): void {
    const { w, random } = this
    w.raw(0x83, 0xc8 | RBX, 1)
    w.raw(...w.isLong && oneIn(random, 2) ? [0x48] : [], 0x0f, 0xbc | below(random, 2), 0xc0 | RAX << 3 | RBX)
    if (this.judge === 'native') w.raw(0x39, 0xd8)
    w.raw(0x0f, [0xa3, 0xab, 0xb3, 0xbb][below(random, 4)]!).at(dataAddress(random) & ~0xfff | 0x800, RCX)
    if (this.judge === 'native') w.raw(0x39, 0xd8)
  }

  private jumpOver(): void {
    const { w, random } = this
    const behind = w.label()
    w.raw(0x0f, 0x80 | below(random, 16)).relative(behind)
    this.fillers.one()
    w.place(behind)
  }

  /** Pays for a jump back and goes to the end when there is nothing left; flags stay as they are in one case of two. */
  private pay(): void {
    const { w, random } = this
    if (oneIn(random, 12)) return
    if (oneIn(random, 2)) {
      w.raw(0xff).at(CELL.fuel, 1)
      w.raw(0x0f, 0x88).relative(this.end)
      return
    }
    const [over, out] = [w.label(), w.label()]
    w.raw(0x8b).at(CELL.fuel, RCX)
    w.raw(0x8d, 0x49, 0xff, 0x89).at(CELL.fuel, RCX)
    w.raw(0xe3).relative(out, 1)
    w.raw(0xeb).relative(over, 1)
    w.place(out).raw(0xe9).relative(this.end)
    w.place(over)
  }

  /** The end of a block. */
  private leave(next: Label): void {
    const { w, random } = this
    const target = this.anyBlock()
    const kind = below(random, 12)
    if (kind < 5) {
      this.pay()
      w.raw(0x0f, 0x80 | below(random, 16)).relative(target)
    } else if (kind < 6) {
      this.pay()
      w.raw(0xe9).relative(target)
    } else if (kind < 8) {
      this.pay()
      w.raw(0x83, 0xe0 | RAX, TABLE - 1, 0xff, 0x24, w.isLong ? 0xc5 : 0x85, ...bytesOf(this.table, 4))
    } else if (kind < 9) {
      this.pay()
      w.setLabel(RAX, target).setLabel(RDX, next).raw(0x0f, 0x40 | below(random, 16), 0xc2, 0xff, 0xe0)
    }
  }
}

/** The program of a seed. */
export const makeProgram = (seed: number, options: ProgramOptions): OracleCase => new Generator(new SeededRandom(seed), options).make()
