/**
 * Direct paging put together: what changes, pins and switches page tables and descriptor tables, and the hypercalls for
 * it. Guests without a processor have these hypercalls too, and so change tables that nobody walks.
 */
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

/** Puts it together for guests of a kind, whose descriptors follow `rules`. */
export function composePaging(parts: PagingParts, rules: DescriptorRules = RING_3): Paging {
  const { hub } = parts
  const updates = new MmuUpdates(parts)
  const descriptorTables = new DescriptorTables({ ...parts, rules })
  const mmu = new MmuExtended({
    ...parts, updates, descriptorTables,
    pinned: (domid, mfn, level, action) => {
      // The frame has been found in the frame table.
      if (hub.wants('page-table')) hub.emit({ type: 'page-table', domid, action, frame: mfn as never, level })
    },
  })
  const updateDescriptor: HypercallRow = {
    name: 'update_descriptor', source: 'public/xen.h; do_update_descriptor', support: { level: 'full' },
    handler: (caller, args) => descriptorTables.update(
      caller.owner, { low: args.low[0]!, high: args.high[0]! }, args.low[1]!, args.high[1]!,
    ),
  }
  return { mmu, descriptorTables, rows: [...updates.rows, mmu.row, updateDescriptor] }
}
