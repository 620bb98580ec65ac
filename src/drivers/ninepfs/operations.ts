/**
 * What each message of 9P2000.L does to a front-end's fids and to the store behind them. A handler reads the message's fields, does it, and writes the
 * answer's fields; what it throws is answered as an error. Who may do what is the guest's kernel's to say among its users, by modes and owners.
 *
 * Answered as QEMU does: locks are granted without being kept, as a guest's kernel keeps those of its own processes and nobody else shares them; there
 * are no extended attributes; device nodes, pipes and sockets are refused.
 *
 * Reference: diod, 9P2000.L protocol; QEMU, hw/9pfs/9p.c; Linux, fs/9p.
 */
import { fileError, errnoOf, type FileChanges, type FilePath, type FileStat, type ListedFile, type OpenHow } from './file-store.ts'
import { checkChangeable, type Fid, type SessionView } from './fids.ts'
import { MessageReader, MessageWriter, textBytes } from './message.ts'
import { FILE_TYPE, GETATTR_BASIC, LOCK, MAX_WALK, MESSAGE, OPEN_FLAG, PATH_LIMIT, REMOVE_FOLDER, SETATTR, typesOf } from './protocol.ts'
import type { Steps } from './steps.ts'
import type { Place } from './places.ts'

/** Does what one message asks for. */
export type Operation = (session: SessionView, message: MessageReader, reply: MessageWriter) => Steps<void>

const PERMISSIONS = 0o7777
const BLOCK = 4096
/** Of st_blocks. */
const SECTOR = 512

const howOf = (flags: number): OpenHow => {
  const access = flags & OPEN_FLAG.ACCESS
  return {
    read: access !== OPEN_FLAG.WRONLY, write: access === OPEN_FLAG.WRONLY || access === OPEN_FLAG.RDWR,
    append: (flags & OPEN_FLAG.APPEND) !== 0, truncate: (flags & OPEN_FLAG.TRUNCATE) !== 0,
  }
}

const changes = ({ write, truncate }: OpenHow): boolean => write || truncate

/** What a fid stands for, also where its name is gone and it is open. */
function* statOf(session: SessionView, { place, opened }: Fid): Steps<FileStat> {
  if (!place.isThere && opened !== undefined) return yield* session.wait(opened.file.stat())
  return yield* session.wait(session.store.stat(place.path))
}

/** The path of a name below a fid's folder. */
const below = (folder: Fid, name: string): FilePath => {
  const path = [...folder.place.path, name]
  if (path.reduce((sum, step) => sum + 1 + textBytes(step).length, 0) > PATH_LIMIT) throw fileError('ENAMETOOLONG')
  return path
}

// Walking

function* walk(session: SessionView, message: MessageReader, reply: MessageWriter): Steps<void> {
  const { fids, store } = session
  const [fid, wanted, count] = [fids.get(message.u32()), message.u32(), message.u16()]
  if (count > MAX_WALK) throw fileError('EINVAL', `a walk has ${count} names`)
  const names = Array.from({ length: count }, () => message.step())
  if (wanted !== fid.number) fids.checkFree(wanted)
  const found: FileStat[] = []
  let place: Place = fid.place
  for (const name of names) {
    try {
      const next = name === '..' ? place.parent ?? place : name === '.' ? place : fids.places.at(place, name)
      found.push(yield* session.wait(store.stat(next.path)))
      place = next
    } catch (error) {
      if (found.length === 0) throw error
      break
    }
  }
  if (found.length === count) {
    if (wanted !== fid.number) fids.add(wanted, place, fid.uid)
    else if (fid.opened !== undefined || fid.listing !== undefined) throw fileError('EINVAL', 'a fid that is open cannot walk')
    else fids.move(fid, place)
  }
  reply.u16(found.length)
  for (const stat of found) reply.qid(stat)
}

