/**
 * A domain's options as fields of libxl's JSON, by the places that the table of options names. Most are written as they
 * stand and left out where they are the default; those that libxl keeps in another form are converted here. Devices and
 * actions are in config-json.ts.
 * Reference: tools/libs/light/libxl_types.idl, libxl_domain_create_info and libxl_domain_build_info.
 */
import * as z from 'zod/mini'
import type { DomainConfig, DomainOptions } from '../config/domain-config.ts'
import { formatCpuidMasks, readCpuidMasks, type CpuidMask } from '../config/cpuid-masks.ts'
import { formatCpuList, parseCpuList } from '../config/cpu-list.ts'
import type { Json } from '../device-kinds/described-device.ts'
import { OPTIONS, type OptionRow } from '../config/option-table.ts'
import { memoryFor, type ValueKind } from '../config/option-values.ts'

/** What a kernel or ramdisk is called where it is no file. */
export type SourceNames = { readonly kernel: string | undefined; readonly ramdisk: string | undefined }

/** Entries of a list at most: more would only keep the receiver busy. */
export const MAX_ENTRIES = 1024

const KIB = 1024

/** What a saved domain says of one option. */
interface Conversion {
  readonly schema: z.ZodMiniType
  write(config: DomainConfig<unknown>, names: SourceNames): Json | undefined
  read(fields: SavedFields): Partial<DomainOptions<string>>
}

/** Fields of `c_info` and `b_info` by place, checked. */
export interface SavedFields {
  /** The field as a number; undefined where it is absent. */
  number(place: string): number | undefined
  get(place: string): unknown
}

const number = /* @__PURE__ */ z.number()
const text = /* @__PURE__ */ z.string()

const maxVcpus = (fields: SavedFields): number => fields.number('b_info.max_vcpus') ?? 1
const maxMemory = (fields: SavedFields): number => memoryFor(fields.number('b_info.max_memkb')! / KIB)

/** CPUs that a host can have: a list of all of them is what other hosts are told of a vCPU that may use all. */
const MOST_CPUS = 64

/** A list of CPU numbers for each vCPU, where we have texts. */
const affinity = (option: 'cpus' | 'cpusSoft'): Conversion => ({
  schema: /* @__PURE__ */ z.optional(/* @__PURE__ */ z.array(/* @__PURE__ */ z.array(number).check(z.maxLength(MAX_ENTRIES))).check(z.maxLength(MAX_ENTRIES))),
  write: ({ [option]: texts, maxVcpus: vcpus }) => {
    if (texts === undefined) return undefined
    const each = typeof texts === 'string' ? Array.from({ length: vcpus }, () => texts) : texts
    return each.map((text) => parseCpuList(text, MOST_CPUS))
  },
  read: (fields) => {
    const lists = (fields.get(`b_info.${option === 'cpus' ? 'vcpu_hard_affinity' : 'vcpu_soft_affinity'}`) ?? []) as readonly number[][]
    const texts = lists.map((cpus) => formatCpuList(cpus, MOST_CPUS))
    const isSame = texts.length === maxVcpus(fields) && texts.every((text) => text === texts[0])
    return texts.length === 0 ? {} : { [option]: isSame ? texts[0] : texts }
  },
})

/** A switch of libxl's that is left out while it is off. */
const defaultOff = (option: 'localTime' | 'noMigrate' | 'driverDomain', place: string): Conversion => ({
  schema: /* @__PURE__ */ z.optional(text),
  write: ({ [option]: isOn }) => (isOn ? 'True' : undefined),
  read: (fields) => ({ [option]: fields.get(place) === 'True' }),
})

