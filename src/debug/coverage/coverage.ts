/**
 * Coverage of guests' code with names: blocks by function, a text in the form of lcov's, the map of edges as AFL has it. Counting is the machine's
 * (`recordCoverage`); this is what people read.
 */
import type { CoveredBlock } from '../../machine/index.ts'
import { recordCoverage, symbolsOf, type DomainReference, type Host, type HostCoverage, type SymbolPlace } from '../../toolstack/index.ts'
import { anything, checkArgument, checkOptions, having } from '../../util/index.ts'

/** What is covered. */
export interface CoverageOptions {
  /** Whose kernel names the functions; default: the only guest that there is, else nobody. The blocks are those of all guests of the host. */
  readonly domain?: DomainReference | undefined
}

/** A block with the function that it lies in. */
export interface NamedBlock extends CoveredBlock {
  /** Undefined where nobody has named it. */
  readonly name: string | undefined
}

/** Blocks of one function. */
export interface CoveredFunction {
  /** `(unknown)` for blocks that lie in no named one. */
  readonly name: string
  /** Executed blocks, by address. */
  readonly blocks: readonly NamedBlock[]
  /** How often its blocks were begun. */
  readonly hits: number
}

/** Coverage under way. */
export interface CoverageRecording extends HostCoverage {
  blocks(): readonly NamedBlock[]
  /** By address. */
  functions(): readonly CoveredFunction[]
  /** Edges that were taken at least once. */
  readonly edges: number
  /** The map with each counter as AFL compares it: 1, 2, 3, then the first of 4-7, 8-15, 16-31, 32-127, 128-255 as bits. */
  classes(): Uint8Array
  /**
   * lcov's text. A function is a file, a block a line: its number is that of its first byte in the function, counted from 1; of blocks without a name the
   * address stands in the name.
   */
  toLcov(): string
}

/** The bit of each value of a counter: AFL has them in buckets. */
export const EDGE_CLASSES: Uint8Array = /* @__PURE__ */ Uint8Array.from({ length: 256 }, (_, count) =>
  count < 3 ? count : count === 3 ? 4 : count < 8 ? 8 : count < 16 ? 16 : count < 32 ? 32 : count < 128 ? 64 : 128)

/** Counters as AFL compares them. */
export const classified = (map: Uint8Array): Uint8Array => map.map((count) => EDGE_CLASSES[count]!)

function byFunction(blocks: readonly NamedBlock[]): readonly CoveredFunction[] {
  const found = new Map<string, NamedBlock[]>()
  for (const block of blocks) {
    const name = block.name ?? '(unknown)'
    const known = found.get(name)
    if (known === undefined) found.set(name, [block])
    else known.push(block)
  }
  return [...found].map(([name, own]) => ({ name, blocks: own, hits: own.reduce((sum, { hits }) => sum + hits, 0) }))
}

const hex = (address: number): string => `0x${BigInt.asUintN(64, BigInt(address)).toString(16)}`

function lcovRecord(name: string, lines: readonly (readonly [line: number, hits: number])[]): string {
  const hits = Math.max(...lines.map(([, count]) => count))
  return [`SF:${name}`, `FN:1,${name}`, `FNDA:${hits},${name}`, 'FNF:1', 'FNH:1', ...lines.map(([line, count]) => `DA:${line},${count}`), `LF:${lines.length}`, `LH:${lines.length}`, 'end_of_record', ''].join('\n')
}

function lcovText(functions: readonly CoveredFunction[], offsetOf: (block: NamedBlock) => number): string {
  const records = functions.flatMap(({ name, blocks }) => (name === '(unknown)'
    ? blocks.map((block) => lcovRecord(hex(block.address), [[1, block.hits]]))
    : [lcovRecord(name, blocks.map((block) => [offsetOf(block) + 1, block.hits] as const))]))
  return `TN:\n${records.join('')}`
}

/** The guest whose symbols are meant. */
function named(host: Host, domain: DomainReference | undefined): DomainReference | undefined {
  if (domain !== undefined) return host.domain(domain)
  const guests = host.domains()
  return guests.length === 1 ? guests[0] : undefined
}

/**
 * Begins to count blocks and edges of all guests' code of a host, see `recordCoverage`. Rejects with INVALID_STATE while somebody else does,
 * DOMAIN_NOT_FOUND, INVALID_ARGUMENT.
 *
 * @example
 * const recording = await coverage(host)
 * await domain.console.write('work\n')
 * writeFileSync('work.info', recording.toLcov())
 * await recording.stop()
 */
export async function coverage(host: Host, options: CoverageOptions = {}): Promise<CoverageRecording> {
  checkArgument('the host of coverage', host, having('symbolAt', 'profile', 'domain'))
  checkOptions('coverage', options, { domain: anything })
  const subject = named(host, options.domain)
  const recording = await recordCoverage(host)
  const place = (address: number): SymbolPlace | undefined => (subject === undefined ? undefined : symbolsOf(host, subject)?.find(address))
  const blocks = (): NamedBlock[] => {
    const symbols = subject === undefined ? undefined : symbolsOf(host, subject)
    return recording.blocks().map((block) => ({ ...block, name: symbols?.find(block.address)?.name }))
  }
  return {
    get map() {
      return recording.map
    },
    get edges() {
      return recording.map.reduce((count, hits) => count + (hits > 0 ? 1 : 0), 0)
    },
    classes: () => classified(recording.map),
    blocks, functions: () => byFunction(blocks()),
    toLcov: () => lcovText(byFunction(blocks()), ({ address }) => place(address)?.offset ?? 0),
    reset: () => recording.reset(),
    stop: () => recording.stop(),
  }
}
