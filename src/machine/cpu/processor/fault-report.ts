/**
 * What a fault is told as: generated code leaves a few words in the state, an exit has a vector, an error code and an address,
 * or the access to physical memory that led nowhere.
 */
import { PAGE_SIZE, VECTOR } from '../../../x86/index.ts'
import { TWO_32, signedFromParts } from '../../../util/index.ts'
import { EXIT } from '../../interface/processor.ts'
import type { ExitReason } from '../../interface/processor.ts'
import { FRAME_RIGHT } from '../../interface/sources.ts'
import type { Core } from '../core/core.ts'
import { HIGH_PAGE, NESTED_FAULT, NOT_CANONICAL, STATUS, State } from '../layout/state.ts'
import type { DeviceAccess } from './device-access.ts'
import type { StackFaults } from './stack-fault.ts'

/** Where an exception is described. */
interface ExceptionResult {
  vector: number
  errorCode: number
  address: number
}

/** Tells the faults of one processor. */
export class FaultReport {
  /** The access of the last EXIT.PHYSICAL. */
  readonly physical = { address: 0, access: 'read', isPresent: false, isTable: false }
  private readonly core: Core
  private readonly result: ExceptionResult
  private readonly devices: DeviceAccess
  private readonly stackFaults: StackFaults

  /** `result` gets what exceptions are. */
  constructor(core: Core, result: ExceptionResult, parts: { readonly devices: DeviceAccess; readonly stackFaults: StackFaults }) {
    this.core = core
    this.result = result
    this.devices = parts.devices
    this.stackFaults = parts.stackFaults
  }

  /** Describes the access to physical memory that led nowhere. */
  notePhysical(): ExitReason {
    const { view, base } = this.core.registers
    const code = State.faultCode.get(view, base)
    const linear = signedFromParts(State.faultAddress.low(view, base), State.faultAddress.high(view, base))
    const isTable = (code & NESTED_FAULT.TABLE) !== 0
    const page = State.physicalFault.get(view, base)
    const within = isTable ? 0 : State.faultAddress.low(view, base) & (PAGE_SIZE - 1)
    const address = ((page & -PAGE_SIZE) >>> 0) + (page & HIGH_PAGE) * TWO_32 + within
    const rights = code & NESTED_FAULT.RIGHTS
    const access = (rights & FRAME_RIGHT.WRITE) !== 0 ? 'write' : rights === FRAME_RIGHT.EXECUTE ? 'execute' : 'read'
    Object.assign(this.physical, { address, access, isTable, isPresent: (code & NESTED_FAULT.PRESENT) !== 0 })
    this.devices.note(linear, address)
    return EXIT.PHYSICAL
  }

  /** Copies the exception with which a run has ended out of the state. */
  take(status: number): void {
    const { core, result } = this
    const { view, base } = core.registers
    result.vector = State.faultVector.get(view, base)
    result.errorCode = State.faultCode.get(view, base)
    if (result.errorCode === NOT_CANONICAL) {
      result.errorCode = 0
      const record = State.record.get(view, base)
      if (status !== STATUS.NEED_BLOCK && this.stackFaults.usesStack(core, record)) result.vector = VECTOR.SS
    }
    const isPage = result.vector === VECTOR.PF
    result.address = isPage ? signedFromParts(State.faultAddress.low(view, base), State.faultAddress.high(view, base)) : 0
  }
}
