/**
 * Random kernels piece by piece for guests whose code may have 32 or 64 bits, the half that does not depend on their kind: each
 * piece is a few instructions; one that faults is over, and the trap handler goes on at the address that it has left behind.
 * Memory is what a field says: pages that programs map at windows, write and run, and pages that a vCPU has for itself.
 */
import { GNTMAP, type GuestAbi, HYPERVISOR, XENMEM, XenMemoryReservation } from '../../src/abi/index.ts'
import type { SeededRandom } from '../../src/util/index.ts'
import { Draws } from './draws.ts'
import { littleEndian } from './machine-code.ts'
import { type Convention, SHORT_STORES, ShortAssembler, noise } from './short-code.ts'

/** In the data page: where a fault goes on, errors that the guest itself has found, what was called, arguments. */
export const SHORT_DATA = { resume: 0, wrong: 8, called: 16, scratch: 512, arguments: 1024 } as const
/** Slots of the window table that pieces use. */
export const SHORT_SLOTS = 64
/** Slot of the window table that a vCPU has for its own checks of code. */
export const ownSlot = (vcpu: number): number => 300 + vcpu

/** What programs of one vCPU are made for. */
export interface ShortField {
  readonly vcpu: number
  readonly convention: Convention
  readonly abi: GuestAbi
  /** Linear addresses of the vCPU's pages. */
  readonly code: number
  readonly stack: number
  readonly data: number
  /** Linear addresses at which the window table is in force: each shows the same pages. */
  readonly windows: readonly number[]
  /** Linear address at which entries of the window table are written. */
  readonly table: number
  /** Linear address of the page that is the vCPU's own: where its slot of the window table is in force. */
  readonly ownPage: number
  /** Frame numbers, in the guest's own terms: what its entries may lead to. */
  readonly own: readonly [number, number]
  readonly partner: number
  playFrame(): number
  anyFrame(): number
  /** A store of the domain's memory by whoever builds it. */
  write(address: number, bytes: readonly number[]): void
  /** An entry that maps a frame for reading, writing and running. */
  whole(frame: number): bigint
  /** A random entry. */
  entry(): bigint
}

/** What a program writes, with the number of its check mixed in, when it has run other code than it had written. */
const WRONG = 0x57a1_e0de
/** Bytes of that. */
const TELL_BYTES = 20
/** Accessed and dirty, which walks set. */
const MARKS = 0x60n
const CODE_LIMIT = 4 * 4096 - 1024
const STORES = Object.values(SHORT_STORES)
const RESERVATIONS = [XENMEM.decrease_reservation, XENMEM.populate_physmap] as const

/** One vCPU's next program. */
export abstract class ShortProgram extends Draws {
  /** Page-table stores that it attempts. */
  attempts = 0
  private readonly checks = new Set<number>()
  protected readonly a: ShortAssembler
  protected readonly field: ShortField
  private nextArgument: number = SHORT_DATA.arguments

  constructor(random: SeededRandom, field: ShortField) {
    super(random)
    this.field = field
    this.a = new ShortAssembler(field.code, field.convention)
  }

  /** Has one page's translation forgotten. */
  protected abstract forget(address: number): void
  /** Changes entry `slot` of the window table by the rules of the kind. */
  protected abstract remap(slot: number, entry: bigint): void

  /** Stops whoever comes to a piece of another vCPU's by chance. */
  protected guard(): void {}

  /** Whether what stands in the data page tells that a check of this program's has failed; what runs by chance may come to that place too. */
  hasFailed(told: number | undefined): boolean {
    return told !== undefined && this.checks.has((told ^ WRONG) >>> 0)
  }

  /** Bytes for the vCPU's code pages. */
  finish(): number[] {
    return this.a.raw(0xeb, 0xfe).bytes
  }

  /** Adds pieces, each one of those given. */
  fill<T extends ShortProgram>(this: T, count: number, pieces: readonly ((program: T) => void)[]): T {
    for (let i = 0; i < count && this.a.bytes.length < CODE_LIMIT; i += 1) this.piece(this.pick(pieces))
    return this
  }

  /** Adds one piece. */
  piece<T extends ShortProgram>(this: T, write: (program: T) => void): T {
    const { a, field } = this
    this.guard()
    this.upToFault(() => {
      a.put(field.data + SHORT_DATA.called, 0).set('esp', field.stack).raw(0xfc)
      write(this)
    })
    return this
  }

  /** Code that a fault ends: what follows goes on. */
  private upToFault(write: () => void): void {
    const { a, field } = this
    const at = a.bytes.length
    a.put(field.data + SHORT_DATA.resume, 0)
    write()
    a.bytes.splice(at + 7, 4, ...littleEndian(a.here, 4))
  }

  protected windowPage(): number {
    return this.pick(this.field.windows) + this.below(SHORT_SLOTS) * 4096
  }

