/**
 * Small hosts whose chains of hashes are compared across versions of Node, machines and processors: XenStore under load, a migration, a guest
 * of each kind. What each is booted with, and what is done to it in front of each link.
 */
import { Host, transportPair, type ChainLink, type ChainOptions, type HostOptions } from '../../src/toolstack/index.ts'
import { chainOf, type Act } from './chains.ts'

const OPTIONS: HostOptions = { memory: 48, dom0Memory: 8, seed: 7, cpus: 2 }

/** Boots one of them. */
export type Boot = (options?: HostOptions) => Promise<Host>

/** A host of the kind that these chains are of. */
export const bootSmall: Boot = (options) => Host.boot({ ...OPTIONS, ...options })

/** Links of XenStore under load. */
export const STORE_LINKS: ChainOptions = { every: 60_000, links: 16 }

/** Both guests of a host read, list and write XenStore all the time, and so does the host. */
export const storeLoad: Act = (host) => (link) => {
  for (const { id, console } of host.domains()) {
    void console.write(`write data/key${link % 5} value${link}\rls data\rread data/key${(link + id) % 5}\rls /local/domain\r`).catch(() => undefined)
  }
  host.store.write(`/tool/link-${link % 3}`, String(link))
}

/** A host with guests at their prompts. */
export async function storeHost(boot: Boot, names: readonly string[]): Promise<Host> {
  const host = await boot()
  for (const name of names) await (await host.createDomain({ name, memory: 4 })).console.waitFor('mini> ')
  return host
}

/** The chains of both hosts of a migration, behind it: the target's first. */
export async function migrationChains(boot: Boot): Promise<readonly (readonly ChainLink[])[]> {
  const [source, target] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
  const domain = await source.createDomain({ name: 'one', memory: 4 })
  await domain.console.waitFor('tick 3')
  const { ends } = transportPair()
  const [there] = await Promise.all([target.receiveMigration(ends[1]), domain.migrate(ends[0], { live: true })])
  await there.console.waitFor('mini: restored')
  const links = { every: 60_000, links: 6 }
  return [
    await chainOf(target, links, () => () => void there.console.write('mem\r').catch(() => undefined)), await chainOf(source, links, () => () => undefined),
  ]
}

/** Kinds of guests beside those of the hosts above. */
export const KINDS = { 'PVH': 'pvh', '32-bit PV': 'pv' } as const

/** Links of a guest of one kind. */
export const KIND_LINKS: ChainOptions = { every: 100_000, links: 6 }

/** It computes, and then echoes. */
export const kindLoad: Act = (host) => (link) => void host.domain('one').console.write(link === 0 ? 'spin 1\rmem\r' : `echo ${link}\r`).catch(() => undefined)

/** A host with a guest of one kind; `kernel`: another one than the type's own. */
export async function kindHost(boot: Boot, kind: keyof typeof KINDS, kernel?: Uint8Array): Promise<Host> {
  const host = await boot()
  const domain = await host.createDomain({ name: 'one', type: KINDS[kind], memory: 8, vcpus: 1, ...(kernel === undefined ? {} : { kernel }) })
  await domain.console.waitFor('mini> ')
  return host
}