function* clunk(session: SessionView, message: MessageReader): Steps<void> {
  const { fids } = session
  const file = fids.drop(fids.get(message.u32()))
  if (file !== undefined) yield* session.wait(file.close())
}

// Attributes

function* getattr(session: SessionView, message: MessageReader, reply: MessageWriter): Steps<void> {
  const stat = yield* statOf(session, session.fids.get(message.u32()))
  reply.number(GETATTR_BASIC).qid(stat).u32(typesOf(stat.kind).mode | (stat.mode & PERMISSIONS)).u32(stat.uid).u32(stat.gid)
  reply.number(stat.links).number(0).number(stat.size).number(BLOCK).number(Math.ceil(stat.size / SECTOR))
  reply.time(stat.accessed).time(stat.modified).time(stat.changed)
  // Birth, generation, version of the data: not told.
  reply.number(0).number(0).number(0).number(0)
}

/** The fields of a Tsetattr that count. */
function changesOf(message: MessageReader): FileChanges {
  const [valid, mode, uid, gid] = [message.u32(), message.u32(), message.u32(), message.u32()]
  const has = (flag: number): boolean => (valid & flag) !== 0
  const size = has(SETATTR.SIZE) ? message.u64() : (message.wide(), 0)
  const [accessed, modified] = [message.time(), message.time()]
  return {
    ...(has(SETATTR.MODE) && { mode: mode & PERMISSIONS }), ...(has(SETATTR.UID) && { uid }), ...(has(SETATTR.GID) && { gid }), ...(has(SETATTR.SIZE) && { size }),
    ...(has(SETATTR.ATIME) && { accessed: has(SETATTR.ATIME_SET) ? accessed : 'now' as const }),
    ...(has(SETATTR.MTIME) && { modified: has(SETATTR.MTIME_SET) ? modified : 'now' as const }),
  }
}

function* setattr(session: SessionView, message: MessageReader): Steps<void> {
  const fid = session.fids.get(message.u32())
  const wanted = changesOf(message)
  checkChangeable(session)
  if (!fid.place.isThere && fid.opened !== undefined) yield* session.wait(fid.opened.file.change(wanted))
  else yield* session.wait(session.store.change(fid.place.path, wanted))
}

function* statfs(session: SessionView, message: MessageReader, reply: MessageWriter): Steps<void> {
  session.fids.get(message.u32())
  const { blockSize, blocks, freeBlocks, files, freeFiles } = yield* session.wait(session.store.space())
  // V9FS_MAGIC.
  reply.u32(0x0102_1997).u32(blockSize).number(blocks).number(freeBlocks).number(freeBlocks).number(files).number(freeFiles).number(0).u32(255)
}

function* readlink(session: SessionView, message: MessageReader, reply: MessageWriter): Steps<void> {
  reply.text(yield* session.wait(session.store.readLink(session.fids.get(message.u32()).place.path)))
}

// Files

function* lopen(session: SessionView, message: MessageReader, reply: MessageWriter): Steps<void> {
  const { fids, store } = session
  const [fid, flags] = [fids.get(message.u32()), message.u32()]
  fids.checkOpen(fid)
  const { path } = fid.place
  const stat = yield* session.wait(store.stat(path))
  const how = howOf(flags)
  if (stat.kind === 'folder') {
    if (changes(how)) throw fileError('EISDIR')
    fid.listing = []
  } else {
    if ((flags & OPEN_FLAG.DIRECTORY) !== 0) throw fileError('ENOTDIR')
    if (stat.kind === 'link') throw fileError('ELOOP', 'links are followed by the guest')
    if (stat.kind === 'other') throw fileError('EACCES', 'it is no file')
    if (changes(how)) checkChangeable(session)
    fids.keepOpen(fid, { file: yield* session.wait(store.open(path, how)), how })
  }
  reply.qid(stat).u32(0)
}

