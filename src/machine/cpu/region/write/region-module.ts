/**
 * A WebAssembly module of regions that are compiled together. It imports the memory and the few functions that regions
 * call, never the table: who installs it puts its functions where they belong.
 */
import type { OwnBytes } from '../../../../util/index.ts'
import { ModuleWriter } from '../../../../wasm/index.ts'
import type { ValueType } from '../../../../wasm/index.ts'
import { pushValid } from './entry-check.ts'
import type { Region } from '../form/region.ts'
import type { RegionFunctions } from './writer.ts'

/** Signature of an imported function. */
export interface ImportedFunction {
  readonly parameters: readonly ValueType[]
  readonly results: readonly ValueType[]
}

/** What knows how regions are made: found in decoded code, and written. */
export interface RegionTranslator {
  /** Functions that regions call. */
  readonly imports: Readonly<Record<string, ImportedFunction>>
  /** Adds a region's function, (base, record) -> status, to a module; its number. */
  write(module: ModuleWriter, region: Region, functions: RegionFunctions): number
}

/** A region that is to be compiled, and where its list of pages lies. */
export interface PlacedRegion {
  readonly region: Region
  readonly list: number
}

const CHECK = { parameters: ['i32', 'i32'], results: ['i32'] } as const

/** Name by which a module exports a region's function. */
export const exportName = (index: number): string => `region${index}`

/** Writes the module. */
export function writeModule(regions: readonly PlacedRegion[], translator: RegionTranslator): OwnBytes {
  const module = new ModuleWriter()
  module.importMemory('env', 'memory')
  const isMapped = module.importFunction('env', 'isMapped', CHECK.parameters, CHECK.results)
  const imported = new Map(Object.entries(translator.imports).map(
    ([name, { parameters, results }]) => [name, module.importFunction('env', name, parameters, results)]))
  regions.forEach(({ region, list }, index) => {
    const functions: RegionFunctions = { imported, pushValid: (code) => pushValid(code, { list, isMapped }) }
    module.export(exportName(index), translator.write(module, region, functions))
  })
  return module.finish()
}
