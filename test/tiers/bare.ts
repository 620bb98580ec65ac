/**
 * The oracle's programs on a bare processor: in ring 3 under a kernel of a few instructions, whose handlers sum up what comes,
 * let faults go on at the program's handler, count down single steps, and end at the system call. So interrupts, traps and
 * faults are delivered by the processor itself.
 *
 *   0x1000 page tables   0x8000 GDT   0x8800 LDT   0x9000 IDT   0xa000 TSS   0xc000 end of the stack   0xd000 entries, 16 bytes each
 *   0xe000 kernel   0xf000 cells   0x20000 the test's regions, one behind the other
 */
import { EXIT, Machine, type BareProcessor, type CompilerFigures } from '../../src/machine/index.ts'
import { SeededRandom } from '../../src/util/index.ts'
import { EFER, MSR, SEGMENT } from '../../src/x86/index.ts'
import { segmentState, type ExecutorOptions } from '../oracle/hosted.ts'
import { LOCAL_DESCRIPTORS, descriptorOf } from '../oracle/segments.ts'
import { bytesOf } from '../oracle/short-address.ts'
import { FX_BYTES, type OracleCase, patternOf, REGIONS } from '../oracle/wire.ts'
import { assembleListing } from '../support/assembler.ts'
import { registersOf, type Runner, type Snapshot } from '../support/lockstep.ts'

const PAGE = 4096
const AT = { TABLES: 0x1000, GDT: 0x8000, LDT: 0x8800, IDT: 0x9000, TSS: 0xa000, STACK: 0xc000, ENTRIES: 0xd000, KERNEL: 0xe000, CELLS: 0xf000, REGIONS: 0x2_0000 } as const
/** Sum of what came, number of it, where faults go on, single steps still wanted. */
const CELL = { sum: AT.CELLS, count: AT.CELLS + 8, handler: AT.CELLS + 16, traps: AT.CELLS + 24 } as const
/** Selectors as Linux has them, and two of our own. */
const SELECTOR = { CODE: 0x10, DATA: 0x18, TSS: 0x40, LDT: 0x50 } as const
const ENTRIES = 256
const WITH_ERROR = new Set([8, 10, 11, 12, 13, 14, 17])
const TRAP_FLAG = 0x100
const [PRESENT, WRITABLE, USER, NO_EXECUTE] = [1, 2, 4, 0x8000_0000] as const

/** Behind the entries: vector, error code, rip, cs, flags, rsp, ss on the stack. */
const KERNEL = `
  push %rax
  mov 24(%rsp),%rax
  add 8(%rsp),%rax
  xor ${CELL.sum},%rax
  rol $7,%rax
  mov %rax,${CELL.sum}
  incq ${CELL.count}
  mov 8(%rsp),%eax
  cmp $1,%eax
  je debug
  cmp $0x80,%eax
  je end
  cmp $2,%eax
  je back
  cmp $32,%eax
  jae back
  mov ${CELL.handler},%rax
  mov %rax,24(%rsp)
back:
  pop %rax
  add $16,%rsp
  iretq
debug:
  decq ${CELL.traps}
  jns back
  andl $0xfffffeff,40(%rsp)
  jmp back
end:
  cli
  hlt
  jmp end
`

interface Page {
  readonly linear: number
  /** Where it is mapped, and at the beginning. */
  physical: number
  readonly home: number
  readonly pristine: Uint8Array
  /** Its entry in a page table. */
  readonly entry: number
}

/** What a run is to meet. */
export interface BareOptions {
  /** Single steps that the program begins with. */
  readonly traps?: number
  /** Breakpoints: what DR0 and DR7 hold. */
  readonly breakpoint?: readonly [address: number, control: number]
}

/** Runs programs on a bare processor. */
export class BareExecutor {
  readonly processor: BareProcessor
  private readonly machine: Machine
  private readonly base: number
  private readonly pages: Page[] = []
  private random = new SeededRandom(1)

  /** `accounting`: what the processor counts and is given a budget of. */
  constructor(dataSeed: number, { library = { Machine }, ...options }: ExecutorOptions = {}, accounting: 'instructions' | 'work' = 'instructions') {
    this.machine = new library.Machine({ memoryBytes: 1 << 20, ...options })
    this.base = this.machine.memory.firstFrame * PAGE
    this.processor = this.machine.createProcessor({ mode: 'bare', accounting, random: { next: () => this.random.next() } })
    this.makeTables(dataSeed)
    this.makeDescriptors()
    this.makeKernel()
  }

