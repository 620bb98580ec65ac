/**
 * Reads the file of a moment. It may come from anybody: every length, number and hash is checked, and no more pages are taken
 * in than there is room for. What the parts mean is checked when a host is stood up from them.
 */
import { PageIndex, type PagePool } from '../../machine/index.ts'
import { XenError, type SavedPart, type SavedTree, type Shape } from '../../util/index.ts'
import { ByteSource, type ByteInput, type HeldFile } from '../stream/index.ts'
import { apartShape, findApart, type KnownBytes } from './apart.ts'
import { readBlocks } from './blocks.ts'
import { compressionNumber, compressionOf, NO_COMPRESSION, type Compression } from './compression.ts'
import { factsShape, headShape, partShape, type FileContent, type FileFacts, type FileHead, type HeldContent } from './content.ts'
import { HeldBlocks, HeldPages, unreadable, type HeldPlaces } from './held-pages.ts'
import { decodePlain } from './plain-data.ts'
import { badFile, FILE_VERSION, HEADER_BYTES, MAGIC, readRecord, type PageRecord, type RecordHash } from './records.ts'
import { PAGE_SIZE } from '../../x86/index.ts'

const PAGE_WORDS = PAGE_SIZE / 4

/** How a file is read. */
export interface ReadSettings {
  readonly pool: PagePool
  /** Pages that may be taken into the pool. */
  readonly room: number
  /** Ways of packing beside those that every platform has. */
  readonly compression?: Compression | readonly Compression[] | undefined
  /** Bytes that the file may leave out; `'named'`: their digests stand for them. */
  readonly apart?: readonly (Uint8Array | KnownBytes)[] | 'named' | undefined
  /** What is looked at of memory; default all. */
  readonly hash?: RecordHash | undefined
}

/** A tree on its way: names may not come twice, and nothing comes below a leaf. */
class TreeBuilder {
  private root: SavedTree | undefined

  add(saved: unknown, where: string): void {
    const { path, version, leaf, state } = checked(partShape, saved, where)
    const part: SavedTree | SavedPart = leaf ? { version, state } : { version, parts: {} }
    const name = path[path.length - 1]
    if (name === undefined) {
      if (this.root !== undefined || leaf) throw badFile(where, 'the root stands where none can')
      this.root = part as SavedTree
      return
    }
    let at: SavedTree | SavedPart | undefined = this.root
    for (const step of path.slice(0, -1)) at = at !== undefined && 'parts' in at && Object.hasOwn(at.parts, step) ? at.parts[step] : undefined
    if (at === undefined || !('parts' in at) || name === '__proto__' || Object.hasOwn(at.parts, name)) {
      throw badFile(where, `part ${path.join('.')} stands where none can`)
    }
    // Nobody else has it yet.
    Object.assign(at.parts, { [name]: part })
  }

  finish(): SavedTree {
    if (this.root === undefined) throw badFile('its end', 'it has no parts')
    return this.root
  }
}

function checked<T>(shape: Shape<T>, value: unknown, where: string): T {
  const wrong = shape(value)
  if (wrong !== undefined) throw badFile(where, `what it holds${wrong}`)
  // The shape has just been checked.
  return value as T
}

/** What has been read so far. */
class Reading {
  private readonly settings: ReadSettings
  /** Pages of the file, each held once until it is given to an index. */
  private readonly ids: number[] = []
  private readonly isGiven: boolean[] = []
  private readonly tree = new TreeBuilder()
  private head: FileHead | undefined
  private facts: FileFacts | undefined
  private readonly indexes: PageIndex[] = []
  private apart: Promise<readonly Uint8Array[]> | undefined
  private readonly isOurs: boolean
  /** Of a file that is held. */
  private readonly held: HeldPages | undefined
  private places: Omit<HeldPlaces, 'count'> | undefined

  /** `isOurs`: nobody else has what is taken. */
  constructor(settings: ReadSettings, { isOurs, held }: { readonly isOurs: boolean; readonly held?: HeldPages }) {
    this.settings = settings
    this.isOurs = isOurs
    this.held = held
  }

