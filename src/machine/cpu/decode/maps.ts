/** The decode table arranged for look-up, made once for each kind of code because it costs milliseconds. */
import { once } from '../../../util/index.ts'
import { buildMaps, instructionRows } from './table.ts'
import type { DecodeMaps } from './table.ts'

const rows = /* @__PURE__ */ once((_: 'only') => instructionRows())
const maps = /* @__PURE__ */ once((code: 'long' | 'short') => buildMaps(rows('only'), code === 'long'))

/** Decode maps of 64-bit code, or of 32- and 16-bit code. */
export const decodeMaps = (code: 'long' | 'short'): DecodeMaps => maps(code)
