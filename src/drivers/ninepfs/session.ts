/**
 * What a front-end has said and has open: the version and size of messages that were agreed on, its fids. One message is carried out at a time, in the
 * order in which they came, whatever ring they came by. It knows messages and the store, no rings.
 *
 * Reference: diod, 9P2000.L protocol.
 */
import { shape, XenError, type StateOf } from '../../util/index.ts'
import { FILE_ERRORS, type FileErrorName } from './file-errors.ts'
import { errnoOf, fileError, type Answer, type FileStore, type OpenFile, type OpenHow } from './file-store.ts'
import { Fids, type Fid, type FileCounts, type SessionView } from './fids.ts'
import { MessageReader, MessageWriter } from './message.ts'
import { OPERATIONS } from './operations.ts'
import { DATA_HEADER, DIALECT, FID_LIMIT, HEADER, MAX_MESSAGE, MESSAGE, MIN_MESSAGE, NO_FID } from './protocol.ts'
import { perform, wait, type Steps } from './steps.ts'

const how = /* @__PURE__ */ shape.record<OpenHow>({ read: shape.flag, write: shape.flag, append: shape.flag, truncate: shape.flag })
const name = /* @__PURE__ */ shape.text(255)
const kind = /* @__PURE__ */ shape.oneOf('file', 'folder', 'link', 'other')
const count = shape.time

const fidState = /* @__PURE__ */ shape.record({
  number: shape.word, uid: shape.word,
  /** Undefined for what was removed while it is open. */
  path: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.list(name, 4096)),
  opened: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.record({ identity: shape.time, how })),
  listing: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({ name, kind, identity: shape.time }), 2 ** 24)),
})

/** What was agreed on, the fids, what was done. */
export const sessionState = /* @__PURE__ */ shape.record({
  messageSize: shape.word,
  fids: /* @__PURE__ */ shape.list(fidState, FID_LIMIT),
  counts: /* @__PURE__ */ shape.record<FileCounts>({ requests: count, reads: count, writes: count, bytesRead: count, bytesWritten: count, errors: count }),
})
/** A saved session. */
export type SessionState = StateOf<typeof sessionState>

/** A store whose open files can be opened again by their numbers, whatever has become of their names. */
export interface ReopeningStore {
  openAgain(identity: number, how: OpenHow): OpenFile
}

/** What a session works with. */
export interface SessionOptions {
  readonly store: FileStore
  /** Longest message that its rings can carry. */
  readonly mostBytes: number
  /** The store has thrown what is no error of a file. */
  onStoreFailed(error: unknown): void
}

/** One front-end's session. */
export class Session implements SessionView {
  readonly counts: FileCounts = { requests: 0, reads: 0, writes: 0, bytesRead: 0, bytesWritten: 0, errors: 0 }
  readonly store: FileStore
  readonly wait = wait
  private readonly options: SessionOptions
  private table = new Fids()
  /** 0 while nothing was agreed on. */
  private messageSize = 0

  constructor(options: SessionOptions) {
    this.options = options
    this.store = options.store
  }

  /** Another table for each version that is agreed on. */
  get fids(): Fids {
    return this.table
  }

  /** Longest message that it takes. */
  get limit(): number {
    return this.messageSize === 0 ? Math.min(MAX_MESSAGE, this.options.mostBytes) : this.messageSize
  }

  get dataLimit(): number {
    return this.limit - DATA_HEADER
  }

  /** Carries one message out; the answer, at once or later. Never throws, never rejects. */
  handle(bytes: Uint8Array): Answer<Uint8Array> {
    return perform(this.answer(new MessageReader(bytes)))
  }

  /** The answer to a message that is not carried out. */
  refused(bytes: Uint8Array, errno: FileErrorName): Uint8Array {
    this.counts.requests += 1
    return this.refuse(fileError(errno), new MessageReader(bytes).tag)
  }

  private *answer(message: MessageReader): Steps<Uint8Array> {
    const { type, tag } = message
    this.counts.requests += 1
    const reply = new MessageWriter()
    try {
      if (type === MESSAGE.VERSION) yield* this.version(message, reply)
      else if (this.messageSize === 0) throw fileError('EPROTO', 'no version was agreed on')
      else if (type === MESSAGE.ATTACH) yield* this.attach(message, reply)
      else {
        const operation = OPERATIONS.get(type)
        if (operation === undefined) throw fileError('EOPNOTSUPP', `there is no message ${type}`)
        yield* operation(this, message, reply)
      }
      // Whatever an operation has to say fits where a message does.
      if (reply.length > this.limit) throw fileError('EMSGSIZE', 'the answer is longer than was agreed on')
      return reply.message(type + 1, tag)
    } catch (error) {
      return this.refuse(error, tag)
    }
  }