  async take(kind: string, payload: Uint8Array, where: string): Promise<void> {
    if ((kind === 'head') !== (this.head === undefined)) throw badFile(where, 'the head does not come first, and once')
    switch (kind) {
      case 'head': this.head = checked(headShape, decodePlain(payload), where); break
      case 'apart': this.takeApart(payload, where); break
      case 'facts': this.facts = checked(factsShape, decodePlain(payload), where); break
      case 'pages': this.takePages(payload, where); break
      case 'index': this.takeIndex(payload, where); break
      default: this.tree.add(decodePlain(payload, await this.apart), where)
    }
  }

  /** They are looked for while pages come. */
  private takeApart(payload: Uint8Array, where: string): void {
    if (this.apart !== undefined) throw badFile(where, 'it does not come once')
    const names = checked(apartShape, decodePlain(payload), where)
    const { apart: given = [] } = this.settings
    this.apart = given === 'named' ? Promise.resolve(names.map(({ sha256 }) => sha256)) : findApart(names, given)
    this.apart.catch(() => undefined)
  }

  private takePages(payload: Uint8Array, where: string): void {
    const { pool, room } = this.settings
    if (payload.length === 0 || payload.length % PAGE_SIZE !== 0) throw badFile(where, 'it has no whole pages')
    const own = payload.byteOffset % 4 === 0 ? payload : new Uint8Array(payload)
    const words = new Uint32Array(own.buffer, own.byteOffset, own.length / 4)
    this.checkRoom(words.length / PAGE_WORDS, room)
    if (this.isOurs) this.ids.push(...pool.adopt(words))
    else for (let at = 0; at < words.length; at += PAGE_WORDS) this.ids.push(pool.take(words, at))
    while (this.isGiven.length < this.ids.length) this.isGiven.push(false)
  }

  private checkRoom(count: number, room: number): void {
    if (this.ids.length + count <= room) return
    throw new XenError('OUT_OF_MEMORY', `the file has more pages than moments may take (${room})`, { details: { room } })
  }

  /** Pages that stay in a file that is held. */
  passPages({ record, offset }: { readonly record: PageRecord; readonly offset: number }, where: string): void {
    const { pool, room } = this.settings
    this.checkRoom(record.count, room)
    this.ids.push(...pool.awaitPages(record.count, this.held!.add({ ...record, offset, where, number: this.ids.length })))
    while (this.isGiven.length < this.ids.length) this.isGiven.push(false)
  }

  private takeIndex(payload: Uint8Array, where: string): void {
    const { pool } = this.settings
    const space = this.indexes.length
    const length = space === 0 ? this.head!.pages : this.head!.rows
    if (payload.length % 8 !== 4 || space > 1) throw badFile(where, 'it is no index')
    const words = new Uint32Array(new Uint8Array(payload).buffer)
    if (words[0] !== space) throw badFile(where, 'indexes are out of order')
    const count = (words.length - 1) / 2
    const numbers = new Uint32Array(count)
    const ids = new Uint32Array(count)
    const pages = new Uint32Array(count)
    for (let i = 0; i < count; i += 1) {
      const number = words[1 + 2 * i]!
      const page = words[2 + 2 * i]! - 1
      if (number >= length || (i > 0 && number <= numbers[i - 1]!) || page < 0 || page >= this.ids.length) {
        throw badFile(where, `page ${page + 1} at ${number}`)
      }
      numbers[i] = number
      ids[i] = this.ids[page]!
      pages[i] = page
    }
    if (space === 0) this.places = { numbers, pages }
    for (let i = 0; i < count; i += 1) this.give(pages[i]!, pool)
    const zero = PageIndex.zero(pool, length)
    this.indexes.push(zero.edit(numbers, ids))
    zero.release()
  }

  /** What was held for the file is held for the index now; what stands at several places is held for each. */
  private give(page: number, pool: PagePool): void {
    if (this.isGiven[page] === true) pool.hold(this.ids[page]!)
    this.isGiven[page] = true
  }

  async finish(): Promise<FileContent> {
    await this.apart
    const { head, facts, indexes: [memory, rows] } = this
    if (head === undefined || facts === undefined || memory === undefined || rows === undefined) throw badFile('its end', 'something is missing')
    const content = { head, facts, memory, rows, tree: this.tree.finish(), held: this.heldContent() }
    this.dropRest()
    return content
  }

  private heldContent(): HeldContent | undefined {
    const { held, ids, places, settings: { pool } } = this
    if (held === undefined) return undefined
    // Its sample is looked at where its pages go.
    if (this.isGiven.includes(false)) throw badFile('its indexes', 'a page stands nowhere')
    return { fill: (memory) => held.fill(memory, { ...places!, count: ids.length }, (page) => pool.wordsOf(ids[page]!)) }
  }

