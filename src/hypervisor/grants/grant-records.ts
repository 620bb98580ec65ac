/** A domain's grants as plain data, for whoever looks at it from outside: what it has written into its table, and what others make of it. */
import { GTF } from '../../abi/index.ts'
import type { GrantTable } from './grant-table.ts'
import { isWritePinned, PIN } from './pins.ts'

/** One entry that grants something, or is in use. */
export interface GrantRecord {
  readonly ref: number
  /** Whom it is for. */
  readonly remote: number
  readonly kind: 'access' | 'transfer' | 'transitive' | 'withdrawn'
  /** Access for reading alone. */
  readonly isReadOnly: boolean
  /** The host's frame that it names; undefined for none. */
  readonly frame: number | undefined
  /** How often others have it mapped, and whether one of them may write. */
  readonly mappings: number
  readonly isMappedWritable: boolean
}

const KINDS = { [GTF.permit_access]: 'access', [GTF.accept_transfer]: 'transfer', [GTF.transitive]: 'transitive' } as const

const usesOf = (pin: number): number => Object.values(PIN).reduce((all, one) => all + (Math.floor(pin / one) & 0xff), 0)

/** Entries, in their order. What is still mapped though its entry is gone is `withdrawn`. */
export function grantRecords(table: GrantTable): readonly GrantRecord[] {
  const found: GrantRecord[] = []
  for (let ref = 0; ref < table.entryCount; ref += 1) {
    const use = table.active.get(ref)
    const flags = table.retired ? 0 : table.flagsOf(ref)
    const kind = KINDS[(flags & GTF.type_mask) as keyof typeof KINDS] as GrantRecord['kind'] | undefined
    if (kind === undefined && use === undefined) continue
    const named = kind === 'access' ? table.machineFrame(table.frameOf(ref)) : -1
    const frame = use?.mfn ?? (named < 0 ? undefined : named)
    found.push({
      ref, remote: use?.domid ?? table.domainOf(ref), kind: kind ?? 'withdrawn', isReadOnly: kind === 'access' && (flags & GTF.readonly) !== 0, frame,
      mappings: usesOf(use?.pin ?? 0), isMappedWritable: isWritePinned(use?.pin ?? 0),
    })
  }
  return found
}
