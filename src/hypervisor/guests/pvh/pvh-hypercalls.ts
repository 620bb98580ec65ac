/**
 * The hypercalls of translated guests that others have not, or have otherwise; and those of PV guests' that they have not at all.
 * Reference: xen/include/hypercall-defs.c, columns hvm64 and hvm32; xen/arch/x86/hvm/hypercall.c.
 */
import { DMOP, type GuestAbi, PHYSDEVOP, VMASST_TYPE, type XENMEM } from '../../../abi/index.ts'
import type { HypercallName, HypercallRow, Support } from '../../domains/hypercall.ts'
import { type MemoryOpParts, memoryOp } from '../../hypercalls/memory-op.ts'
import { type Operation, type Operations, refusalNumber, refuse, refused } from '../../domains/hypercall-rows.ts'
import { vmAssist } from '../../hypercalls/vm-assist.ts'
import { type HvmOpParts, hvmOp } from './hvm-op.ts'

/** What these hypercalls work on. */
export interface PvhHypercallParts extends HvmOpParts, MemoryOpParts {}

/** Forms and families of PV guests only. */
const ABSENT: readonly HypercallName[] = ['sched_op_compat', 'event_channel_op_compat', 'physdev_op_compat', 'xenoprof_op', 'kexec_op', 'arch_0']

/** Makes their rows for callers of one ABI. */
export function pvhHypercalls(parts: PvhHypercallParts, abi: GuestAbi): HypercallRow[] {
  const absent = refused('ENOSYS', 'it is for PV guests')
  return [
    hvmOp(parts), memoryOp(parts, abi, memoryDifferences()), vmAssist(abi, [VMASST_TYPE.runstate_update_flag]),
    whole('physdev_op', { prefix: 'PHYSDEVOP_', numbers: PHYSDEVOP }, refused('ENOSYS', 'no physical interrupts are offered')),
    whole('dm_op', { prefix: 'XEN_DMOP_', numbers: DMOP }, refused('EPERM', 'it is for device models', 'EOPNOTSUPP')),
    ...ABSENT.map((name): HypercallRow => ({ name, source: 'xen/include/hypercall-defs.c', support: absent, handler: (caller) => refusalNumber(absent, caller) })),
  ]
}

/** What of memory_op they have no use for. */
function memoryDifferences(): Partial<Operations<typeof XENMEM, Operation>> {
  const untranslated = refused('ENOSYS', 'translated guests know no machine frames')
  return {
    exchange: refuse(refused('EOPNOTSUPP', 'an exchange is of machine frames')), machphys_mapping: refuse(untranslated), machine_memory_map: refuse(untranslated),
    acquire_resource: refuse(refused('EACCES', 'foreign frames are for a translated hardware domain only, which there is not')),
  }
}

/** A hypercall all of whose operations have the same answer. */
function whole(
  name: HypercallName, list: { readonly prefix: string; readonly numbers: Readonly<Record<string, number>> }, support: Support,
): HypercallRow {
  return {
    name, source: 'xen/arch/x86/hvm/hypercall.c', handler: (caller) => refusalNumber(support, caller),
    operations: [{ prefix: list.prefix, rows: Object.entries(list.numbers).map(([key, number]) => ({ name: key, number, support })) }],
  }
}