  private write(address: number, bytes: ArrayLike<number>): void {
    const at = this.base + address
    this.machine.memory.bytes.set(Array.from(bytes), at)
    for (let mfn = at >>> 12; mfn <= (at + bytes.length - 1) >>> 12; mfn += 1) this.machine.memory.markWritten(mfn)
  }

  private write32(address: number, ...values: readonly number[]): void {
    this.write(address, values.flatMap((value) => bytesOf(value, 4)))
  }

  /** A table for each 2 MiB with something in it: the kernel's, and one for each region's. */
  private makeTables(dataSeed: number): void {
    const flags = PRESENT | WRITABLE | USER | 0x20
    this.write32(AT.TABLES, (AT.TABLES + PAGE) | flags)
    this.write32(AT.TABLES + PAGE, (AT.TABLES + 2 * PAGE) | flags)
    const tables = new Map<number, number>()
    const enter = (linear: number, physical: number, bits: readonly [low: number, high: number]): number => {
      const slot = linear >>> 21
      const table = tables.get(slot) ?? AT.TABLES + (3 + tables.size) * PAGE
      tables.set(slot, table)
      this.write32(AT.TABLES + 2 * PAGE + slot * 8, table | flags)
      const entry = table + ((linear >>> 12) & 511) * 8
      this.write32(entry, physical | bits[0], bits[1])
      return entry
    }
    for (let page = AT.TABLES; page < AT.REGIONS; page += PAGE) enter(page, page, [PRESENT | WRITABLE | 0x60, 0])
    for (const region of REGIONS) {
      const pattern = patternOf(region.address, region.pages, region.executable, dataSeed)
      for (let page = 0; page < region.pages; page += 1) {
        const [linear, physical] = [region.address + page * PAGE, AT.REGIONS + this.pages.length * PAGE]
        const entry = enter(linear, physical, [PRESENT | USER | 0x60 | (region.writable ? WRITABLE : 0), region.executable ? 0 : NO_EXECUTE])
        const pristine = pattern.slice(page * PAGE, (page + 1) * PAGE)
        this.pages.push({ linear, physical, home: physical, pristine, entry })
        this.write(physical, pristine)
      }
    }
    this.processor.registers.setControl(3, AT.TABLES, 0)
  }

  private makeDescriptors(): void {
    const { system } = this.processor
    for (let index = 1; index <= 6; index += 1) this.write32(AT.GDT + index * 8, ...descriptorOf(index * 8)!)
    const own = (selector: number, address: number, kind: number): void => this.write32(AT.GDT + selector, address << 16 | 0x7f, address >>> 16 | kind)
    own(SELECTOR.TSS, AT.TSS, 0x8b00)
    own(SELECTOR.LDT, AT.LDT, 0x8200)
    LOCAL_DESCRIPTORS.forEach((words, index) => this.write32(AT.LDT + index * 8, ...words))
    this.write32(AT.TSS + 4, AT.STACK)
    system.gdt = { baseLow: AT.GDT, baseHigh: 0, limit: 0x5f }
    system.idt = { baseLow: AT.IDT, baseHigh: 0, limit: ENTRIES * 16 - 1 }
    system.tr = { selector: SELECTOR.TSS, baseLow: AT.TSS, baseHigh: 0, limit: 0x67, attributes: 0x8b }
    system.ldtr = { selector: SELECTOR.LDT, baseLow: AT.LDT, baseHigh: 0, limit: 0x7f, attributes: 0x82 }
    system.setMsr(MSR.STAR, 0, SELECTOR.CODE)
    system.setMsr(MSR.EFER, EFER.SCE | EFER.LME | EFER.LMA | EFER.NXE, 0)
    system.setMsr(MSR.SFMASK, 0x4_0700, 0)
  }

  private makeKernel(): void {
    const { bytes, labels } = assembleListing(KERNEL, { origin: AT.KERNEL })
    this.write(AT.KERNEL, bytes)
    this.processor.system.setMsr(MSR.LSTAR, labels.get('end')!, 0)
    for (let vector = 0; vector < ENTRIES; vector += 1) {
      const entry = AT.ENTRIES + vector * 16
      const push = [...WITH_ERROR.has(vector) ? [] : [0x6a, 0], 0x68, ...bytesOf(vector, 4), 0xe9]
      this.write(entry, [...push, ...bytesOf(AT.KERNEL - entry - push.length - 4, 4)])
      this.write32(AT.IDT + vector * 16, entry & 0xffff | SELECTOR.CODE << 16, entry & 0xffff_0000 | 0xee00, 0, 0)
    }
  }

