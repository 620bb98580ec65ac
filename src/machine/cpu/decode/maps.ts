/**
 * The decode table arranged for look-up. What an opcode may be is worked out when it is first met, once in a process for each kind
 * of code: all of it at once would cost tens of milliseconds.
 */
import type { ProcessorLevel } from '../cpuid/features.ts'
import { once } from '../../../util/index.ts'
import { InstructionTable } from './table.ts'
import type { InstructionRow, OpcodeMap } from './table.ts'

/** Number of a mandatory prefix in {@link OpcodeEntry}. */
export const PREFIX_NUMBER = { np: 0, 66: 1, f3: 2, f2: 3 } as const

/**
 * What one opcode byte may be: by `prefix << 4 | isRegister << 3 | reg`, with VEX by `L << 7 | W << 6` as well, or by
 * `prefix << 8 | ModRM`.
 */
export interface OpcodeEntry {
  readonly rows: readonly (InstructionRow | undefined)[]
  readonly exact: readonly (InstructionRow | undefined)[] | undefined
  /** True when any row has a ModRM byte. */
  readonly modrm: boolean
}

/** An entry while rows are being entered. */
interface OpenEntry {
  readonly rows: (InstructionRow | undefined)[]
  exact: (InstructionRow | undefined)[] | undefined
  modrm: boolean
}

const unset = <T>(count: number): (T | undefined)[] => new Array<T | undefined>(count).fill(undefined)

/** One map's entries by opcode byte, for 64-bit code or for other code. */
export class OpcodeEntries {
  private readonly entries: (OpcodeEntry | undefined)[] = unset(256)
  private readonly table: InstructionTable
  private readonly map: OpcodeMap
  /** Where rows with this mark do not exist. */
  private readonly absent: InstructionRow['mode']

  constructor(table: InstructionTable, map: OpcodeMap, code: 'long' | 'short') {
    this.table = table
    this.map = map
    this.absent = code === 'long' ? 'i64' : 'o64'
  }

  /** What a byte may be; one that is nothing has an entry without rows. hot path: for every newly met instruction. */
  at(opcode: number): OpcodeEntry {
    return (this.entries[opcode] ??= this.make(opcode))
  }

  private make(opcode: number): OpcodeEntry {
    const entry: OpenEntry = { rows: unset(this.map.startsWith('vex') ? 256 : 64), exact: undefined, modrm: false }
    for (const row of this.table.at(this.map, opcode)) {
      if (row.mode !== this.absent && (row.offered || !row.legacy)) enter(entry, row)
    }
    return entry
  }
}

/** Enters a row wherever it fits and no earlier one stands; one that demands a prefix displaces those that do not. */
function enter(entry: OpenEntry, row: InstructionRow): void {
  entry.modrm ||= row.modrm
  const number = row.prefix === undefined ? undefined : PREFIX_NUMBER[row.prefix]
  if (row.exact !== undefined) {
    entry.exact ??= unset(4 * 256)
    for (let prefix = 0; prefix < 4; prefix += 1) {
      if (number === undefined || number === prefix) place(entry.exact, prefix << 8 | row.exact, row)
    }
    return
  }
  for (let index = 0; index < entry.rows.length; index += 1) {
    if (number !== undefined && number !== (index >> 4 & 3)) continue
    if (row.vex?.length !== undefined && row.vex.length !== index >> 7) continue
    if (row.vex?.wide !== undefined && row.vex.wide !== (index >> 6 & 1)) continue
    if (row.mod !== undefined && (row.mod === 'r') !== ((index & 8) !== 0)) continue
    if (row.reg !== undefined && row.reg !== (index & 7)) continue
    place(entry.rows, index, row)
  }
}

function place(rows: (InstructionRow | undefined)[], index: number, row: InstructionRow): void {
  const known = rows[index]
  if (known === undefined || (known.prefix === undefined && row.prefix !== undefined)) rows[index] = row
}

/** Entries of each map. */
export type DecodeMaps = Readonly<Record<OpcodeMap, OpcodeEntries>>

const tables = /* @__PURE__ */ once((level: ProcessorLevel) => new InstructionTable(level))

function makeMaps(level: ProcessorLevel, code: 'long' | 'short'): DecodeMaps {
  const entries = (map: OpcodeMap): OpcodeEntries => new OpcodeEntries(tables(level), map, code)
  return {
    '': entries(''), '0f': entries('0f'), '0f38': entries('0f38'), '0f3a': entries('0f3a'),
    vex0f: entries('vex0f'), vex0f38: entries('vex0f38'), vex0f3a: entries('vex0f3a'),
  }
}

const long = /* @__PURE__ */ once((level: ProcessorLevel) => makeMaps(level, 'long'))
const short = /* @__PURE__ */ once((level: ProcessorLevel) => makeMaps(level, 'short'))

/** Decode maps of 64-bit code, or of 32- and 16-bit code, of a processor of that level. */
export const decodeMaps = (code: 'long' | 'short', level: ProcessorLevel): DecodeMaps => (code === 'long' ? long : short)(level)