  /** Lets everything go. */
  abandon(): void {
    this.dropRest()
    for (const index of this.indexes) index.release()
  }

  private dropRest(): void {
    this.ids.forEach((id, i) => {
      if (this.isGiven[i] !== true) this.settings.pool.drop(id)
    })
  }
}

const packingOf = (header: Uint8Array): number => new DataView(header.buffer, header.byteOffset, HEADER_BYTES).getUint32(12, true)

/** The way in which the body behind a header is packed. Throws INVALID_STREAM, NOT_SUPPORTED. */
function compressionBehind(header: Uint8Array, given: ReadSettings['compression']): Compression {
  const view = new DataView(header.buffer, header.byteOffset, HEADER_BYTES)
  if (!MAGIC.every((byte, i) => header[i] === byte)) throw badFile('the header', 'it is no file of a moment')
  const version = view.getUint32(8, true)
  if (version !== FILE_VERSION) throw new XenError('NOT_SUPPORTED', `the file is of version ${version}, not ${FILE_VERSION}`, { details: { version } })
  if (view.getUint32(16, true) !== 0 || view.getUint32(20, true) !== 0) throw badFile('the header', 'what is reserved is not zero')
  return compressionOf(packingOf(header), [given ?? []].flat())
}

/** Takes records until the last. Throws INVALID_STREAM, where something follows it, too. */
async function takeAll(body: ByteSource, reading: Reading, { hash = 'all', blocks }: Pick<ReadSettings, 'hash'> & { readonly blocks?: HeldBlocks }): Promise<void> {
  for (let place = 1; ; place += 1) {
    const passed = body.ahead === 0 ? blocks?.passPages() : undefined
    if (passed !== undefined) {
      reading.passPages(passed, `record ${place} (pages)`)
      continue
    }
    const { kind, payload } = await readRecord(body, place, hash)
    if (kind === 'end') break
    await reading.take(kind, payload, `record ${place} (${kind})`)
  }
  if (!await body.isAtEnd('the end')) throw badFile('its end', 'something follows it')
}

/** Reads a file whole. Rejects with INVALID_STREAM, naming the record; NOT_SUPPORTED; OUT_OF_MEMORY; IO. Then no page is left in the pool. */
export const readMomentFile = (input: ByteInput, settings: ReadSettings): Promise<FileContent> =>
  ('fillNow' in input ? readHeldFile(input, settings) : readStream(input, settings))

/** A file that is trusted and not packed keeps its pages until they are wanted; every other is read as it comes. */
async function readHeldFile(file: HeldFile, settings: ReadSettings): Promise<FileContent> {
  const held = new HeldPages(file)
  try {
    const header = new Uint8Array(Math.min(HEADER_BYTES, file.size))
    file.fillNow(header, 0)
    const isUnpacked = header.length === HEADER_BYTES && packingOf(header) === compressionNumber(NO_COMPRESSION)
    if (settings.hash !== 'sample' || !isUnpacked) return await readStream(file, settings)
    compressionBehind(header, undefined)
    return await takeHeld(new Reading(settings, { isOurs: true, held }), new HeldBlocks(file, HEADER_BYTES))
  } catch (error) {
    throw unreadable(error)
  } finally {
    held.release()
  }
}

async function takeHeld(reading: Reading, blocks: HeldBlocks): Promise<FileContent> {
  try {
    await takeAll(new ByteSource(blocks), reading, { hash: 'sample', blocks })
    return await reading.finish()
  } catch (error) {
    reading.abandon()
    throw error
  }
}

async function readStream(input: ByteInput, settings: ReadSettings): Promise<FileContent> {
  const outer = new ByteSource(input)
  let reading: Reading | undefined
  try {
    const compression = compressionBehind(await outer.read(HEADER_BYTES, 'the header'), settings.compression)
    reading = new Reading(settings, { isOurs: compression.name !== NO_COMPRESSION.name || 'given' in input })
    await takeAll(new ByteSource(readBlocks(outer, compression)), reading, settings.hash === undefined ? {} : { hash: settings.hash })
    return await reading.finish()
  } catch (error) {
    reading?.abandon()
    throw error
  } finally {
    await outer.close().catch(() => undefined)
  }
}
