/** Symbols of the Linux that runs in a domain, for debuggers. */
import { kernelTablesOf, type DomainReference, type Host, type NamedFunction } from '../toolstack/index.ts'
import { symbolElf } from './symbol-elf.ts'

/** The functions of a kernel. */
export interface KernelSymbolTable {
  /** By address; a place may have several names. */
  functions(): readonly NamedFunction[]
  /** Where a function begins, a signed number; undefined where there is none of that name. */
  addressOf(name: string): number | undefined
  /** Functions and data as an ELF file that holds nothing else, for gdb. */
  toElf(): Uint8Array
}

/**
 * The functions of the Linux that runs in a domain, read out of its memory (CONFIG_KALLSYMS, which distributions have on); undefined for another
 * kernel. Throws DOMAIN_NOT_FOUND.
 *
 * @example
 * await writeFile('symbols.elf', kernelSymbols(host, 'debian')!.toElf())
 * // gdb -ex 'target remote localhost:1234' -ex 'break do_exit' symbols.elf
 */
export function kernelSymbols(host: Host, reference: DomainReference): KernelSymbolTable | undefined {
  const found = kernelTablesOf(host, reference)
  return found && { functions: () => found.functions(), addressOf: (name) => found.addressOf(name), toElf: () => symbolElf(found.functions(), found.objects()) }
}
