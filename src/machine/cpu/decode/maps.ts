/** The decode table arranged for look-up, made once for each kind of code because it costs milliseconds. */
import type { ProcessorLevel } from '../cpuid/features.ts'
import { once } from '../../../util/index.ts'
import { buildMaps, instructionRows } from './table.ts'
import type { DecodeMaps } from './table.ts'

const rows = /* @__PURE__ */ once((level: ProcessorLevel) => instructionRows(level))
const long = /* @__PURE__ */ once((level: ProcessorLevel) => buildMaps(rows(level), true))
const short = /* @__PURE__ */ once((level: ProcessorLevel) => buildMaps(rows(level), false))

/** Decode maps of 64-bit code, or of 32- and 16-bit code, of a processor of that level. */
export const decodeMaps = (code: 'long' | 'short', level: ProcessorLevel): DecodeMaps => (code === 'long' ? long : short)(level)
