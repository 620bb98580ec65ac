/**
 * Direct paging put together: what changes, pins and switches page tables and descriptor tables, and the hypercalls for
 * it. Guests without a processor have these hypercalls too, and so change tables that nobody walks.
 */
import { type GuestAbi, NATIVE } from '../../../abi/index.ts'
import type { EventHub } from '../../../util/index.ts'
import type { HypercallRow } from '../../domains/hypercall.ts'
import type { HypervisorEvent } from '../../hypervisor-events.ts'
import { DescriptorTables } from './descriptor-tables.ts'
import { type DescriptorRules, RING_3 } from './descriptors.ts'
import { MmuExtended } from './mmu-extended.ts'
import { type MmuParts, MmuUpdates } from './mmu-update.ts'

/** What direct paging works on. */
export interface PagingParts extends MmuParts {
  readonly hub: EventHub<HypervisorEvent>
}

/** Direct paging. */
export interface Paging {
  readonly mmu: MmuExtended
  readonly descriptorTables: DescriptorTables
  readonly rows: readonly HypercallRow[]
}

/** What differs between kinds of guests: what they speak, and what their descriptors follow. */
export interface PagingFlavour {
  readonly abi: GuestAbi
  readonly rules: DescriptorRules
}

const LONG: PagingFlavour = { abi: NATIVE, rules: RING_3 }

/** Puts it together for guests of a kind; 64-bit ones unless told otherwise. */
export function composePaging(parts: PagingParts, { abi, rules }: PagingFlavour = LONG): Paging {
  const { hub } = parts
  const updates = new MmuUpdates(parts, abi)
  const descriptorTables = new DescriptorTables({ ...parts, rules })
  const mmu = new MmuExtended({
    ...parts, abi, updates, descriptorTables,
    pinned: (domid, mfn, level, action) => {
      // The frame has been found in the frame table.
      if (hub.wants('page-table')) hub.emit({ type: 'page-table', domid, action, frame: mfn as never, level })
    },
  })
  const isWide = abi.wideArguments === 1
  const updateDescriptor: HypercallRow = {
    name: 'update_descriptor', source: 'public/xen.h; do_update_descriptor', support: { level: 'full' },
    handler: ({ owner }, { low, high }) => (isWide
      ? descriptorTables.update(owner, { low: low[0]!, high: high[0]! }, low[1]!, high[1]!)
      : descriptorTables.update(owner, { low: low[0]!, high: low[1]! }, low[2]!, low[3]!)),
  }
  return { mmu, descriptorTables, rows: [...updates.rows, mmu.row, updateDescriptor] }
}