  /** Puts bytes into the data page for a call's arguments; their address. */
  protected argument(bytes: number, write: (view: DataView) => void): number {
    if (this.nextArgument + bytes > 4096) this.nextArgument = SHORT_DATA.arguments
    const offset = this.nextArgument
    this.nextArgument += Math.ceil(bytes / 16) * 16
    const made = new Uint8Array(bytes)
    write(new DataView(made.buffer))
    this.field.write(this.field.data + offset, [...made])
    return this.field.data + offset
  }

  /** A list of words of the caller's width. */
  protected list(values: readonly number[]): number {
    const { word } = this.field.abi
    return this.argument(values.length * word.size, (view) => values.forEach((value, i) => word.setNumber(view, i * word.size, value)))
  }

  /** A store into ordinary memory by any means, across pages too. */
  storePlain(): void {
    const address = this.windowPage() + (this.chance(3) ? 4096 - this.below(16) : this.below(4000))
    this.pick(STORES)(this.a, { address, value: this.random.next() >>> 0, scratch: this.field.data + SHORT_DATA.scratch })
  }

  /** A store into an entry by any means: its lower half, or part of it. */
  storeEntry(): void {
    this.attempts += 1
    const address = this.field.table + this.below(SHORT_SLOTS) * 8 + (this.chance(8) ? this.below(8) : 0)
    this.pick(STORES)(this.a, { address, value: Number(this.field.entry() & 0xffff_ffffn), scratch: this.field.data + SHORT_DATA.scratch })
  }

  /** Reads pages, and writes them. */
  touch(): void {
    for (let i = 1 + this.below(10); i > 0; i -= 1) {
      this.a.set('edi', this.windowPage() + this.below(1024) * 4).raw(0x8b, 0x07)
      if (this.chance(2)) this.a.raw(0x89, 0x07)
    }
  }

  /** Writes code through one mapping and runs it through another one. */
  runPlay(): void {
    const { a } = this
    const slot = this.below(SHORT_SLOTS) * 4096
    const offset = this.chance(8) ? 4096 - this.below(5) : this.below(4000)
    // mov eax, a number; ret
    a.set('edi', this.pick(this.field.windows) + slot + offset)
    a.raw(0xc7, 0x07, 0xb8, this.below(256), 0, 0, 0x66, 0xc7, 0x47, 0x04, 0x00, 0xc3)
    a.set('eax', this.pick(this.field.windows) + slot + offset).raw(0xff, 0xd0)
  }

  /** Runs an entry of a table that is mapped, by the entry `table`, like any page; uses the page that it leads to; runs it again. */
  protected runEntry(table: bigint): void {
    const { a, field } = this
    const [shown, used] = [this.below(SHORT_SLOTS), this.below(SHORT_SLOTS)]
    const [code, page] = [this.pick(field.windows) + shown * 4096, this.pick(field.windows) + used * 4096]
    for (const [slot, entry, address] of [[shown, table, code], [used, field.whole(field.playFrame()) & ~MARKS, page]] as const) {
      this.remap(slot, entry)
      this.forget(address)
    }
    const run = (): void => this.upToFault(() => a.set('eax', field.data + SHORT_DATA.scratch).set('edi', code + used * 8).set('esp', field.stack).raw(0xff, 0xd7))
    run()
    this.upToFault(() => a.set('edi', page).raw(0x8b, 0x07, ...this.chance(2) ? [0x89, 0x07] : []))
    run()
  }

  /** Bytes of no kind. */
  noise(): void {
    this.a.raw(...noise(this.random, 8 + this.below(40)), 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc)
  }

  /** A jump to somewhere in the middle of what pages hold; of its own pieces checks of code must not be entered midway. */
  jumpAnywhere(): void {
    this.a.set('eax', this.windowPage() + this.below(4096)).raw(0xff, 0xe0)
  }

  /**
   * Own code at an own address, in one of two frames that nobody else writes: changed or remapped, and run; it has to give the
   * number that was written last.
   */
  checkCode(kind: 'remap' | 'change' = this.chance(2) ? 'remap' : 'change'): void {
    const address = this.field.ownPage
    const number = 1 + this.below(0x7fff_0000)
    this.beginCheck(number)
    if (kind === 'remap') {
      this.remap(ownSlot(this.field.vcpu), this.field.whole(this.pick(this.field.own)))
      this.forget(address)
    }
    this.writeCode(address, number)
    this.expectCode({ address, number, check: number })
  }

  /** Own code in both frames: each runs at the same address, one page's translation dropped in between. */
  swapCode(): void {
    const address = this.field.ownPage
    const numbers = [1 + this.below(0x7fff_0000), 1 + this.below(0x7fff_0000)] as const
    this.beginCheck(numbers[0])
    const map = (which: 0 | 1): void => {
      this.remap(ownSlot(this.field.vcpu), this.field.whole(this.field.own[which]))
      this.forget(address)
    }
    for (const which of [0, 1] as const) {
      map(which)
      this.writeCode(address, numbers[which])
    }
    for (const which of [0, 0, 1, 1, 0] as const) {
      map(which)
      this.expectCode({ address, number: numbers[which], check: numbers[0] })
    }
  }

