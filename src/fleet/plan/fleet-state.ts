/**
 * A fleet as it stands, as plain data: what plans are made from. The store's records are the same data as JSON; what is no record of this
 * version is told, and touched by nobody.
 */
import * as z from 'zod/mini'

/** A domain as it is wanted. */
export interface FleetDomain {
  readonly name: string
  /** MiB that it needs. */
  readonly memory: number
  /** Virtual CPUs. */
  readonly vcpus: number
  readonly wanted: 'running' | 'stopped'
  /** Who goes first where not all have room: the higher number. */
  readonly priority: number
  /** Of those of one priority the lower one is started first. */
  readonly order: number
  /** Domains that it is to share a host with, while they run. */
  readonly with: readonly string[]
  /** A group of which no two are on one host. */
  readonly apart?: string | undefined
  /** What its host must be capable of: `pvh`, `shared-disks`. */
  readonly requires: readonly string[]
  /**
   * What a drain does: `move` takes it to another host, with its memory where both can; `restart` ends it here and starts it there; `stop` stops it until it is
   * started again; `stay` prevents the drain.
   */
  readonly eviction: 'move' | 'restart' | 'stop' | 'stay'
  /** The domain of which it is a clone, and which one it is: 1 for the first. */
  readonly clone?: { readonly of: string; readonly number: number } | undefined
  /** What the host is given to make it of; the fleet does not look into it. */
  readonly description: string
}

/** A host that is there. */
export interface FleetHost {
  readonly name: string
  /** MiB for domains, and CPUs. */
  readonly memory: number
  readonly cpus: number
  readonly capabilities: readonly string[]
  /** Where domains are sent to it with their memory; undefined for one that takes none in so. */
  readonly address?: string | undefined
  /** It is to be emptied, and gets nothing new. */
  readonly isDraining: boolean
  /** What it is at, as it said last; undefined for one that does not say. */
  readonly load?: HostLoad | undefined
}

/** What a host is at. */
export interface HostLoad {
  /** Share of its CPUs that its guests had lately, from 0 to 1. */
  readonly cpu: number
  /** MiB that its guests have, of the fleet or not. */
  readonly memory: number
}

/** Who runs a domain. */
export interface Ownership {
  readonly host: string
  /** Grows with every change of the owner and every start: the host refuses older ones. */
  readonly epoch: number
  /** The revision at which the host joined that has claimed it; undefined while it is only assigned. */
  readonly member?: number | undefined
  /** Milliseconds for which that host may run it at most when the store has lost its lease. */
  readonly grace?: number | undefined
  /** The host that it is to move to. */
  readonly to?: string | undefined
  /** It stands still here until the record says who has it: that host may take it over with its memory. */
  readonly isHanded?: boolean | undefined
}

/** All of it. */
export interface FleetState {
  readonly hosts: ReadonlyMap<string, FleetHost>
  readonly domains: ReadonlyMap<string, FleetDomain>
  readonly owners: ReadonlyMap<string, Ownership>
}

const VERSION = 1
const name = /* @__PURE__ */ z.string().check(z.regex(/^[A-Za-z0-9_.-]{1,64}$/))
const names = /* @__PURE__ */ z.array(z.string())
const count = /* @__PURE__ */ z.number().check(z.nonnegative())

/** Schemas of the records. */
const SCHEMAS = {
  domain: /* @__PURE__ */ z.strictObject({
    version: z.literal(VERSION), name, memory: count, vcpus: count, wanted: z.enum(['running', 'stopped']), priority: z.number(), order: z.number(), with: names, apart: z.optional(z.string()),
    requires: names, eviction: z.enum(['move', 'restart', 'stop', 'stay']), clone: z.optional(z.strictObject({ of: name, number: count })), description: z.string(),
  }),
  host: /* @__PURE__ */ z.strictObject({ version: z.literal(VERSION), name, memory: count, cpus: count, capabilities: names, address: z.optional(z.string()) }),
  load: /* @__PURE__ */ z.strictObject({ version: z.literal(VERSION), cpu: count.check(z.maximum(1)), memory: count }),
  owner: /* @__PURE__ */ z.strictObject({ version: z.literal(VERSION), host: name, epoch: count, member: z.optional(count), grace: z.optional(count), to: z.optional(name), isHanded: z.optional(z.boolean()) }),
}

/** What records say, by their kinds. */
export interface FleetRecords {
  domain: FleetDomain
  host: Omit<FleetHost, 'isDraining' | 'load'>
  load: HostLoad
  owner: Ownership
}

/** Writes a record. */
export const writeRecord = <K extends keyof FleetRecords>(_: K, record: FleetRecords[K]): string => JSON.stringify({ version: VERSION, ...record })

/** Reads a record; undefined for what is none of this version. */
export function readRecord<K extends keyof FleetRecords>(kind: K, text: string): FleetRecords[K] | undefined {
  try {
    const { version: _, ...record } = SCHEMAS[kind].parse(JSON.parse(text))
    // The schema of the kind has let it pass.
    return record as unknown as FleetRecords[K]
  } catch {
    return undefined
  }
}

/** True for what may name a host or a domain. */
export const isName = (value: unknown): value is string => typeof value === 'string' && name.safeParse(value).success
