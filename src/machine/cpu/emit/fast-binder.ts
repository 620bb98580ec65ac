/**
 * The binder in the interpreter's loop: memory through the TLB only. An access that misses leaves the handler before it
 * has changed anything, and the record is executed outside the loop.
 *
 * hot path: see record-binder.ts.
 */
import type { Code, Label } from '../../../wasm/index.ts'
import { RECORD } from '../layout/record.ts'
import { State, TLB } from '../layout/state.ts'
import type { AddressWidth } from './binder.ts'
import { RecordBinder } from './record-binder.ts'
import { pushTlbMiss } from './tlb-look.ts'

/** Where the interpreter's loop goes on from a handler. */
export interface LoopLabels {
  /** Execute this record outside the loop. */
  readonly slow: Label
  /** Look up the address in the target local. */
  readonly lookUp: Label
  /** Enter the block in the record local. */
  readonly enter: Label
  /** Follow the record's branch whose block is not known yet. */
  readonly follow: Label
}

/** What a handler in the loop has at hand: locals and labels. */
export interface LoopOptions {
  readonly base: number
  readonly record: number
  readonly at?: number
  readonly width: AddressWidth
  readonly labels: LoopLabels
  readonly target: number
  readonly budget: number
}

/** The binder in the interpreter's loop: memory accesses that miss leave the handler before it has changed anything. */
export class FastBinder extends RecordBinder {
  private readonly labels: LoopLabels
  private readonly target: number
  private readonly budget: number

  constructor(code: Code, options: LoopOptions) {
    super(code, options)
    this.labels = options.labels
    this.target = options.target
    this.budget = options.budget
  }

  private advance(): void {
    if (this.at === 0) return
    this.code.get(this.record)
    this.code.i32(this.at)
    this.code.op('i32.add')
    this.code.set(this.record)
  }

  /** Leaves the handler unless the TLB has the page; an access into the next page differs from every tag. */
  private host(access: 'read' | 'write', address: number, bytes: number): void {
    const c = this.code
    const entry = c.local('i32')
    const pushBank = (): void => {
      c.get(this.base)
      c.memory('i32.load', State.bank.offset)
    }
    pushTlbMiss(c, { access, address, bytes, entry, pushBank })
    if (this.at === 0) c.brIf(this.labels.slow)
    else {
      c.if()
      this.advance()
      c.br(this.labels.slow)
      c.end()
    }
    c.get(address)
    c.op('i32.wrap_i64')
    c.get(entry)
    c.memory('i32.load', TLB.delta)
    c.op('i32.add')
    c.release('i32', entry)
  }

  giveUp(): void {
    this.advance()
    this.code.br(this.labels.slow)
  }

  raise(): void {
    this.giveUp()
  }

  hostForRead(address: number, bytes: number): void {
    this.host('read', address, bytes)
  }

  hostForWrite(address: number, bytes: number): void {
    this.host('write', address, bytes)
  }

  written(): void {}

  jump(push: () => void): void {
    push()
    this.code.set(this.target)
    this.code.br(this.labels.lookUp)
  }

  branch(from: 'end' | 'middle'): void {
    const c = this.code
    const block = c.local('i32')
    if (from === 'middle') {
      c.get(this.budget)
      this.small('behind')
      c.op('i32.add')
      c.set(this.budget)
    }
    c.get(this.record)
    c.memory('i32.load', RECORD.immediate + this.at)
    c.tee(block)
    c.if()
    c.get(block)
    c.set(this.record)
    c.br(this.labels.enter)
    c.end()
    this.advance()
    c.br(this.labels.follow)
    c.release('i32', block)
  }

  checkSegment(): void {
    throw new Error('a micro-operation of the loop knows flat segments only')
  }

  checkBranch(): void {}

  handler(): void {
    throw new Error('a micro-operation of the loop cannot call a handler')
  }

  runtime(): void {
    throw new Error('a micro-operation of the loop cannot call the runtime')
  }
}
