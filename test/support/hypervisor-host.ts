/**
 * A hypervisor over plain memory, and guests that are driven from a test: raw hypercalls by number, page tables written
 * by hand. There is no processor, or a scripted one.
 */
import { DOMID, HYPERVISOR, MMUEXT, MmuUpdate, MmuextOp } from '../../src/abi/index.ts'
import { Hypervisor, VirtualClock, type HypervisorOptions, type VcpuRunner } from '../../src/hypervisor/index.ts'
import { SeededRandom, type DomId, type Mfn } from '../../src/util/index.ts'
import { PTE } from '../../src/x86/index.ts'

/** Flags of an ordinary table entry, and of ordinary leaves. */
export const TABLE = PTE.PRESENT | PTE.WRITABLE | PTE.USER | PTE.ACCESSED
export const READ = PTE.PRESENT | PTE.ACCESSED
export const WRITE = PTE.PRESENT | PTE.WRITABLE | PTE.ACCESSED | PTE.DIRTY

/** Memory that only holds bytes. */
export class PlainMemory {
  readonly buffer: ArrayBuffer
  readonly view: DataView
  readonly bytes: Uint8Array
  readonly words: Uint32Array
  readonly firstFrame = 8
  readonly endFrame: number
  private readonly clean = new Set<number>()

  constructor(frames: number) {
    this.endFrame = frames
    this.buffer = new ArrayBuffer(frames * 4096)
    this.view = new DataView(this.buffer)
    this.bytes = new Uint8Array(this.buffer)
    this.words = new Uint32Array(this.buffer)
  }

  markWritten(mfn: number): void {
    this.clean.delete(mfn)
  }

  watchWrites(mfn: number): void {
    this.clean.add(mfn)
  }

  ignoreWrites(mfn: number): void {
    this.clean.delete(mfn)
  }

  isClean(mfn: number): boolean {
    return this.clean.has(mfn)
  }
}

/** A host with a hypervisor. */
export class TestHost {
  readonly memory: PlainMemory
  readonly clock = new VirtualClock()
  readonly hypervisor: Hypervisor
  readonly freeAtBoot: number

  constructor({ frames = 2048, ...options }: Partial<HypervisorOptions> & { readonly frames?: number } = {}) {
    this.memory = new PlainMemory(frames)
    this.hypervisor = new Hypervisor({ memory: this.memory, clock: this.clock, random: new SeededRandom(1), ...options })
    this.freeAtBoot = this.hypervisor.hostInfo().freeFrames
  }

  /** A guest with `pages` frames; `runner` executes it, by default it sleeps. */
  guest(options: { pages?: number; privileged?: boolean; vcpus?: number; runner?: VcpuRunner; maxPages?: number } = {}): TestGuest {
    const { pages = 64, privileged = false, vcpus = 1, runner = SLEEPER } = options
    const domid = this.hypervisor.createDomain({
      kind: 'typescript', createRunner: () => runner, vcpus, privileged, maxPages: options.maxPages ?? pages,
    })
    const frames = this.hypervisor.populatePhysmap(domid, pages, 0)
    return new TestGuest(this, domid, frames)
  }

  /** What does not add up, in words. */
  problems(): string[] {
    return this.hypervisor.checkInvariants().map(({ frame, what }) => `frame ${frame}: ${what}`)
  }
}

/** A runner that has nothing to do. */
export const SLEEPER: VcpuRunner = { executed: 1, run: () => ({ kind: 'block' }), enter: () => true }

/** A guest that a test plays by hand. Frame 0 of its frames holds arguments. */
export class TestGuest {
  readonly host: TestHost
  readonly domid: DomId
  readonly frames: readonly Mfn[]
  private next = 1

  constructor(host: TestHost, domid: DomId, frames: readonly Mfn[]) {
    this.host = host
    this.domid = domid
    this.frames = frames
  }

  /** Byte address of the argument frame. */
  get scratch(): number {
    return this.frames[0]! * 4096
  }

  get view(): DataView {
    return this.host.memory.view
  }

  /** A frame that this test has not used yet. */
  take(): Mfn {
    return this.frames[this.next++]!
  }

  call(name: keyof typeof HYPERVISOR, ...args: number[]): number {
    return this.host.hypervisor.port(this.domid).hypercall(HYPERVISOR[name], args)
  }

  /** Writes an entry as the guest does into a frame that is not a table (yet). */
  poke(table: number, slot: number, frame: number, flags: number, high = 0): void {
    this.host.memory.words[table * 1024 + slot * 2] = ((frame << 12) | flags) >>> 0
    this.host.memory.words[table * 1024 + slot * 2 + 1] = high
  }

  /** Both halves of an entry. */
  peek(table: number, slot: number): [number, number] {
    return [this.host.memory.words[table * 1024 + slot * 2]!, this.host.memory.words[table * 1024 + slot * 2 + 1]!]
  }

  /** mmuext_op with one operation. */
  mmuext(cmd: number, mfn: number, options: { owner?: number; arg2?: number } = {}): number {
    MmuextOp.cmd.set(this.view, this.scratch, cmd)
    MmuextOp.mfn.setNumber(this.view, this.scratch, mfn)
    MmuextOp.srcMfn.setNumber(this.view, this.scratch, options.arg2 ?? 0)
    return this.call('mmuext_op', this.scratch, 1, 0, options.owner ?? DOMID.SELF)
  }

  pin(level: 1 | 2 | 3 | 4, mfn: number): number {
    return this.mmuext(MMUEXT.PIN_L1_TABLE + level - 1, mfn)
  }

  unpin(mfn: number): number {
    return this.mmuext(MMUEXT.UNPIN_TABLE, mfn)
  }

  /** mmu_update with one request. */
  update(table: number, slot: number, value: [number, number], options: { command?: number; owner?: number } = {}): number {
    const pointer = table * 4096 + slot * 8 + (options.command ?? 0)
    MmuUpdate.ptr.setNumber(this.view, this.scratch, pointer)
    MmuUpdate.val.setParts(this.view, this.scratch, value[0] >>> 0, value[1] >>> 0)
    return this.call('mmu_update', this.scratch, 1, 0, options.owner ?? DOMID.SELF)
  }

  /** Whole tables: L4 -> L3 -> L2 -> L1 -> `leaves`, none of them pinned. */
  tables(leaves: readonly [frame: number, flags: number][]): { l4: Mfn; l3: Mfn; l2: Mfn; l1: Mfn } {
    const [l4, l3, l2, l1] = [this.take(), this.take(), this.take(), this.take()] as const
    this.poke(l4, 0, l3, TABLE)
    this.poke(l3, 0, l2, TABLE)
    this.poke(l2, 0, l1, TABLE)
    leaves.forEach(([frame, flags], slot) => this.poke(l1, slot, frame, flags))
    return { l4, l3, l2, l1 }
  }

  destroy(): void {
    this.host.hypervisor.destroyDomain(this.domid)
  }
}
