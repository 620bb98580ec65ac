/**
 * Profiles as pprof reads them: each sample with its function, its domain as a label, and three values: samples, instructions, virtual time.
 * Reference: google/pprof, message perftools.profiles.Profile and what its README says of it.
 */
import { MessageWriter } from '../protobuf/message-writer.ts'
import type { NamedSample, ProfiledDomain } from './profile-rows.ts'

/** Numbers of fields of message Profile, then of those in it. */
const PROFILE = { SAMPLE_TYPE: 1, SAMPLE: 2, MAPPING: 3, LOCATION: 4, FUNCTION: 5, STRINGS: 6, DURATION: 10, PERIOD_TYPE: 11, PERIOD: 12, COMMENT: 13, DEFAULT_TYPE: 14 } as const
const VALUE_TYPE = { TYPE: 1, UNIT: 2 } as const
const SAMPLE = { LOCATIONS: 1, VALUES: 2, LABEL: 3 } as const
const LABEL = { KEY: 1, TEXT: 2 } as const
const MAPPING = { ID: 1, START: 2, LIMIT: 3, FILE: 5, HAS_FUNCTIONS: 7 } as const
const LOCATION = { ID: 1, MAPPING: 2, ADDRESS: 3, LINE: 4 } as const
const LINE = { FUNCTION: 1 } as const
const FUNCTION = { ID: 1, NAME: 2, SYSTEM_NAME: 3, FILE: 4 } as const

const VALUES: readonly (readonly [type: string, unit: string])[] = [['samples', 'count'], ['instructions', 'count'], ['time', 'nanoseconds']]

/** Things by a key, numbered from a first number on as they come. */
class Numbered<T> {
  readonly all: T[] = []
  private readonly known = new Map<string, number>()
  private readonly first: number

  constructor(first: number) {
    this.first = first
  }

  of(key: string, value: T): number {
    const found = this.known.get(key)
    if (found !== undefined) return found
    const number = this.first + this.all.length
    this.all.push(value)
    this.known.set(key, number)
    return number
  }
}

/** Tables that samples refer to. */
class Tables {
  readonly strings = new Numbered<string>(0)
  readonly mappings = new Numbered<{ readonly file: number; readonly isKernel: boolean }>(1)
  readonly functions = new Numbered<{ readonly name: number; readonly file: number }>(1)
  readonly locations = new Numbered<{ readonly mapping: number; readonly address: bigint; readonly function: number }>(1)

  constructor() {
    this.text('')
  }

  text(value: string): number {
    return this.strings.of(value, value)
  }

  location(domain: ProfiledDomain, { address, image, owner, name = '(unknown)' }: NamedSample): number {
    const file = this.text(`${domain.name}/${image}`)
    const mapping = this.mappings.of(`${file}`, { file, isKernel: owner === 'kernel' })
    const number = this.functions.of(`${file} ${name}`, { name: this.text(name), file })
    return this.locations.of(`${mapping} ${address}`, { mapping, address: BigInt.asUintN(64, BigInt(address)), function: number })
  }
}

function valueType(message: MessageWriter, field: number, tables: Tables, [type, unit]: readonly [string, string]): void {
  message.message(field, (inner) => inner.number(VALUE_TYPE.TYPE, tables.text(type)).number(VALUE_TYPE.UNIT, tables.text(unit)))
}

function label(message: MessageWriter, tables: Tables, key: string, value: string): void {
  message.message(SAMPLE.LABEL, (inner) => inner.number(LABEL.KEY, tables.text(key)).number(LABEL.TEXT, tables.text(value)))
}

function writeSamples(message: MessageWriter, tables: Tables, domain: ProfiledDomain): void {
  const total = domain.instructions / Math.max(1, domain.slice)
  for (const sample of domain.samples) {
    for (const tier of ['interpreted', 'compiled'] as const) {
      const count = sample[tier]
      if (count === 0) continue
      message.message(PROFILE.SAMPLE, (inner) => {
        inner.numbers(SAMPLE.LOCATIONS, [tables.location(domain, sample)])
        inner.numbers(SAMPLE.VALUES, [count, count * domain.slice, Math.round((domain.time * count) / total)])
        label(inner, tables, 'domain', domain.name)
        label(inner, tables, 'tier', tier)
      })
    }
  }
}

function writeTables(message: MessageWriter, tables: Tables): void {
  const half = 1n << 63n
  for (const [i, { file, isKernel }] of tables.mappings.all.entries()) {
    message.message(PROFILE.MAPPING, (inner) => inner.number(MAPPING.ID, i + 1).number(MAPPING.START, isKernel ? half : 0)
      .number(MAPPING.LIMIT, isKernel ? (half << 1n) - 1n : half).number(MAPPING.FILE, file).number(MAPPING.HAS_FUNCTIONS, 1))
  }
  for (const [i, place] of tables.locations.all.entries()) {
    message.message(PROFILE.LOCATION, (inner) => inner.number(LOCATION.ID, i + 1).number(LOCATION.MAPPING, place.mapping).number(LOCATION.ADDRESS, place.address)
      .message(LOCATION.LINE, (line) => line.number(LINE.FUNCTION, place.function)))
  }
  for (const [i, { name, file }] of tables.functions.all.entries()) {
    message.message(PROFILE.FUNCTION, (inner) => inner.number(FUNCTION.ID, i + 1).number(FUNCTION.NAME, name).number(FUNCTION.SYSTEM_NAME, name).number(FUNCTION.FILE, file))
  }
}

/** The file, not compressed; pprof takes it so. Exits stand in its comments. */
export function pprofProfile(domains: readonly ProfiledDomain[]): Uint8Array {
  const message = new MessageWriter(1 << 16)
  const tables = new Tables()
  for (const type of VALUES) valueType(message, PROFILE.SAMPLE_TYPE, tables, type)
  for (const domain of domains) writeSamples(message, tables, domain)
  writeTables(message, tables)
  message.number(PROFILE.DURATION, Math.round(Math.max(0, ...domains.map(({ time }) => time))))
  valueType(message, PROFILE.PERIOD_TYPE, tables, ['instructions', 'count'])
  message.number(PROFILE.PERIOD, Math.max(0, ...domains.map(({ slice }) => slice)))
  for (const { name, exits } of domains) {
    for (const [cause, count] of Object.entries(exits)) message.number(PROFILE.COMMENT, tables.text(`exits of ${name}: ${cause} ${count}`))
  }
  message.number(PROFILE.DEFAULT_TYPE, tables.text('instructions'))
  for (const text of tables.strings.all) message.text(PROFILE.STRINGS, text)
  return message.take()
}
