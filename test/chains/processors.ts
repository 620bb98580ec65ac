/**
 * What is the same on every processor that Node runs on: chains of hashes of small hosts, the bytes of a moment's file, what is read of one
 * that another processor has written, and what instructions do. The first process that is given a folder keeps what it finds there; those behind it are held
 * against that.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { NO_COMPRESSION, DEFLATE, Host, verifyMomentFile, type ChainLink, type Compression, type Moment } from '../../src/toolstack/index.ts'
import { replayVectors } from '../oracle/replay.ts'
import { chainAgain, chainOf, differenceAcross } from '../support/chains.ts'
import { bootSmall, KIND_LINKS, kindHost, kindLoad, migrationChains, STORE_LINKS, storeHost, storeLoad, type Boot } from '../support/small-chains.ts'

const hosts: Host[] = []

const boot: Boot = async (options) => {
  const host = await bootSmall(options)
  hosts.push(host)
  return host
}

/** Bytes as another process has kept them, or these, which are kept. Throws where they are others. */
function heldAgainst(path: string, bytes: Uint8Array): void {
  if (!existsSync(path)) return writeFileSync(path, bytes)
  const before = readFileSync(path)
  if (before.equals(bytes)) return
  const at = before.findIndex((byte, i) => byte !== bytes[i])
  throw new Error(`${path} has other bytes from ${at} on, of ${before.length} and ${bytes.length}`)
}

/** Throws where a chain is another one than was kept under a name. */
function same(name: string, chain: readonly ChainLink[]): string {
  const difference = differenceAcross(name, chain)
  if (difference !== undefined) throw new Error(`chain ${name}: ${JSON.stringify(difference)}`)
  return `chain ${name}, ${chain.length} links`
}

async function fileOf(moment: Moment<Host>, compression: Compression): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  await moment.save({ write: (chunk: Uint8Array) => void chunks.push(chunk.slice()) }, { compression })
  return Buffer.concat(chunks)
}

/** XenStore under load: its chain, its moment's file, and the chain of whoever loads the file that the first process has written. */
async function* compareStore(folder: string): AsyncGenerator<string> {
  const host = await storeHost(boot, ['one', 'two'])
  const begin = await host.checkpoint({ label: 'store' })
  yield same('store', await chainAgain(host, begin, STORE_LINKS, storeLoad))
  const path = join(folder, 'store.moment')
  const file = await fileOf(begin, NO_COMPRESSION)
  heldAgainst(path, file)
  heldAgainst(join(folder, 'store.report'), Buffer.from(JSON.stringify(await verifyMomentFile(readFileSync(path)))))
  yield `the file of a moment, ${file.length} bytes`
  // Packing is the platform's: others may pack the same into other bytes.
  const packed = join(folder, 'store.packed')
  if (!existsSync(packed)) writeFileSync(packed, await fileOf(begin, DEFLATE))
  for (const name of [path, packed]) {
    const loaded = await Host.loadMoment(readFileSync(name))
    if (JSON.stringify(loaded.hashes()) !== JSON.stringify(begin.hashes())) throw new Error(`${name}: its hashes are others`)
    const branch = await loaded.branch()
    hosts.push(branch)
    yield `${same('store', await chainOf(branch, STORE_LINKS, storeLoad))}, from a file${name === path ? '' : ' that is packed'}`
  }
}

/** Guests of other kinds. */
async function* compareKinds(pv32: string | undefined): AsyncGenerator<string> {
  const kernels = { 'PVH': undefined, ...(pv32 === undefined ? {} : { '32-bit PV': readFileSync(pv32) }) }
  for (const [kind, kernel] of Object.entries(kernels)) {
    const host = await kindHost(boot, kind as keyof typeof kernels, kernel)
    yield same(kind, await chainAgain(host, await host.checkpoint(), KIND_LINKS, kindLoad))
  }
}

/** Instructions against what a processor of x86-64 has made of them, as it was recorded. */
function compareInstructions(): string {
  const { vectors, mismatches } = replayVectors()
  if (vectors === 0 || mismatches.length > 0) throw new Error(`${mismatches.length} of ${vectors} instructions differ:\n${mismatches.slice(0, 20).join('\n')}`)
  return `${vectors} instructions as x86-64 executes them`
}

/** Finds all of it; a line for each. Rejects where something is another than was kept. `pv32`: a kernel of 32 bits. */
export async function* compareProcessors(folder: string, pv32: string | undefined): AsyncGenerator<string> {
  try {
    yield compareInstructions()
    yield* compareStore(folder)
    const [target] = await migrationChains(boot)
    yield same('migration', target!)
    yield* compareKinds(pv32)
  } finally {
    for (const host of hosts.splice(0)) await host.shutdown()
  }
}
