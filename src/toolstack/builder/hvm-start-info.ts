/**
 * What a PVH kernel finds at the address in EBX: its command line, its ramdisk, its memory map, its ACPI tables.
 * Reference: xen/include/public/arch-x86/hvm/start_info.h.
 */
import { HVM_START_MAGIC_VALUE, HvmMemmapTableEntry, HvmModlistEntry, HvmStartInfo } from '../../abi/index.ts'
import { XenError } from '../../util/index.ts'
import type { PvhLayout } from './pvh-layout.ts'

/** The version that has a memory map. */
const VERSION = 1
/** Bytes of a command line at most: no kernel reads so many, and start info has pages of its own for it. */
const MOST_LINE = 1 << 16

/** The command line with its final zero. Throws INVALID_CONFIG when it is longer than any kernel reads. */
export function encodePvhCommandLine(commandLine: string): Uint8Array {
  const line = new TextEncoder().encode(`${commandLine}\0`)
  if (line.length <= MOST_LINE) return line
  throw new XenError('INVALID_CONFIG', `the command line has ${line.length - 1} bytes, at most ${MOST_LINE - 1} fit`, {
    details: { key: 'commandLine', length: line.length - 1, limit: MOST_LINE - 1 },
  })
}

/** Start info with all that stands behind it, to be written at its place. `rsdp`: address of the ACPI tables' root. */
export function encodeHvmStartInfo(
  { startInfo, ramdisk, memoryMap }: PvhLayout, facts: { readonly commandLine: Uint8Array; readonly rsdp: number },
): Uint8Array {
  const bytes = new Uint8Array(startInfo.size)
  const view = new DataView(bytes.buffer)
  const offset = (address: number): number => address - startInfo.address
  bytes.set(facts.commandLine, offset(startInfo.commandLine))
  HvmStartInfo.encode(view, 0, {
    magic: HVM_START_MAGIC_VALUE, version: VERSION, nrModules: ramdisk === undefined ? 0 : 1,
    modlistPaddr: ramdisk === undefined ? 0n : BigInt(startInfo.modules), cmdlinePaddr: BigInt(startInfo.commandLine),
    rsdpPaddr: BigInt(facts.rsdp), memmapPaddr: BigInt(startInfo.memoryMap), memmapEntries: memoryMap.length,
  })
  if (ramdisk !== undefined) {
    HvmModlistEntry.encode(view, offset(startInfo.modules), { paddr: BigInt(ramdisk.address), bytes: BigInt(ramdisk.size) })
  }
  memoryMap.forEach(({ address, size, type }, i) => {
    HvmMemmapTableEntry.encode(view, offset(startInfo.memoryMap) + i * HvmMemmapTableEntry.size, { addr: BigInt(address), bytes: BigInt(size), type })
  })
  return bytes
}