/** Opens a file that is to be made unless it is there. */
function* openNew(session: SessionView, path: FilePath, { how, exclusive, facts }: { readonly how: OpenHow; readonly exclusive: boolean; readonly facts: { readonly mode: number; readonly uid: number; readonly gid: number } }) {
  const { store } = session
  try {
    return yield* session.wait(store.create(path, how, facts))
  } catch (error) {
    if (exclusive || errnoOf(error) !== 'EEXIST') throw error
    const { kind } = yield* session.wait(store.stat(path))
    if (kind !== 'file') throw error
    return yield* session.wait(store.open(path, how))
  }
}

function* lcreate(session: SessionView, message: MessageReader, reply: MessageWriter): Steps<void> {
  const { fids } = session
  const [fid, name, flags, mode, gid] = [fids.get(message.u32()), message.name('EEXIST'), message.u32(), message.u32(), message.u32()]
  checkChangeable(session)
  fids.checkOpen(fid)
  const [path, how] = [below(fid, name), howOf(flags)]
  const file = yield* openNew(session, path, { how, exclusive: (flags & OPEN_FLAG.EXCLUSIVE) !== 0, facts: { mode: mode & PERMISSIONS, uid: fid.uid, gid } })
  fids.keepOpen(fid, { file, how })
  fids.move(fid, fids.places.at(fid.place, name))
  reply.qid(yield* session.wait(file.stat())).u32(0)
}

function* read(session: SessionView, message: MessageReader, reply: MessageWriter): Steps<void> {
  const [fid, offset, count] = [session.fids.get(message.u32()), message.u64(), message.u32()]
  if (fid.listing !== undefined) throw fileError('EISDIR')
  if (fid.opened?.how.read !== true) throw fileError('EBADF', 'it is not open for reading')
  const wanted = Math.min(count, session.dataLimit)
  // No store is believed to answer no more than it was asked for.
  const bytes = (yield* session.wait(fid.opened.file.read(offset, wanted))).subarray(0, wanted)
  session.counts.reads += 1
  session.counts.bytesRead += bytes.length
  reply.u32(bytes.length).bytes(bytes)
}

function* write(session: SessionView, message: MessageReader, reply: MessageWriter): Steps<void> {
  const [fid, offset, count] = [session.fids.get(message.u32()), message.u64(), message.u32()]
  const bytes = message.bytes(count)
  if (fid.opened?.how.write !== true) throw fileError('EBADF', 'it is not open for writing')
  if (offset + count > Number.MAX_SAFE_INTEGER) throw fileError('EFBIG')
  const written = yield* session.wait(fid.opened.file.write(offset, bytes))
  session.counts.writes += 1
  session.counts.bytesWritten += written
  reply.u32(written)
}

function* fsync(session: SessionView, message: MessageReader): Steps<void> {
  const { opened, listing } = session.fids.get(message.u32())
  if (opened === undefined && listing === undefined) throw fileError('EBADF')
  if (opened !== undefined) yield* session.wait(opened.file.sync())
}

function* lock(session: SessionView, message: MessageReader, reply: MessageWriter): Steps<void> {
  const { opened } = session.fids.get(message.u32())
  if (opened === undefined) throw fileError('EBADF')
  reply.u8(LOCK.SUCCESS)
}

function* getlock(session: SessionView, message: MessageReader, reply: MessageWriter): Steps<void> {
  session.fids.get(message.u32())
  message.u8()
  const [start, length, process, client] = [message.wide(), message.wide(), message.u32(), message.text()]
  reply.u8(LOCK.UNLOCKED).u64(start).u64(length).u32(process).text(client)
}

// Folders

/** The folder's names with its own and its parent's. */
function* listingOf(session: SessionView, { place }: Fid): Steps<readonly ListedFile[]> {
  const { store } = session
  const entries = yield* session.wait(store.list(place.path))
  const own = yield* session.wait(store.stat(place.path))
  const above = yield* session.wait(store.stat((place.parent ?? place).path))
  return [{ name: '.', kind: 'folder', identity: own.identity }, { name: '..', kind: 'folder', identity: above.identity }, ...entries]
}

