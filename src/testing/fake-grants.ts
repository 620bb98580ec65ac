/**
 * Who may use which grant of the domains of a fake hypervisor, and who does: grant tables of version 1, as they stand in
 * memory.
 */
import { GNTST, GTF, GrantEntryV1 } from '../abi/index.ts'
import type { GrantHandle, Mfn } from '../util/index.ts'

/** A domain that grants. */
export interface Granting {
  /** Byte address of a grant's entry; undefined beyond the table. */
  grantEntry(ref: number): number | undefined
  /** Frames that are the domain's. */
  readonly owned: ReadonlySet<number>
}

/** A use of a grant. */
export interface GrantUse {
  readonly domid: number
  readonly ref: number
  readonly readOnly: boolean
}

/** The grants of all domains. */
export class FakeGrants {
  private readonly view: DataView
  private readonly domains: ReadonlyMap<number, Granting>
  private readonly uses = new Map<string, { reading: number; writing: number }>()
  private lastHandle = 0

  constructor(view: DataView, domains: ReadonlyMap<number, Granting>) {
    this.view = view
    this.domains = domains
  }

  /** A handle that nobody has had. */
  takeHandle(): GrantHandle {
    this.lastHandle += 1
    return this.lastHandle as GrantHandle
  }

  /** The frame of a grant that `mapper` may use, or a GNTST status. */
  check(mapper: number, { domid, ref, readOnly }: GrantUse): { readonly frame: Mfn } | number {
    const owner = this.domains.get(domid)
    if (owner === undefined) return GNTST.bad_domain
    const entry = owner.grantEntry(ref)
    if (entry === undefined) return GNTST.bad_gntref
    const flags = GrantEntryV1.flags.get(this.view, entry)
    const granted = (flags & GTF.type_mask) === GTF.permit_access && GrantEntryV1.domid.get(this.view, entry) === mapper
    if (!granted || (!readOnly && (flags & GTF.readonly) !== 0)) return GNTST.general_error
    const frame = GrantEntryV1.frame.get(this.view, entry)
    return owner.owned.has(frame) ? { frame: frame as Mfn } : GNTST.bad_page
  }

  /** Counts the users of a grant and shows them in its flags. */
  use({ domid, ref, readOnly }: GrantUse, by: 1 | -1): void {
    const entry = this.domains.get(domid)?.grantEntry(ref)
    if (entry === undefined) return
    const key = `${domid}/${ref}`
    const use = this.uses.get(key) ?? { reading: 0, writing: 0 }
    use[readOnly ? 'reading' : 'writing'] += by
    this.uses.set(key, use)
    const shown = (use.reading + use.writing > 0 ? GTF.reading : 0) | (use.writing > 0 ? GTF.writing : 0)
    const flags = GrantEntryV1.flags.get(this.view, entry) & ~(GTF.reading | GTF.writing)
    GrantEntryV1.flags.set(this.view, entry, flags | shown)
  }
}
