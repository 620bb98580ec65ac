/**
 * A pipe between two hosts that says less: runs of one word, such as pages that are all zero, are told by where they are, and the rest is packed by a way that both ends
 * have. Both ends wrap their own side of the pipe; whatever is said over it, a migration or a protection, is the same bytes at the other end.
 *
 *   HELLO   u32 magic | u32 bytes of names | names of the ways of packing, with commas, best first
 *   piece   u32 way (0 for none) | u32 runs | u32 bytes of the piece | u32 bytes of the rest as sent
 *           | runs x (u32 offset, u32 length, the word) | the rest: what is in no run, packed
 *
 * Numbers are little-endian. Both say HELLO first; pieces are packed by the first way of their sender that the other named.
 */
import { ByteReader, ByteWriter, checkOptions, listOf, XenError } from '../../util/index.ts'
import { compressionNumber, DEFLATE, type Compression } from '../moment-file/compression.ts'
import { ByteSource, openOutput, type OpenOutput } from '../stream/index.ts'
import type { MigrationTransport } from './transport.ts'
import { findRuns, RUN, type Run } from './runs.ts'

/** How a pipe is packed. */
export interface PackedOptions {
  /** Ways of packing that this end has, the best first. Default: deflate, which is everywhere. None of them: only runs are told. */
  readonly compression?: readonly Compression[] | undefined
}

const MAGIC = 0x6b_70_76_31
const MOST_NAMES = 256
const PIECE = 1 << 22
const PIECE_HEADER = 16
const RUN_SIZE = 16
/** What is smaller is not worth the asking. */
const LEAST_PACKED = 256

const bad = (what: string): XenError => new XenError('INVALID_STREAM', `the other end of a packed pipe says what cannot be: ${what}`)

/** A piece of what is sent: its runs, and the rest in one. */
function splitPiece(piece: Uint8Array): { readonly runs: readonly Run[]; readonly rest: Uint8Array } {
  const runs = findRuns(piece)
  if (runs.length === 0) return { runs, rest: piece }
  const rest = new Uint8Array(piece.length - runs.reduce((sum, { length }) => sum + length, 0))
  let [from, at] = [0, 0]
  const keep = (to: number): void => {
    rest.set(piece.subarray(from, to), at)
    at += to - from
  }
  for (const { offset, length } of runs) {
    keep(offset)
    from = offset + length
  }
  keep(piece.length)
  return { runs, rest }
}

/** Puts a piece together again. Throws INVALID_STREAM. */
function joinPiece(length: number, runs: readonly Run[], rest: Uint8Array): Uint8Array {
  if (runs.length === 0) return rest
  const piece = new Uint8Array(length)
  let [from, at] = [0, 0]
  const keep = (to: number): void => {
    piece.set(rest.subarray(at, at + to - from), from)
    at += to - from
  }
  for (const { offset, length: size, word } of runs) {
    keep(offset)
    from = offset + size
    if (word === 0n) continue
    const view = new DataView(piece.buffer, offset, size)
    for (let i = 0; i < size; i += RUN.WORD) view.setBigUint64(i, word, true)
  }
  keep(length)
  return piece
}

/** One end of the pipe. */
class PackedPipe {
  private readonly source: ByteSource
  private readonly output: OpenOutput
  private readonly ways: readonly Compression[]
  private greeting: Promise<Compression | undefined> | undefined

  constructor({ readable, writable }: MigrationTransport, ways: readonly Compression[]) {
    this.source = new ByteSource(readable)
    this.output = openOutput(writable)
    this.ways = ways
  }

  get transport(): MigrationTransport {
    const { output, source } = this
    const end = async (): Promise<IteratorReturnResult<undefined>> => {
      await source.close()
      return { done: true, value: undefined }
    }
    return {
      readable: { [Symbol.asyncIterator]: () => ({ next: () => this.next(), return: end }) },
      writable: { ...output, write: (chunk: Uint8Array) => this.write(chunk) },
    }
  }

  /** Says which ways there are here, and hears those of the other end; the one by which this end packs. Once. */
  private greet(): Promise<Compression | undefined> {
    return this.greeting ??= (async () => {
      const names = new TextEncoder().encode(this.ways.map(({ name }) => name).join(','))
      const [theirs] = await Promise.all([this.hear(), this.output.write(new ByteWriter(8 + names.length).u32(MAGIC).u32(names.length).bytes(names).finish())])
      return this.ways.find(({ name }) => theirs.includes(name))
    })()
  }