function* readdir(session: SessionView, message: MessageReader, reply: MessageWriter): Steps<void> {
  const [fid, offset, count] = [session.fids.get(message.u32()), message.u64(), message.u32()]
  if (fid.listing === undefined) throw fileError(fid.opened === undefined ? 'EBADF' : 'ENOTDIR')
  if (offset === 0) fid.listing = yield* listingOf(session, fid)
  const entries = new MessageWriter()
  const [start, most] = [entries.length, Math.min(count, session.dataLimit)]
  for (let at = offset; at < fid.listing.length; at += 1) {
    const { name, kind, identity } = fid.listing[at]!
    const { qid, entry } = typesOf(kind)
    const bytes = textBytes(name)
    if (entries.length - start + 24 + bytes.length > most) break
    entries.u8(qid).u32(0).number(identity).number(at + 1).u8(entry).u16(bytes.length).bytes(bytes)
  }
  reply.u32(entries.length - start).bytes(entries.finish().subarray(start))
}

function* symlink(session: SessionView, message: MessageReader, reply: MessageWriter): Steps<void> {
  const [folder, name, target, gid] = [session.fids.get(message.u32()), message.name('EEXIST'), message.text(), message.u32()]
  checkChangeable(session)
  if (target === '' || target.includes('\0')) throw fileError('ENOENT', 'a link has a text')
  if (textBytes(target).length >= PATH_LIMIT) throw fileError('ENAMETOOLONG')
  const path = below(folder, name)
  yield* session.wait(session.store.symlink(path, target, { mode: 0o777, uid: folder.uid, gid }))
  reply.qid(yield* session.wait(session.store.stat(path)))
}

/** Files alone: nothing here stands for a device, and a pipe or socket of a guest is nobody's business on the host. */
function* mknod(session: SessionView, message: MessageReader, reply: MessageWriter): Steps<void> {
  const [folder, name, mode] = [session.fids.get(message.u32()), message.name('EEXIST'), message.u32()]
  message.u32()
  message.u32()
  const gid = message.u32()
  checkChangeable(session)
  const type = mode & FILE_TYPE.MASK
  if (type !== FILE_TYPE.FILE && type !== 0) throw fileError('EPERM', 'there are no device nodes, pipes and sockets')
  const path = below(folder, name)
  const file = yield* session.wait(session.store.create(path, howOf(OPEN_FLAG.WRONLY), { mode: mode & PERMISSIONS, uid: folder.uid, gid }))
  yield* session.wait(file.close())
  reply.qid(yield* session.wait(session.store.stat(path)))
}

function* mkdir(session: SessionView, message: MessageReader, reply: MessageWriter): Steps<void> {
  const [folder, name, mode, gid] = [session.fids.get(message.u32()), message.name('EEXIST'), message.u32(), message.u32()]
  checkChangeable(session)
  const path = below(folder, name)
  yield* session.wait(session.store.makeFolder(path, { mode: mode & PERMISSIONS, uid: folder.uid, gid }))
  reply.qid(yield* session.wait(session.store.stat(path)))
}

function* link(session: SessionView, message: MessageReader): Steps<void> {
  const [folder, fid, name] = [session.fids.get(message.u32()), session.fids.get(message.u32()), message.name('EEXIST')]
  checkChangeable(session)
  yield* session.wait(session.store.link(fid.place.path, below(folder, name)))
}

interface Name {
  readonly folder: Place
  readonly name: string
}

function* move(session: SessionView, from: Name, to: Name): Steps<void> {
  checkChangeable(session)
  const [source, target] = [[...from.folder.path, from.name], [...to.folder.path, to.name]]
  if (textBytes(target.join('/')).length >= PATH_LIMIT) throw fileError('ENAMETOOLONG')
  if (source.length < target.length && source.every((step, at) => step === target[at])) throw fileError('EINVAL', 'a folder cannot be put into itself')
  yield* session.wait(session.store.rename(source, target))
  session.fids.places.renamed(from, to)
}