  /** Brings a case's bytes into memory, and what they do not cover as it was; pages that hold it already are left alone. */
  load(one: OracleCase): void {
    for (const page of this.pages) if (page.physical !== page.home) this.mapAt(page, page.home)
    for (const { linear, physical, pristine } of this.pages) {
      const wanted = pristine.slice()
      for (const { address, bytes } of one.patches) {
        const offset = address - linear
        if (offset >= PAGE || offset + bytes.length <= 0) continue
        wanted.set(bytes.subarray(Math.max(0, -offset), PAGE - offset), Math.max(0, offset))
      }
      const now = this.machine.memory.bytes.subarray(this.base + physical, this.base + physical + PAGE)
      if (Buffer.compare(now, wanted) !== 0) this.write(physical, wanted)
    }
  }

  /** Maps a page elsewhere. */
  private mapAt(page: Page, physical: number): void {
    const low = this.machine.memory.view.getUint32(this.base + page.entry, true)
    this.write(page.entry, bytesOf((low & (PAGE - 1)) | physical, 4))
    page.physical = physical
    this.processor.flushTlb()
  }

  /**
   * Lets two pages change places, frames and what is in them: a program sees nothing of it, and its code stands in frames where
   * other code has been executed.
   */
  exchange(one: number, other: number): void {
    const [first, second] = [this.pages[one % this.pages.length]!, this.pages[other % this.pages.length]!]
    const at = (page: Page): number[] => Array.from(this.machine.memory.bytes.subarray(this.base + page.physical, this.base + page.physical + PAGE))
    const [firstBytes, secondBytes, firstPlace, secondPlace] = [at(first), at(second), first.physical, second.physical]
    this.write(secondPlace, firstBytes)
    this.write(firstPlace, secondBytes)
    this.mapAt(first, secondPlace)
    this.mapAt(second, firstPlace)
  }

  /** Enters a case that is loaded. */
  begin(one: OracleCase, { traps = 0, breakpoint }: BareOptions = {}): BareRun {
    const { registers, system } = this.processor
    this.load(one)
    this.random = new SeededRandom(one.rip)
    // What runs before have left on the stack is nobody's.
    this.write(AT.STACK - PAGE, new Uint8Array(PAGE))
    this.write32(AT.CELLS, 0, 0, 0, 0, one.handler ?? 0, 0, traps, 0)
    for (let i = 0; i < 16; i += 1) registers.set(i, one.general[i * 2]!, one.general[i * 2 + 1]!)
    for (const index of [SEGMENT.cs, SEGMENT.ss, SEGMENT.es, SEGMENT.ds, SEGMENT.fs, SEGMENT.gs]) {
      registers.setSegment(index, segmentState(one.selectors[index]!, index === SEGMENT.fs ? one.fsBase : index === SEGMENT.gs ? one.gsBase : 0))
    }
    registers.setFlags(one.flags | (traps > 0 ? TRAP_FLAG : 0))
    registers.setDebug(0, breakpoint?.[0] ?? 0, 0)
    registers.setDebug(6, 0, 0)
    registers.setDebug(7, breakpoint?.[1] ?? 0x400, 0)
    registers.setControl(2, 0, 0)
    registers.setRip(one.rip, 0)
    system.setMsr(MSR.TSC, 0, 0)
    const image = new Uint8Array(512)
    image.set(one.fx.subarray(0, FX_BYTES))
    this.processor.loadFpu(image)
    return new BareRun(this)
  }

  /** What the compiling tier has done. */
  figures(): CompilerFigures | undefined {
    return this.machine.compilerFigures()
  }

  /** Contents of everything that a program or the kernel can write. */
  contents(): string {
    const { bytes } = this.machine.memory
    const end = AT.REGIONS + this.pages.length * PAGE
    return Buffer.from(bytes.buffer, this.base + AT.GDT, end - AT.GDT).toString('latin1')
  }
}

/** A program under way. */
export class BareRun implements Runner {
  done = 0
  private readonly executor: BareExecutor

  constructor(executor: BareExecutor) {
    this.executor = executor
  }

  /** Goes on by so many instructions, the kernel's among them; false at the end. */
  advance(count: number): boolean {
    const { processor } = this.executor
    const reason = processor.run(count)
    this.done += processor.executed
    return reason === EXIT.BUDGET
  }

  snapshot(): Snapshot {
    return registersOf(this.executor.processor)
  }
}