  private async hear(): Promise<readonly string[]> {
    const head = new ByteReader(await this.source.read(8, 'the greeting of a packed pipe'), 'a greeting')
    const [magic, size] = [head.u32(), head.u32()]
    if (magic !== MAGIC) throw bad('it does not pack')
    if (size > MOST_NAMES) throw bad(`names of ${size} bytes`)
    return new TextDecoder().decode(await this.source.read(size, 'the ways of packing')).split(',')
  }

  private async write(chunk: Uint8Array): Promise<void> {
    const way = await this.greet()
    for (let at = 0; at < chunk.length; at += PIECE) await this.writePiece(chunk.subarray(at, at + PIECE), way)
  }

  private async writePiece(piece: Uint8Array, way: Compression | undefined): Promise<void> {
    const { runs, rest } = splitPiece(piece)
    const packed = way === undefined || rest.length < LEAST_PACKED ? undefined : await way.pack(rest)
    const isPacked = packed !== undefined && packed.length < rest.length
    const body = isPacked ? packed : rest
    const head = new ByteWriter(PIECE_HEADER + runs.length * RUN_SIZE).u32(isPacked ? compressionNumber(way!) : 0).u32(runs.length).u32(piece.length).u32(body.length)
    for (const { offset, length, word } of runs) head.u32(offset).u32(length).u64(word)
    await this.output.write(head.finish())
    if (body.length > 0) await this.output.write(body)
  }

  private async next(): Promise<IteratorResult<Uint8Array>> {
    await this.greet()
    if (await this.source.isAtEnd('a piece')) return { done: true, value: undefined }
    const head = new ByteReader(await this.source.read(PIECE_HEADER, 'a piece'), 'a piece')
    const [number, count, length, size] = [head.u32(), head.u32(), head.u32(), head.u32()]
    if (length === 0 || length > PIECE || size > length || count > length / RUN.LEAST) throw bad(`a piece of ${length} bytes with ${count} runs, sent as ${size}`)
    const runs = await this.readRuns(count, length)
    const left = length - runs.reduce((sum, run) => sum + run.length, 0)
    const rest = await this.unpack(number, await this.source.read(size, 'the rest of a piece'), left)
    return { done: false, value: joinPiece(length, runs, rest) }
  }

  private async readRuns(count: number, most: number): Promise<readonly Run[]> {
    const reader = new ByteReader(await this.source.read(count * RUN_SIZE, 'runs'), 'runs')
    let end = 0
    return Array.from({ length: count }, () => {
      const run = { offset: reader.u32(), length: reader.u32(), word: reader.u64() }
      if (run.offset < end || run.offset + run.length > most || run.length === 0 || run.length % RUN.WORD !== 0) throw bad(`a run of ${run.length} bytes at ${run.offset}`)
      end = run.offset + run.length
      return run
    })
  }

  private async unpack(number: number, bytes: Uint8Array, length: number): Promise<Uint8Array> {
    if (number === 0) {
      if (bytes.length !== length) throw bad(`${bytes.length} bytes in the place of ${length}`)
      return bytes
    }
    const way = this.ways.find((each) => compressionNumber(each) === number)
    if (way === undefined) throw bad(`a way of packing that was not named: ${number}`)
    try {
      return await way.unpack(bytes, length)
    } catch (cause) {
      throw new XenError('INVALID_STREAM', `what ${way.name} has packed cannot be unpacked`, { cause })
    }
  }
}

/**
 * Wraps one end of a pipe, so that runs of one word cost nothing and the rest is packed; the other end has to be wrapped, too. What is no packed pipe is refused with
 * INVALID_STREAM. Throws INVALID_ARGUMENT.
 *
 * @example
 * await domain.migrate(packedTransport(await connectMigration({ port })))
 * // at the other host
 * await host.receiveMigration(packedTransport(await listener.accept()))
 */
export function packedTransport(transport: MigrationTransport, options: PackedOptions = {}): MigrationTransport {
  checkOptions('packedTransport', options, { compression: listOf(isCompression) })
  return new PackedPipe(transport, options.compression ?? [DEFLATE]).transport
}

const isCompression = (value: unknown): string | undefined => (typeof (value as Partial<Compression> | undefined)?.pack === 'function' ? undefined : 'must be a way of packing')
