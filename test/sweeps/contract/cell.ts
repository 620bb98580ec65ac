/** One cell of the contract's table: a row that is run with a guest of a kind, on hosts of its own. */
import { MemoryBlockStore, MemoryFileStore } from '../../../src/drivers/index.ts'
import { Host, type Domain, type DomainOptions, type HostOptions, type KernelSource } from '../../../src/index.ts'
import type { ContractKind, KindName } from './kinds.ts'

/** Why a kind cannot do what a row is about, and what shows it. */
export interface Exception {
  readonly why: string
  /** Proves that what is asked for all the same is refused with a typed error. */
  readonly shown: (cell: Cell) => Promise<void>
}

/** A row of the table. */
export interface ContractRow {
  readonly name: string
  /** What holds, in a sentence of the table. */
  readonly holds: string
  readonly run: (cell: Cell) => Promise<void>
  readonly exceptions?: Readonly<Partial<Record<KindName, Exception>>>
}

/** Megabytes of a guest of the contract. */
export const MEMORY = 8

/** Hosts and guests of one cell. */
export class Cell {
  readonly kind: ContractKind
  /** What the guest's disk holds. */
  readonly disk = new MemoryBlockStore(1 << 20)
  /** What is in its folder. */
  readonly folder = new MemoryFileStore({ motd: 'what was there' })
  private readonly hosts: Host[] = []

  constructor(kind: ContractKind) {
    this.kind = kind
  }

  async boot(options: HostOptions = {}): Promise<Host> {
    const host = await Host.boot({ memory: 48, dom0Memory: 8, seed: 3, openDisk: () => this.disk, openFolder: () => this.folder, ...options })
    this.hosts.push(host)
    return host
  }

  /** A guest of the kind, at its prompt. */
  async start(host: Host, config: Partial<DomainOptions<KernelSource>> = {}): Promise<Domain> {
    const domain = await this.create(host, config)
    await domain.console.waitFor('mini> ')
    return domain
  }

  /** A guest of the kind, at its beginning. */
  create(host: Host, config: Partial<DomainOptions<KernelSource>> = {}): Promise<Domain> {
    const { kernel, type } = this.kind
    return host.createDomain({ name: 'guest', memory: MEMORY, type, kernel: kernel(), ...config })
  }

  /** What a receiver of a saved guest has to be told: a guest in TypeScript needs its program. */
  get receiving(): { readonly trust: 'all'; readonly kernel?: ReturnType<ContractKind['kernel']> } {
    const { name, kernel } = this.kind
    return name === 'TypeScript' ? { trust: 'all', kernel: kernel() } : { trust: 'all' }
  }

  async end(): Promise<void> {
    for (const host of this.hosts.splice(0)) await host.shutdown()
  }
}

/** Gives a guest a command; the match of what it answers. */
export async function ask(domain: Domain, command: string, answer: string | RegExp): Promise<RegExpExecArray> {
  await domain.console.write(`${command}\r`)
  return domain.console.waitFor(answer)
}

/** The guest answers, and nothing on its host contradicts the hypervisor's promises. */
export async function isWell(host: Host, domain: Domain): Promise<void> {
  await ask(domain, 'echo well', /^well$/)
  const findings = host.hypervisor.checkInvariants()
  if (findings.length > 0) throw new Error(findings.map(({ what }) => what).join('\n'))
}