  private refuse(error: unknown, tag: number): Uint8Array {
    const errno = errnoOf(error)
    this.counts.errors += 1
    if (errno === undefined) this.options.onStoreFailed(error)
    return new MessageWriter().u32(FILE_ERRORS[errno ?? 'EIO']).message(MESSAGE.LERROR + 1, tag)
  }

  /** Everything begins anew. */
  private *version(message: MessageReader, reply: MessageWriter): Steps<void> {
    const [size, dialect] = [message.u32(), message.text()]
    if (size < MIN_MESSAGE) throw fileError('EMSGSIZE', `messages of ${size} bytes are too short`)
    yield* this.closeAll()
    this.messageSize = dialect === DIALECT ? Math.min(size, MAX_MESSAGE, this.options.mostBytes) : 0
    reply.u32(Math.min(size, MAX_MESSAGE, this.options.mostBytes)).text(dialect === DIALECT ? DIALECT : 'unknown')
  }

  private *attach(message: MessageReader, reply: MessageWriter): Steps<void> {
    const { fids, store } = this
    const [number, authentication] = [message.u32(), message.u32()]
    message.text()
    const [folder, uid] = [message.text(), message.u32()]
    if (authentication !== NO_FID) throw fileError('EBADF', 'nobody has to say who he is')
    fids.checkFree(number)
    const names = folder.split('/').filter((step) => step !== '' && step !== '.')
    if (names.some((step) => step === '..' || step.includes('\0'))) throw fileError('EACCES', 'a mount begins within the folder')
    let place = fids.places.root
    for (const step of names) place = fids.places.at(place, step)
    const stat = yield* wait(store.stat(place.path))
    if (names.length > 0 && stat.kind !== 'folder') throw fileError('ENOTDIR')
    fids.add(number, place, uid === NO_FID ? 0 : uid)
    reply.qid(stat)
  }

  private *closeAll(): Steps<void> {
    const before = this.table
    this.table = new Fids()
    for (const fid of [...before.all()]) {
      const file = before.drop(fid)
      try {
        if (file !== undefined) yield* wait(file.close())
      } catch (error) {
        if (errnoOf(error) === undefined) this.options.onStoreFailed(error)
      }
    }
  }

  /** Closes all that it has open; what a store fails with is told. */
  end(): Answer<void> {
    this.messageSize = 0
    return perform(this.closeAll())
  }

  // State

  /** What it is, where every open file can be opened again: `identityOf` tells its number. */
  save(identityOf: (file: OpenFile) => number): SessionState {
    const fids = [...this.table.all()].map((fid): SessionState['fids'][number] => ({
      number: fid.number, uid: fid.uid, path: pathOf(fid), opened: fid.opened && { identity: identityOf(fid.opened.file), how: { ...fid.opened.how } },
      listing: fid.listing?.map((entry) => ({ ...entry })),
    }))
    return { messageSize: this.messageSize, fids, counts: { ...this.counts } }
  }

  /** Goes on where the saved one was. Throws INVALID_STATE for what cannot be. */
  load({ messageSize, fids, counts }: SessionState, store: ReopeningStore): void {
    if (messageSize !== 0 && (messageSize < MIN_MESSAGE || messageSize > Math.min(MAX_MESSAGE, this.options.mostBytes))) throw badSession(`messages of ${messageSize} bytes`)
    const table = new Fids()
    for (const { number, uid, path, opened, listing } of fids) {
      let place = table.places.root
      for (const step of path ?? []) place = table.places.at(place, step)
      const fid = withoutErrno(() => {
        table.checkFree(number)
        return table.add(number, place, uid)
      })
      if (path === undefined) fid.place = gone()
      if (opened !== undefined) table.keepOpen(fid, { file: store.openAgain(opened.identity, opened.how), how: opened.how })
      fid.listing = listing
    }
    this.table = table
    this.messageSize = messageSize
    Object.assign(this.counts, counts)
  }
}

const badSession = (what: string): XenError => new XenError('INVALID_STATE', `a session has ${what}`)

function withoutErrno<T>(work: () => T): T {
  try {
    return work()
  } catch {
    throw badSession('fids that it cannot have')
  }
}

/** A place of something that was removed. */
function gone(): Fid['place'] {
  const { places } = new Fids()
  const place = places.at(places.root, 'removed')
  place.isThere = false
  return place
}

function pathOf({ place }: Fid): string[] | undefined {
  try {
    return [...place.path]
  } catch {
    return undefined // It was removed.
  }
}

/** Bytes of a message's header: its length, type and tag. */
export const headerOf = (bytes: Uint8Array): number => new DataView(bytes.buffer, bytes.byteOffset, HEADER).getUint32(0, true)