function* rename(session: SessionView, message: MessageReader): Steps<void> {
  const [fid, folder, name] = [session.fids.get(message.u32()), session.fids.get(message.u32()), message.name('EISDIR')]
  const { place } = fid
  if (place.parent === undefined) throw fileError('EBUSY', 'the root has no name')
  yield* move(session, { folder: place.parent, name: place.name }, { folder: folder.place, name })
}

function* renameat(session: SessionView, message: MessageReader): Steps<void> {
  const [from, name, to, wanted] = [session.fids.get(message.u32()), message.name('EISDIR'), session.fids.get(message.u32()), message.name('EISDIR')]
  yield* move(session, { folder: from.place, name }, { folder: to.place, name: wanted })
}

function* removeName(session: SessionView, { folder, name }: Name, kind: 'file' | 'folder'): Steps<void> {
  checkChangeable(session)
  yield* session.wait(session.store.remove([...folder.path, name], kind))
  session.fids.places.removed(folder, name)
}

function* unlinkat(session: SessionView, message: MessageReader): Steps<void> {
  const [folder, name, flags] = [session.fids.get(message.u32()), message.name('EINVAL'), message.u32()]
  if ((flags & ~REMOVE_FOLDER) !== 0) throw fileError('EINVAL')
  yield* removeName(session, { folder: folder.place, name }, flags === 0 ? 'file' : 'folder')
}

/** Whatever comes of it, the fid is gone. */
function* remove(session: SessionView, message: MessageReader): Steps<void> {
  const { fids, store } = session
  const fid = fids.get(message.u32())
  const { place } = fid
  try {
    if (place.parent === undefined) throw fileError('EBUSY', 'the root cannot be removed')
    const { kind } = yield* session.wait(store.stat(place.path))
    yield* removeName(session, { folder: place.parent, name: place.name }, kind === 'folder' ? 'folder' : 'file')
  } finally {
    const file = fids.drop(fid)
    if (file !== undefined) yield* session.wait(file.close())
  }
}

// What there is none of

function* noAttributes(): Steps<void> {
  throw fileError('EOPNOTSUPP', 'there are no extended attributes')
}

function* noAuthentication(): Steps<void> {
  throw fileError('EOPNOTSUPP', 'nobody has to say who he is')
}

/** Requests are answered in their order, each before the next is looked at: whatever is to be given up has been answered. */
function* flush(): Steps<void> {}

/** What is done for each type of message, but for the two that begin a session. */
export const OPERATIONS: ReadonlyMap<number, Operation> = /* @__PURE__ */ new Map<number, Operation>([
  [MESSAGE.STATFS, statfs], [MESSAGE.LOPEN, lopen], [MESSAGE.LCREATE, lcreate], [MESSAGE.SYMLINK, symlink], [MESSAGE.MKNOD, mknod],
  [MESSAGE.RENAME, rename], [MESSAGE.READLINK, readlink], [MESSAGE.GETATTR, getattr], [MESSAGE.SETATTR, setattr],
  [MESSAGE.XATTRWALK, noAttributes], [MESSAGE.XATTRCREATE, noAttributes], [MESSAGE.READDIR, readdir], [MESSAGE.FSYNC, fsync],
  [MESSAGE.LOCK, lock], [MESSAGE.GETLOCK, getlock], [MESSAGE.LINK, link], [MESSAGE.MKDIR, mkdir], [MESSAGE.RENAMEAT, renameat],
  [MESSAGE.UNLINKAT, unlinkat], [MESSAGE.AUTH, noAuthentication], [MESSAGE.FLUSH, flush], [MESSAGE.WALK, walk], [MESSAGE.READ, read],
  [MESSAGE.WRITE, write], [MESSAGE.CLUNK, clunk], [MESSAGE.REMOVE, remove],
])
