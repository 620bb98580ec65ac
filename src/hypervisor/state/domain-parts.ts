/**
 * The parts that each domain and each vCPU has: which domains there are, what each is, what it has mapped by its port, and
 * the half of each vCPU that its kind of guest owns.
 */
import { LAST_DOMID } from '../../abi/index.ts'
import { type Part, type PartSource, type Stateful, badState, part, partSet, shape, type StateOf, onceFor, sameState } from '../../util/index.ts'
import { type ForeignFrames, foreignFramesShape } from '../control/core/foreign-frames.ts'
import { type SavedDomainFacts, domainFactsShape, domainShape } from '../domains/domain-state.ts'
import type { Domain, Vcpu } from '../domains/domain.ts'
import type { DomainRegistry } from '../domains/registry.ts'
import type { RunnerFactory } from '../domains/vcpu-runner.ts'
import type { GrantTables } from '../grants/index.ts'

/** What these parts work on. */
export interface DomainStateParts {
  readonly domains: DomainRegistry
  readonly grants: GrantTables<Vcpu>
  readonly domainMemory: { countClaim(domain: Domain): void }
  readonly lifecycle: { restore(facts: SavedDomainFacts, createRunner: RunnerFactory | undefined): void }
  typedHypercallsOf(domain: Domain): { readonly foreign: ForeignFrames }
}

const factsShape = /* @__PURE__ */ shape.list(domainFactsShape, LAST_DOMID + 1)

function factsOf(domain: Domain, grants: GrantTables<Vcpu>): SavedDomainFacts {
  const { id, kind, privileged, handle, vcpuCount, maxPort, sharedInfoFrame } = domain
  // Each domain has a grant table for as long as it lives, and while it dies.
  const { maxGrantFrames, maxMaptrackFrames, maxVersion } = grants.of(id)!.domain
  return { domid: id, kind: kind.name, privileged, handle: handle.slice(), vcpus: vcpuCount, maxPort, sharedInfoFrame, maxGrantFrames, maxMaptrackFrames, maxVersion }
}

/** Whether a domain has these facts. */
function isOf(domain: Domain, grants: GrantTables<Vcpu>, facts: SavedDomainFacts): boolean {
  const { domain: limits } = grants.of(domain.id)!
  return domain.id === facts.domid && domain.kind.name === facts.kind && domain.privileged === facts.privileged && sameState(domain.handle, facts.handle)
    && domain.vcpuCount === facts.vcpus && domain.maxPort === facts.maxPort && domain.sharedInfoFrame === facts.sharedInfoFrame
    && limits.maxGrantFrames === facts.maxGrantFrames && limits.maxMaptrackFrames === facts.maxMaptrackFrames
}

/** Which domains there are, in the order in which they were made; loading makes them. */
export function registryPart(parts: DomainStateParts, createRunner: (domid: number) => RunnerFactory | undefined): Part {
  return part({ name: 'registry', version: 2, shape: factsShape }, {
    save: () => parts.domains.byAge().map((domain) => factsOf(domain, parts.grants)),
    isAsSaved: (state) => {
      const domains = parts.domains.byAge()
      return domains.length === state.length && domains.every((domain, i) => isOf(domain, parts.grants, state[i]!))
    },
    load: (state) => {
      for (const facts of state) parts.lifecycle.restore(facts, createRunner(facts.domid))
    },
  })
}

/** What each domain is. */
export function domainsPart({ domains, domainMemory }: DomainStateParts): Part {
  const partOf = (domain: Domain): Part => part({ name: `domain-${domain.id}`, version: 7, shape: domainShape }, {
    save: () => domain.save(),
    load: (state) => {
      domain.load(state)
      domainMemory.countClaim(domain)
      // What its kind kept for vCPUs, a domain that was taken apart has given back.
      if (domain.dying) for (const vcpu of domain.vcpus) domain.kind.removed?.(vcpu)
    },
    isAsSaved: (state) => !domain.dying && domain.isAsSaved(state),
    rewind: (state, now) => domain.rewind(state, now),
  })
  const known = onceFor(partOf)
  return partSet({ name: 'domains', version: 1 }, sourceOf(() => domains.byAge().map(known)))
}

/** The half of each translated domain that its kind of guest owns. */
export function translatedPart({ domains }: DomainStateParts): Part {
  const known = onceFor(({ guest, id }: Domain): Part[] => (guest === undefined ? [] : [{ ...guest.state, name: `domain-${id}` }]))
  const present = (): Part[] => domains.byAge().flatMap(known)
  return partSet({ name: 'translated', version: 1 }, sourceOf(present))
}

/** The half of each vCPU that its kind of guest owns; a vCPU without one is not there. */
export function guestsPart({ domains }: DomainStateParts): Part {
  // Its kind's half may come later, and go.
  const named = onceFor((vcpu: Vcpu) => onceFor((guest: NonNullable<Vcpu['guest']>): Part => ({ ...guest.state, name: nameOf(vcpu) })))
  const partOf = (vcpu: Vcpu): Part => named(vcpu)(vcpu.guest!)
  const vcpus = (): Vcpu[] => domains.byAge().flatMap((domain) => domain.vcpus)
  return partSet({ name: 'guests', version: 1 }, {
    present: () => vcpus().filter(({ guest }) => guest !== undefined).map(partOf),
    make: (name) => {
      const vcpu = vcpus().find((one) => nameOf(one) === name)
      if (vcpu === undefined) return undefined
      if (vcpu.owner.dying || vcpu.equip() !== 0) throw badState(`vCPU ${vcpu.vcpu} of domain ${vcpu.domid} cannot be executed here`)
      return partOf(vcpu)
    },
  })
}

const nameOf = ({ domid, vcpu }: Vcpu): string => `domain-${domid}-vcpu-${vcpu}`

/** What each domain has mapped of others by its port, and the toolstack of domains. */
export function foreignPart({ domains, typedHypercallsOf }: DomainStateParts, toolstack: ForeignFrames): Part {
  const holderShape = shape.record({ toolstack: foreignFramesShape, ports: shape.list(shape.tuple(shape.word, foreignFramesShape)) })
  const body: Stateful<StateOf<typeof holderShape>> = {
    save: () => ({
      toolstack: toolstack.save(),
      ports: domains.byAge().map((domain) => [domain.id, typedHypercallsOf(domain).foreign.save()] as const).filter(([, frames]) => frames.length > 0),
    }),
    isAsSaved: ({ toolstack: own, ports }) => {
      let at = 0
      for (const domain of domains.byAge()) {
        const { foreign } = typedHypercallsOf(domain)
        if (foreign.isEmpty) continue
        const saved = ports[at++]
        if (saved === undefined || saved[0] !== domain.id || !foreign.isAsSaved(saved[1])) return false
      }
      return at === ports.length && toolstack.isAsSaved(own)
    },
    load: (state) => {
      toolstack.load(state.toolstack)
      for (const [domid, frames] of state.ports) {
        const domain = domains.get(domid)
        if (domain === undefined) throw badState(`domain ${domid} is not there`)
        typedHypercallsOf(domain).foreign.load(frames)
      }
    },
  }
  return part({ name: 'foreign', version: 1, shape: holderShape }, body)
}

/** Parts that are there before they are loaded. */
const sourceOf = (present: () => readonly Part[]): PartSource => ({
  present, make: (wanted) => present().find(({ name }) => name === wanted),
})
