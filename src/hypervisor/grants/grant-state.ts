/**
 * Grant tables as plain data, and back. Entries lie in the guests' frames and are not part of it; nor are references
 * and types, which the frame table saves, nor page-table entries. What comes back is checked as a whole before
 * anything is taken over.
 */
import { GNTMAP } from '../../abi/index.ts'
import { XenError } from '../../util/index.ts'
import type { ActiveEntry, GrantTable } from './grant-table.ts'
import { pinsFor } from './mapping.ts'
import { maptrackFits, type Mapping, type MaptrackState } from './maptrack.ts'

/** Saved grant table of one domain. */
export interface DomainGrantState {
  readonly domain: number
  readonly version: number
  readonly frames: readonly number[]
  readonly statusFrames: readonly number[]
  /** Entries that it had when its domain died; -1 while it lives. */
  readonly retiredWith: number
  readonly active: readonly (readonly [ref: number, entry: ActiveEntry])[]
  readonly maptrack: MaptrackState
}

/** Saved grant tables of a host. */
export interface GrantState {
  readonly domains: readonly DomainGrantState[]
}

/** One domain's part of {@link GrantState}. */
export function saveGrantTable(table: GrantTable): DomainGrantState {
  return {
    domain: table.domain.id,
    version: table.version,
    frames: [...table.frames],
    statusFrames: [...table.statusFrames],
    retiredWith: table.retired ? table.entryCount : -1,
    active: [...table.active].map(([ref, entry]) => [ref, { ...entry }] as const),
    maptrack: table.maptrack.save(),
  }
}

/** Finds the table of a domain by number. */
type Finder = (domain: number) => GrantTable | undefined

/** Throws INVALID_STREAM when saved state does not hold together or does not fit the domains that there are. */
export function checkGrantState(state: GrantState, of: Finder, endFrame: number): void {
  const saved = new Map(state.domains.map((domain) => [domain.domain, domain]))
  if (saved.size !== state.domains.length) throw broken('a domain twice')
  const uses = new Map<string, number>()
  for (const domain of state.domains) {
    const table = of(domain.domain)
    if (table === undefined) throw broken(`domain ${domain.domain} does not exist`)
    checkTable(domain, table, endFrame)
    for (const [handle, mapping] of domain.maptrack.mappings) {
      // A domain that had its mappings overwritten may outlive in its handles the domain that they name.
      if (of(mapping.domain) !== undefined) countUses(uses, mapping, { handle, domain: domain.domain })
    }
  }
  for (const domain of state.domains) {
    for (const [ref, { pin, domain: user }] of domain.active) {
      const key = `${domain.domain}.${ref} for ${user}`
      if (uses.get(key) !== pin) throw broken(`uses of grant ${key}`)
      uses.delete(key)
    }
  }
  for (const key of uses.keys()) throw broken(`a mapping of grant ${key}, which is not in use`)
}

/** Takes over one domain's part of checked state. */
export function loadGrantTable(table: GrantTable, state: DomainGrantState): void {
  table.maptrack.load(state.maptrack)
  table.version = state.version as 1 | 2
  table.frames.splice(0, table.frames.length, ...state.frames)
  table.statusFrames.splice(0, table.statusFrames.length, ...state.statusFrames)
  if (state.retiredWith >= 0) table.markRetired(state.retiredWith)
  table.active.clear()
  for (const [ref, entry] of state.active) table.active.set(ref, { ...entry })
}

function checkTable(state: DomainGrantState, table: GrantTable, endFrame: number): void {
  const { version, frames, statusFrames, retiredWith, active } = state
  const isFrame = (mfn: number): boolean => isWhole(mfn, endFrame)
  const retired = retiredWith >= 0
  const { maxGrantFrames, maxMaptrackFrames, maxVersion } = table.domain
  if (!maptrackFits(state.maptrack, maxMaptrackFrames)) throw broken(`handles of domain ${state.domain}`)
  if ((version !== 1 && version !== 2) || version > maxVersion) throw broken(`version ${version}`)
  if (![...frames, ...statusFrames].every(isFrame)) throw broken('frames of a table')
  if (frames.length > maxGrantFrames || (frames.length === 0) !== retired) throw broken('size of a table')
  const perPage = version === 1 ? 512 : 256
  const wantedStatus = version === 1 ? 0 : Math.ceil((frames.length * perPage) / 2048)
  if (statusFrames.length !== wantedStatus) throw broken('status frames')
  const entries = retired ? retiredWith : frames.length * perPage
  if (new Set(active.map(([ref]) => ref)).size !== active.length) throw broken('a grant twice')
  for (const [ref, { mfn, start, length, transDomain, transRef }] of active) {
    const numbers = isWhole(start, 4097) && isWhole(length, 65536)
      && isWhole(transDomain, 65536) && isWhole(transRef, 2 ** 32)
    if (!isWhole(ref, entries) || !isFrame(mfn) || !numbers) throw broken(`grant ${ref} of domain ${state.domain}`)
  }
}

/** Adds what a handle of a domain's maps to the uses of its grant. */
function countUses(
  uses: Map<string, number>, mapping: Mapping, { handle, domain }: { readonly handle: number; readonly domain: number },
): void {
  const { flags } = mapping
  const maps = (flags & (GNTMAP.host_map | GNTMAP.device_map)) !== 0
  if (!isWhole(flags, 2 ** 32) || !maps) throw broken(`handle ${handle}`)
  const key = `${mapping.domain}.${mapping.ref} for ${domain}`
  uses.set(key, (uses.get(key) ?? 0) + pinsFor(flags))
}

const isWhole = (value: number, limit: number): boolean => Number.isInteger(value) && value >= 0 && value < limit

const broken = (what: string): XenError => new XenError('INVALID_STREAM', `saved grant tables do not fit: ${what}`)
