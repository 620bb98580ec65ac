/** The kinds of guests that the contract holds for: what each is made of. */
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { KernelSource } from '../../../src/toolstack/index.ts'
import { buildMini, type MiniKind } from '../../support/build-mini.ts'
import { contractProgram } from './typescript-guest.ts'

/** Names of the kinds, in the order of the table. */
export const KIND_NAMES = ['TypeScript', 'PV64', 'PV32', 'PVH'] as const
/** One of them. */
export type KindName = (typeof KIND_NAMES)[number]

/** A kind of guest. */
export interface ContractKind {
  readonly name: KindName
  /** What the table says of its guest. */
  readonly guest: string
  /** The kind as the hypervisor names it. */
  readonly hypervisorKind: string
  readonly type: 'pv' | 'pvh'
  /** Most vCPUs that the contract gives it. */
  readonly vcpus: number
  readonly kernel: () => KernelSource
  /** Why its guest is not there; undefined when it is. */
  readonly missing: string | undefined
}

const SOURCES = 'test/guests/contract'

/** A kernel in C, mini with the contract's drivers: one source for all kinds. */
function inC(name: KindName, build: MiniKind, facts: Pick<ContractKind, 'hypervisorKind' | 'type'>): ContractKind {
  const more = readdirSync(fileURLToPath(new URL(`../../../${SOURCES}`, import.meta.url))).filter((file) => file.endsWith('.c'))
  const { path, reason } = buildMini(build, { more: more.map((file) => `${SOURCES}/${file}`) })
  return { name, guest: `examples/guests/mini for ${build}, with ${SOURCES}`, vcpus: 2, ...facts, kernel: () => readFileSync(path!), missing: reason }
}

/** All kinds. */
export const KINDS: readonly ContractKind[] = [
  {
    name: 'TypeScript', guest: 'test/sweeps/contract/typescript-guest.ts', hypervisorKind: 'typescript', type: 'pv', vcpus: 1,
    kernel: () => contractProgram, missing: undefined,
  },
  inC('PV64', 'pv64', { hypervisorKind: 'pv', type: 'pv' }),
  inC('PV32', 'pv32', { hypervisorKind: 'pv32', type: 'pv' }),
  inC('PVH', 'pvh', { hypervisorKind: 'pvh', type: 'pvh' }),
]