const CONVERSIONS: Readonly<Record<string, Conversion>> = {
  'b_info.max_vcpus': {
    schema: /* @__PURE__ */ z.optional(number),
    write: (config) => (config.maxVcpus === 1 ? undefined : config.maxVcpus),
    read: (fields) => ({ maxVcpus: maxVcpus(fields) }),
  },
  'b_info.avail_vcpus': {
    schema: /* @__PURE__ */ z.optional(/* @__PURE__ */ z.array(number)),
    write: ({ maxVcpus: most, vcpus }) => (most === 1 ? undefined : Array.from({ length: vcpus }, (_, vcpu) => vcpu)),
    read: (fields) => {
      const online = fields.get('b_info.avail_vcpus')
      return { vcpus: Math.max(1, Array.isArray(online) ? online.length : maxVcpus(fields)) }
    },
  },
  'b_info.max_memkb': {
    schema: number,
    write: (config) => config.maxMemory * KIB,
    read: (fields) => ({ maxMemory: maxMemory(fields) }),
  },
  'b_info.target_memkb': {
    schema: /* @__PURE__ */ z.optional(number),
    write: (config) => config.memory * KIB,
    read: (fields) => {
      const target = fields.number('b_info.target_memkb')
      return { memory: target === undefined ? maxMemory(fields) : Math.min(maxMemory(fields), memoryFor(target / KIB)) }
    },
  },
  'b_info.cpuid': {
    schema: /* @__PURE__ */ z.optional(/* @__PURE__ */ z.array(/* @__PURE__ */ z.looseObject({ leaf: number, subleaf: z.optional(number) })).check(z.maxLength(MAX_ENTRIES))),
    write: ({ cpuid }) => (cpuid.length === 0 ? undefined : readCpuidMasks(cpuid).map(({ leaf, subleaf, registers: [eax, ebx, ecx, edx] }) => ({ leaf, subleaf, eax, ebx, ecx, edx }))),
    read: (fields) => {
      const list = (fields.get('b_info.cpuid') ?? []) as readonly (Readonly<Record<string, unknown>> & { readonly leaf: number; readonly subleaf?: number })[]
      const bits = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined)
      const masks = list.map(({ leaf, subleaf, ...one }): CpuidMask => ({ leaf, subleaf, registers: [bits(one['eax']), bits(one['ebx']), bits(one['ecx']), bits(one['edx'])] }))
      return masks.length === 0 ? {} : { cpuid: formatCpuidMasks(masks) }
    },
  },
  'b_info.localtime': defaultOff('localTime', 'b_info.localtime'),
  'c_info.driver_domain': defaultOff('driverDomain', 'c_info.driver_domain'),
  'b_info.disable_migrate': defaultOff('noMigrate', 'b_info.disable_migrate'),
  'b_info.claim_mode': {
    schema: /* @__PURE__ */ z.optional(text),
    write: ({ claimMode }) => (claimMode ? 'True' : 'False'),
    read: (fields) => ({ claimMode: fields.get('b_info.claim_mode') !== 'False' }),
  },
  'b_info.vcpu_hard_affinity': affinity('cpus'),
  'b_info.vcpu_soft_affinity': affinity('cpusSoft'),
  'b_info.kernel': {
    schema: /* @__PURE__ */ z.optional(text),
    write: (_, { kernel }) => kernel,
    read: (fields) => ({ kernel: fields.get('b_info.kernel') as string | undefined }),
  },
  'b_info.ramdisk': {
    schema: /* @__PURE__ */ z.optional(text),
    write: (_, { ramdisk }) => ramdisk,
    read: (fields) => ({ ramdisk: fields.get('b_info.ramdisk') as string | undefined }),
  },
}

type Row = OptionRow<ValueKind<unknown, unknown>, string | undefined>

const SCHEMAS = {
  number: /* @__PURE__ */ z.optional(number), text: /* @__PURE__ */ z.optional(text),
  list: /* @__PURE__ */ z.optional(/* @__PURE__ */ z.array(text).check(/* @__PURE__ */ z.maxLength(MAX_ENTRIES))),
} as const

const isUsual = (value: unknown, { fallback }: Row): boolean =>
  value === undefined || value === fallback || (Array.isArray(value) && value.length === 0)

/** An option that is saved as it stands. */
const plain = (name: keyof DomainConfig & keyof DomainOptions, row: Row): Conversion => ({
  schema: SCHEMAS[Array.isArray(row.fallback) ? 'list' : row.value.syntax],
  // What the row's kind lets in is what JSON can hold.
  write: (config) => (isUsual(config[name], row) ? undefined : config[name] as Json),
  read: (fields) => ({ [name]: fields.get(row.saved!) }),
})

/** Every option that stands in `c_info` or `b_info`, with how. */
const saved: readonly (readonly [string, Conversion])[] = /* @__PURE__ */ Object.entries<Row>(OPTIONS)
  .filter(([, row]) => row.saved?.includes('.') === true)
  .map(([name, row]) => [row.saved!, CONVERSIONS[row.saved!] ?? plain(name as keyof DomainConfig & keyof DomainOptions, row)])

/** The fields of a configuration by place. */
export const writeSavedOptions = (config: DomainConfig<unknown>, names: SourceNames): ReadonlyMap<string, Json> =>
  new Map(saved.flatMap(([place, { write }]) => {
    const value = write(config, names)
    return value === undefined ? [] : [[place, value] as const]
  }))

/** Schemas of the fields below `c_info` or `b_info`. */
export const savedShape = (place: string): Readonly<Record<string, z.ZodMiniType>> =>
  Object.fromEntries(saved.filter(([at]) => at.startsWith(`${place}.`)).map(([at, { schema }]) => {
    const name = at.slice(place.length + 1)
    const [outer, inner] = name.split('.')
    return inner === undefined ? [name, schema] : [outer!, z.optional(z.object(savedShape(`${place}.${outer!}`)))]
  }))

/** The options that fields say, by the names of objects. */
export function readSavedOptions(places: Readonly<Record<string, Readonly<Record<string, unknown>>>>): Partial<DomainOptions<string>> {
  const get = (place: string): unknown => {
    let value: unknown = places
    for (const step of place.split('.')) value = (value as Readonly<Record<string, unknown>> | undefined)?.[step]
    return value
  }
  const fields: SavedFields = {
    get,
    number: (place) => {
      const value = get(place)
      return typeof value === 'number' ? value : undefined
    },
  }
  return Object.assign({}, ...saved.map(([, { read }]) => read(fields))) as Partial<DomainOptions<string>>
}
