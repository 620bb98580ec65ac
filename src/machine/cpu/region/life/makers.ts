/** What makes regions of a machine's code: finds them, and writes their functions. */
import { instantiate } from '../../../../wasm/index.ts'
import type { MachineMemory } from '../../../memory/machine-memory.ts'
import type { InterpreterExports } from '../../interpreter/module.ts'
import type { MicroTable } from '../../uops/micro-table.ts'
import { Discoverer, type DiscoverOptions } from '../form/discover.ts'
import { MicroProfiles } from '../form/micro-profiles.ts'
import { writeFlagHelpers } from '../write/flag-helpers.ts'
import type { RegionTranslator } from '../write/region-module.ts'
import type { CodeSource, Refusal, Region } from '../form/region.ts'
import { runtimeExports } from '../write/region-calls.ts'
import { RegionWriter } from '../write/writer.ts'

/** Finds the region at an address. */
export type FindRegion = (source: CodeSource, options: DiscoverOptions) => Region | Refusal

/** What they are made from. */
export interface MakerParts {
  readonly memory: MachineMemory
  readonly table: MicroTable
  /** The interpreter of 64-bit code. */
  readonly interpreter: InterpreterExports
}

/** The makers. */
export interface RegionMakers {
  readonly find: FindRegion
  readonly translator: RegionTranslator
  /** The functions that the translator imports, by its names. */
  readonly functions: Readonly<Record<string, WebAssembly.ExportValue>>
}

/** The makers of a machine. Throws HostRefusal where the host compiles nothing. */
export function makeRegions({ memory, table, interpreter }: MakerParts): RegionMakers {
  const profiles = new MicroProfiles(table)
  const discoverer = new Discoverer(memory.view, profiles)
  const helpers = instantiate(writeFlagHelpers(), { env: { memory: memory.memory } })
  return {
    find: (source, options) => discoverer.discover(source, options),
    translator: new RegionWriter(memory.view, profiles),
    functions: { ...helpers, ...runtimeExports(interpreter) },
  }
}