  /** A jump within the page, then mov eax, number; ret. The number comes last. */
  protected writeCode(address: number, number: number): void {
    this.a.set('edi', address).set('eax', number).raw(0xc6, 0x07, 0xeb, 0xc6, 0x47, 0x01, 0x3e, 0xc6, 0x47, 0x40, 0xb8)
    this.a.raw(0x89, 0x47, 0x41, 0xc6, 0x47, 0x45, 0xc3)
  }

  /** The data page tells which check is under way: what runs by chance may come into the middle of one. */
  protected beginCheck(check: number): void {
    this.checks.add(check)
    this.a.put(this.field.data + SHORT_DATA.called, check)
  }

  /** Calls the code, which has to give the number, as long as the check is under way. */
  protected expectCode({ address, number, check }: { readonly address: number; readonly number: number; readonly check: number }): void {
    const { a, field } = this
    // cmp eax, number; je over; cmp dword [called], check; jne over; mov ecx, [called]; xor ecx, that it is so; mov [wrong], ecx
    const called = [0x81, 0x3c, 0x25, ...littleEndian(field.data + SHORT_DATA.called, 4), ...littleEndian(check, 4), 0x75, TELL_BYTES]
    a.set('edi', address).raw(0xff, 0xd7)
    a.raw(0x3d, ...littleEndian(number, 4), 0x74, called.length + TELL_BYTES, ...called, 0x8b, 0x0c, 0x25, ...littleEndian(field.data + SHORT_DATA.called, 4))
    a.raw(0x81, 0xf1, ...littleEndian(WRONG, 4), 0x89, 0x0c, 0x25, ...littleEndian(field.data + SHORT_DATA.wrong, 4))
  }

  /** Reads pages whose translations stand where those of the program stand. */
  evict(): void {
    for (let i = this.below(8); i >= 0; i -= 1) {
      this.a.set('edi', this.pick(this.field.windows) + (this.chance(2) ? ownSlot(this.field.vcpu) : this.below(SHORT_SLOTS)) * 4096).raw(0x8a, 0x07)
    }
  }

  /** Gives frames back, and takes others. */
  exchangeMemory(): void {
    const numbers = Array.from({ length: 1 + this.below(3) }, () => this.field.playFrame())
    this.reserve(this.pick(RESERVATIONS), numbers)
  }

  protected reserve(command: (typeof RESERVATIONS)[number], numbers: readonly number[]): void {
    const at = this.field.abi.of(XenMemoryReservation)
    const list = this.list(numbers)
    const request = this.argument(at.size, (view) => {
      at.extentStart.setNumber(view, 0, list)
      at.nrExtents.setNumber(view, 0, numbers.length)
      at.domid.set(view, 0, 0x7ff0)
    })
    this.a.hypercall(HYPERVISOR.memory_op, command, request)
  }

  /** Maps a frame of the partner's at a place of the kind's, uses it at an address, and may end that mapping or another one. */
  protected grant(place: number, use: number, other: number): void {
    const { a } = this
    const mapped = this.mapRef(place, 8 + this.below(8))
    a.set('edi', use + this.below(1024) * 4).raw(0x8b, 0x07)
    if (this.chance(2)) a.raw(0x89, 0x07)
    if (this.chance(2)) return
    this.unmap(mapped, this.chance(8) ? other : place)
  }

  /** The partner's same frame twice, for writing or not; each mapping may be taken down where the other one is. */
  protected grantTwice(places: readonly [number, number]): void {
    const ref = 8 + this.below(8)
    const mapped = places.map((place) => this.mapRef(place, ref))
    const isSwapped = this.chance(2)
    mapped.forEach((argument, i) => {
      if (this.chance(2)) this.unmap(argument, places[isSwapped ? 1 - i : i]!)
    })
  }

  /** Address of the argument by which a reference is mapped. */
  private mapRef(place: number, ref: number): number {
    const mapped = this.argument(32, (view) => {
      view.setBigUint64(0, BigInt(place), true)
      view.setUint32(8, GNTMAP.host_map | (this.chance(3) ? GNTMAP.readonly : 0), true)
      view.setUint32(12, ref, true)
      view.setUint16(16, this.field.partner, true)
    })
    this.a.hypercall(HYPERVISOR.grant_table_op, 0, mapped, 1)
    return mapped
  }

  /** The handle goes from one structure to the other. */
  private unmap(mapped: number, place: number): void {
    const unmapped = this.argument(24, (view) => {
      view.setBigUint64(0, BigInt(place), true)
      view.setUint32(16, this.below(4), true)
    })
    this.a.load(mapped + 20).store(unmapped + 16).hypercall(HYPERVISOR.grant_table_op, 1, unmapped, 1)
  }
}
