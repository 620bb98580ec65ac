/** What all processors of a process share, made before there is one. */
import { DEFAULT_LEVEL } from './cpuid/features.ts'
import { decodeMaps } from './decode/maps.ts'
import { compileGroup, compileInterpreter, microTable } from './interpreter/compiled.ts'

/**
 * Makes what the first processor of a process would make - the tables of its decoder and of its operations, the interpreter for 64-bit
 * code, and vectors, which programs begin with -, tens of milliseconds' work: for whoever has to wait for something else meanwhile. A second
 * call does nothing.
 */
export function prepareProcessors(): void {
  microTable()
  compileInterpreter(64)
  compileGroup('vector', 64)
  decodeMaps('long', DEFAULT_LEVEL)
}
