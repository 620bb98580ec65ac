/**
 * callback_op: where a PV guest's kernel is to be entered. A kernel of each width tells of its entry points in its own form.
 * Reference: public/callback.h; xen/arch/x86/pv/callback.c.
 */
import { CALLBACKOP, CALLBACKTYPE, CallbackUnregister, ERRNO } from '../../../abi/index.ts'
import { VECTOR } from '../../../x86/index.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { HypercallArguments, HypercallRow, Support } from '../../domains/hypercall.ts'
import { FULL, type Operation, type Operations, byFirstArgument, byNumber, listed, refusalNumber, refused } from '../../domains/hypercall-rows.ts'
import { Scratch, readInto } from '../../memory/guest-access.ts'
import type { ParavirtualVcpu } from './paravirtual-vcpu.ts'

/** One kind of entry point: what there is of it, and how a vCPU is told; `set` answers with 0 or an error number. */
export interface EntryKind<Pv, Target> {
  readonly support: Support
  readonly set: (caller: Vcpu, pv: Pv, target: Target) => number
}

/** A kind of entry point that is told of by setting it. */
export const entryKind = <Pv, Target>(set: (pv: Pv, target: Target) => void): EntryKind<Pv, Target> => ({
  support: FULL,
  set: (_caller, pv, target) => {
    set(pv, target)
    return 0
  },
})

/** A kind of entry point that there is not. */
export function noEntryKind(why: string): EntryKind<unknown, unknown> {
  const support = refused('ENOSYS', why)
  return { support, set: (caller) => refusalNumber(support, caller) }
}

/** How kernels of one width tell of their entry points. */
export interface CallbackForm<Pv extends ParavirtualVcpu, Target> {
  /** Kinds of entry point, by the names of their numbers. */
  readonly kinds: Operations<typeof CALLBACKTYPE, EntryKind<Pv, Target>>
  /** Bytes of callback_register. */
  readonly size: number
  readonly source: string
  /** The state of a vCPU of such a guest; others have no such hypercall. */
  vcpuOf(caller: Vcpu): Pv | undefined
  /** What a callback_register holds. */
  read(view: DataView): { readonly type: number; readonly target: Target }
  /** An entry point as it is set; undefined where there cannot be one. */
  checked(target: Target): Target | undefined
}

/** The entry points of kernels of one width. */
export class Callbacks<Pv extends ParavirtualVcpu, Target> {
  private readonly form: CallbackForm<Pv, Target>
  private readonly kinds: readonly (EntryKind<Pv, Target> | undefined)[]

  constructor(form: CallbackForm<Pv, Target>) {
    this.form = form
    this.kinds = byNumber(CALLBACKTYPE, form.kinds)
  }

  /** Sets one entry point of a vCPU; 0 or an error number. */
  register(caller: Vcpu, pv: Pv, { type, target }: { readonly type: number; readonly target: Target }): number {
    const checked = this.form.checked(target)
    if (checked === undefined) return -ERRNO.EINVAL
    return this.kindOf(type)?.set(caller, pv, checked) ?? -ERRNO.ENOSYS
  }

  /** Makes the row of callback_op(command, argument). */
  row(): HypercallRow {
    const { size, source, kinds } = this.form
    const scratch = new Scratch(Math.max(size, CallbackUnregister.size))
    const rows: Operations<typeof CALLBACKOP, Operation> = {
      register: this.operation(scratch, size, (caller, pv) => this.register(caller, pv, this.form.read(scratch.view))),
      unregister: this.operation(scratch, CallbackUnregister.size, (_caller, pv) =>
        this.unregister(pv, CallbackUnregister.type.get(scratch.view, 0))),
    }
    return {
      name: 'callback_op', handler: byFirstArgument(CALLBACKOP, rows), source,
      operations: [listed('CALLBACKOP_', CALLBACKOP, rows), listed('CALLBACKTYPE_', CALLBACKTYPE, kinds)],
    }
  }

  /** An operation whose argument has been read into `scratch`. */
  private operation(scratch: Scratch, size: number, run: (caller: Vcpu, pv: Pv) => number): Operation {
    return {
      support: FULL,
      run: (caller: Vcpu, args: HypercallArguments) => {
        const pv = this.form.vcpuOf(caller)
        if (pv === undefined) return -ERRNO.ENOSYS
        return readInto(caller.access, args.address(1), scratch, size) ? run(caller, pv) : -ERRNO.EFAULT
      },
    }
  }

  /** Only an NMI's handler can be taken back. */
  private unregister(pv: Pv, type: number): number {
    if (type === CALLBACKTYPE.nmi) {
      pv.setTrap(VECTOR.NMI, { flags: 0, cs: 0, low: 0, high: 0 })
      return 0
    }
    const kind = this.kindOf(type)
    return kind !== undefined && kind.support.level !== 'refused' ? -ERRNO.EINVAL : -ERRNO.ENOSYS
  }

  private kindOf(type: number): EntryKind<Pv, Target> | undefined {
    return type < this.kinds.length ? this.kinds[type] : undefined
  }
}
