/**
 * What saved grant tables look like, and whether they hold together. Entries lie in the guests' frames and are no part of
 * them; nor are references and types, which the frame table saves, nor page-table entries.
 */
import { GNTMAP } from '../../abi/index.ts'
import { type StateOf, badState, shape } from '../../util/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import { maptrackFits, maptrackShape, type Mapping } from './maptrack.ts'
import { pinsFor, type ActiveEntry } from './pins.ts'
import type { GrantDomain } from './types.ts'

const domid = /* @__PURE__ */ shape.whole(0, 0xffff)
const frames = /* @__PURE__ */ shape.list(shape.word)

const entryShape = /* @__PURE__ */ shape.record<ActiveEntry>({
  pin: shape.word, domid, mfn: shape.word, start: /* @__PURE__ */ shape.whole(0, PAGE_SIZE), length: /* @__PURE__ */ shape.whole(0, 65535),
  isSubPage: shape.flag, transDomain: domid, transRef: shape.word,
})

/** What one domain's saved grant table looks like. */
const tableShape = /* @__PURE__ */ shape.record({
  domid, version: /* @__PURE__ */ shape.oneOf(1, 2), frames, statusFrames: frames,
  /** Entries that it had when its domain died; -1 while it lives. */
  retiredWith: /* @__PURE__ */ shape.whole(-1, 2 ** 32),
  active: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.tuple(shape.word, entryShape)),
  maptrack: maptrackShape,
})

/** Saved grant table of one domain. */
export type DomainGrantState = StateOf<typeof tableShape>

/** What the saved grant tables of a host look like. */
export const grantShape = /* @__PURE__ */ shape.record({ domains: /* @__PURE__ */ shape.list(tableShape) })

/** Saved grant tables of a host. */
export type GrantState = StateOf<typeof grantShape>

/** Finds what limits the table of a domain. */
type Finder = (domid: number) => GrantDomain | undefined

/** Refuses tables that do not hold together, or do not fit the domains that there are. */
export function checkGrantState(state: GrantState, of: Finder, endFrame: number): void {
  const saved = new Map(state.domains.map((domain) => [domain.domid, domain]))
  if (saved.size !== state.domains.length) throw badState('a domain is there twice')
  const uses = new Map<string, number>()
  for (const domain of state.domains) {
    const facts = of(domain.domid)
    if (facts === undefined) throw badState(`domain ${domain.domid} does not exist`)
    checkTable(domain, facts, endFrame)
    for (const [handle, mapping] of domain.maptrack.mappings) {
      // A domain that had its mappings overwritten may outlive in its handles the domain that they name.
      if (of(mapping.domid) !== undefined) countUses(uses, mapping, { handle, domid: domain.domid })
    }
  }
  for (const domain of state.domains) {
    for (const [ref, { pin, domid: user }] of domain.active) {
      const key = `${domain.domid}.${ref} for ${user}`
      if (uses.get(key) !== pin) throw badState(`the uses of grant ${key} are not those of its mappings`)
      uses.delete(key)
    }
  }
  for (const key of uses.keys()) throw badState(`a mapping of grant ${key}, which is not in use`)
}

function checkTable(state: DomainGrantState, facts: GrantDomain, endFrame: number): void {
  const { version, frames: own, statusFrames, retiredWith, active, maptrack } = state
  const name = `the table of domain ${state.domid}`
  const retired = retiredWith >= 0
  const { maxGrantFrames, maxMaptrackFrames, maxVersion } = facts
  if (!maptrackFits(maptrack, maxMaptrackFrames)) throw badState(`handles of domain ${state.domid}`)
  if (version > maxVersion) throw badState(`${name} has version ${version}`)
  if ([...own, ...statusFrames].some((mfn) => mfn >= endFrame)) throw badState(`frames of ${name} lie outside of memory`)
  if (own.length > maxGrantFrames || (own.length === 0) !== retired) throw badState(`${name} has ${own.length} frames`)
  const perPage = version === 1 ? 512 : 256
  const wantedStatus = version === 1 ? 0 : Math.ceil((own.length * perPage) / 2048)
  if (statusFrames.length !== wantedStatus) throw badState(`${name} has ${statusFrames.length} status frames`)
  const entries = retired ? retiredWith : own.length * perPage
  if (new Set(active.map(([ref]) => ref)).size !== active.length) throw badState(`${name} has a grant twice`)
  for (const [ref, { mfn }] of active) if (ref >= entries || mfn >= endFrame) throw badState(`${name} has no grant ${ref}`)
}

/** Adds what a handle of a domain's maps to the uses of its grant. */
function countUses(
  uses: Map<string, number>, mapping: Mapping, { handle, domid }: { readonly handle: number; readonly domid: number },
): void {
  const { flags } = mapping
  if ((flags & (GNTMAP.host_map | GNTMAP.device_map)) === 0) throw badState(`handle ${handle} maps nothing`)
  const key = `${mapping.domid}.${mapping.ref} for ${domid}`
  uses.set(key, (uses.get(key) ?? 0) + pinsFor(flags))
}
