/** A moment out of its file, and what a file is without a host. */
import { checkArgument, hashState, readRecord, XenError } from '../../util/index.ts'
import { resolveHostOptions, type HostOptions } from '../boot/host-options.ts'
import type { KnownBytes } from '../moment-file/apart.ts'
import type { Compression } from '../moment-file/compression.ts'
import { partsOf, type FileContent } from '../moment-file/content.ts'
import { readMomentFile } from '../moment-file/read-moment.ts'
import { Family, type Brancher } from '../moments/family.ts'
import type { Moment } from '../moments/moment.ts'
import { PagePool, prepareProcessors } from '../../machine/index.ts'
import { byteInput, type ByteInput } from '../stream/index.ts'
import { findPrograms, type ProgramFinder } from './stand-up.ts'

/**
 * What a file does not say: where files and disks come from, how hot code is compiled, how much moments may take. What it says -
 * memory, processors, clock, seed - need not be given.
 */
export interface LoadMomentOptions extends HostOptions {
  /** The programs of guests in TypeScript. */
  readonly program?: ProgramFinder | undefined
  /** How the file is packed, or may be, where it is neither `DEFLATE` nor not at all. */
  readonly compression?: Compression | readonly Compression[] | undefined
  /** What the file leaves out: see `apart` of `moment.save`; `knowBytes` for what is given more than once. */
  readonly apart?: readonly (Uint8Array | KnownBytes)[] | undefined
  /**
   * True for a file that this very program has written, and nobody else can have touched: neither is it checked whether the host in it
   * adds up, nor are all of memory's bytes hashed, but a sample of each page: enough to find what is cut off, torn or elsewhere. Default
   * false.
   */
  readonly trusted?: boolean | undefined
}

const PAGES_PER_MEBIBYTE = 256

/** Reads a file whole, and gives its moment in a family of its own. Rejects with INVALID_STREAM, and with INVALID_STATE, INVALID_CONFIG, NOT_SUPPORTED. */
export async function loadMoment<H>(input: ByteInput, loading: LoadMomentOptions, brancher: Brancher<H>): Promise<Moment<H>> {
  const options = readRecord('the options of loadMoment', loading)
  checkArgument('the source of loadMoment', input, byteInput)
  const { program, compression, apart, trusted = false, ...given } = options
  const hash = trusted ? 'sample' : 'all'
  const { moments } = resolveHostOptions(given)
  const family = new Family<H>(moments, brancher)
  const reading = readMomentFile(input, { pool: family.pool, room: moments.memory * PAGES_PER_MEBIBYTE, compression, apart, hash })
  // Whatever it takes to read, processors take a while, too; of a file that is held its pages come later.
  if (!('fillNow' in input)) prepareProcessors()
  const content = await reading
  return family.adopt(content, { options: optionsOf(content, given), programs: findPrograms(content.tree, program), trusted })
}

/** Options out of the file, with those given above them. */
function optionsOf({ head: { options } }: FileContent, given: HostOptions): ReturnType<typeof resolveHostOptions> {
  const { bootTime, ...plain } = options as Readonly<Record<string, unknown>>
  try {
    return resolveHostOptions({ ...plain, bootTime: new Date(Number(bootTime)), ...given })
  } catch (error) {
    throw XenError.is(error, 'INVALID_CONFIG') ? new XenError('INVALID_STATE', `the file's options are none: ${error.message}`, { cause: error }) : error
  }
}

/** What a file holds. */
export interface MomentFileReport {
  readonly label: string | undefined
  /** Host time in nanoseconds. */
  readonly time: number
  /** Pages that are there, each once. */
  readonly pages: number
  /** The parts of the host, by their paths, each with its version and a hash. */
  readonly parts: readonly { readonly path: string; readonly version: number; readonly hash: string }[]
}

/** Reads a file and keeps nothing of it: every record, its hash and its form. Rejects with INVALID_STREAM. */
export async function verifyMomentFile(input: ByteInput, { compression }: Pick<LoadMomentOptions, 'compression'> = {}): Promise<MomentFileReport> {
  const pool = new PagePool()
  const { head: { label, time }, tree, memory, rows } = await readMomentFile(input, { pool, room: 2 ** 20, compression, apart: 'named' })
  const parts = [...partsOf(tree)].filter(({ leaf }) => leaf)
    .map(({ path, version, state }) => ({ path: path.join('.'), version, hash: hashState({ version, state }) }))
  const { pages } = pool
  for (const index of [memory, rows]) index.release()
  return { label, time, pages, parts }
}
