/** The binder that executes one record completely, slow paths included, and returns a status. */
import { SEGMENT } from '../../../x86/index.ts'
import type { Code } from '../../../wasm/index.ts'
import { RECORD } from '../layout/record.ts'
import { SEGMENT_USE, segmentAccess } from '../layout/segment-access.ts'
import { SLOT, STATUS, State } from '../layout/state.ts'
import type { AddressWidth } from './binder.ts'
import { RecordBinder } from './record-binder.ts'

/** Functions that the full binder calls. */
export interface SlowFunctions {
  /** (base, address, bytes) -> host address, 0 on a fault. */
  readonly forRead: number
  readonly forWrite: number
  /** (base, host) -> status: carries out a write that could not go straight to its place. */
  readonly commit: number
  /** (base, offset, access) -> 1, or 0 on a fault. */
  readonly checkSegment: number
  /** (base, record) -> status. */
  readonly handler: number
  /** (base, record) -> status, by name. */
  readonly runtime: ReadonlyMap<string, number>
  /** The same where segments are not flat. */
  readonly runtimeInSegments: ReadonlyMap<string, number>
}

/** The binder that executes one record completely and returns a status. */
export class FullBinder extends RecordBinder {
  private readonly functions: SlowFunctions
  /** Local with the status to return. */
  readonly status: number

  constructor(
    code: Code,
    options: {
      base: number; record: number; status: number; width: AddressWidth; segmented?: boolean; functions: SlowFunctions
    },
  ) {
    super(code, options)
    this.functions = options.functions
    this.status = options.status
  }

  private host(func: number, address: number, bytes: number): void {
    const c = this.code
    const host = c.local('i32')
    c.get(this.base)
    c.get(address)
    c.i32(bytes)
    c.call(func)
    c.tee(host)
    c.op('i32.eqz')
    c.if()
    this.leave(STATUS.FAULT)
    c.end()
    c.get(host)
    c.release('i32', host)
  }

  hostForRead(address: number, bytes: number): void {
    this.host(this.functions.forRead, address, bytes)
  }

  hostForWrite(address: number, bytes: number): void {
    this.host(this.functions.forWrite, address, bytes)
  }

  written(host: number): void {
    const c = this.code
    // Only the scratch area, which lies in the processor's own state, asks for more.
    c.get(host)
    c.get(this.base)
    c.op('i32.sub')
    c.i32(State.size)
    c.op('i32.lt_u')
    c.if()
    c.get(this.base)
    c.call(this.functions.commit)
    c.set(this.status)
    c.end()
  }

  checkSegment(offset: number, access: number | 'immediate'): void {
    const c = this.code
    c.get(this.base)
    c.get(offset)
    if (access === 'immediate') this.immediate(32)
    else c.i32(access)
    c.call(this.functions.checkSegment)
    c.op('i32.eqz')
    c.if()
    this.leave(STATUS.FAULT)
    c.end()
  }

  /** Pushes the offset in CS that the record's branch leads to; `isShort` tells that it is one of 16 bits. */
  private pushTarget(): void {
    const c = this.code
    this.nextIp()
    c.get(this.record)
    c.memory('i64.load32_s', RECORD.displacement)
    c.op('i64.add')
    if (!this.segmented) return
    c.i64(0xffff)
    c.i64(-1, 0)
    this.small('isShort')
    c.op('select', 'i64.and')
  }

  checkBranch(): void {
    if (!this.segmented) return
    const target = this.code.local('i32')
    this.pushTarget()
    this.code.op('i32.wrap_i64')
    this.code.set(target)
    this.checkSegment(target, segmentAccess(SEGMENT.cs, SEGMENT_USE.FETCH, 1))
    this.code.release('i32', target)
  }

  jump(push: () => void): void {
    this.code.get(this.base)
    push()
    if (this.segmented) {
      this.code.get(this.base)
      this.code.memory('i64.load', SLOT.cs)
      this.code.op('i64.add')
      this.wrap()
    }
    this.code.memory('i64.store', State.rip.offset)
    this.leave(STATUS.JUMP)
  }

  branch(from: 'end' | 'middle'): void {
    const c = this.code
    if (from === 'middle') {
      c.get(this.base)
      c.get(this.base)
      c.memory('i32.load', State.budget.offset)
      this.small('behind')
      c.op('i32.add')
      c.memory('i32.store', State.budget.offset)
    }
    this.jump(() => {
      this.pushTarget()
      if (this.width === 32 && !this.segmented) this.wrap()
    })
  }

  /** Ends the record with a status. */
  private leave(status: number): void {
    this.code.i32(status)
    this.code.op('return')
  }

  handler(): void {
    this.code.get(this.base)
    this.code.get(this.record)
    this.code.call(this.functions.handler)
    this.code.set(this.status)
  }

  giveUp(): void {
    this.handler()
    this.code.get(this.status)
    this.code.op('return')
  }

  raise(vector: number): void {
    for (const [offset, value] of [[State.faultVector.offset, vector], [State.faultCode.offset, 0]] as const) {
      this.code.get(this.base)
      this.code.i32(value)
      this.code.memory('i32.store', offset)
    }
    this.leave(STATUS.FAULT)
  }

  runtime(name: string): void {
    const { runtime, runtimeInSegments } = this.functions
    const func = (this.segmented ? runtimeInSegments : runtime).get(name)
    if (func === undefined) throw new Error(`no runtime function ${name}`)
    this.code.get(this.base)
    this.code.get(this.record)
    this.code.call(func)
    this.code.set(this.status)
  }
}
