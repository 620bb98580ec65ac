/** Chains of hashes of hosts that are driven link by link, as tests compare them: within a run, and with those that another has kept. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  chainDifference, Host, NO_COMPRESSION, type ChainDifference, type ChainLink, type ChainOptions, type HostOptions, type Moment,
} from '../../src/toolstack/index.ts'

/** Called in front of each link: what is done to the host at that instant. */
export type Act = (host: Host) => (link: number) => void

/** The same moment as another process with other options would have it. */
export async function elsewhere(moment: Moment<Host>, options: HostOptions): Promise<Moment<Host>> {
  const chunks: Uint8Array[] = []
  await moment.save({ write: (chunk: Uint8Array) => void chunks.push(chunk.slice()) }, { compression: NO_COMPRESSION })
  return Host.loadMoment(Buffer.concat(chunks), options)
}

/** The chain of a host; `act` is called in front of each link. */
export async function chainOf(host: Host, options: ChainOptions, act: Act): Promise<readonly ChainLink[]> {
  using held = await host.hold()
  const found: ChainLink[] = []
  act(host)(0)
  for await (const link of held.chain(options)) {
    found.push(link)
    act(host)(link.number + 1)
  }
  return found
}

/** The same of the host, brought back. */
export async function chainAgain(host: Host, moment: Moment<Host>, options: ChainOptions, act: Act): Promise<readonly ChainLink[]> {
  await host.reset(moment)
  return chainOf(host, options, act)
}

/**
 * Where a chain parts from the one of this name that another run has kept in the folder that CHAINS names; a first run keeps its own.
 * Undefined where it does not, and where no folder is named.
 */
export function differenceAcross(name: string, links: readonly ChainLink[]): ChainDifference | undefined {
  const folder = process.env['CHAINS']
  if (folder === undefined) return undefined
  const path = join(folder, `${name}.json`)
  mkdirSync(folder, { recursive: true })
  if (!existsSync(path)) writeFileSync(path, JSON.stringify(links))
  return chainDifference(JSON.parse(readFileSync(path, 'utf8')) as ChainLink[], links)
}
