/** What is known of the code of a guest's kernel by address, for tools beside the host. */
import type { SymbolLookup } from '../symbols/symbol-table.ts'
import type { Kallsyms } from '../symbols/kallsyms.ts'
import { insidesOf, type DomainReference, type Host } from './host.ts'

/** The symbols that were given for a kernel or that Linux carries; undefined where neither is there. Throws DOMAIN_NOT_FOUND. */
export const symbolsOf = (host: Host, reference: DomainReference): SymbolLookup | undefined =>
  insidesOf(host).guests.crashes.lookUp(host.domain(reference).id)

/** The symbols that the Linux in a domain carries in its memory; undefined where there are none. Throws DOMAIN_NOT_FOUND. */
export const kernelTablesOf = (host: Host, reference: DomainReference): Kallsyms | undefined =>
  insidesOf(host).guests.crashes.kernelOf(host.domain(reference).id)
