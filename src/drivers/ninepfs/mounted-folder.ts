/** A folder as a guest in TypeScript has it mounted: whole files by their paths. Whoever wants messages of their own has the client. */
import { joinBytes } from '../../util/index.ts'
import type { FileClient } from './client.ts'
import { fileError, type FileKind } from './file-store.ts'
import type { MessageReader } from './message.ts'
import { FILE_TYPE, IO_HEADER, MESSAGE, NO_FID, OPEN_FLAG, REMOVE_FOLDER } from './protocol.ts'

/** What a guest is told of a file. */
export interface MountedStat {
  readonly kind: FileKind
  readonly mode: number
  readonly size: number
  readonly uid: number
  readonly gid: number
}

const ROOT = 0
const PERMISSIONS = 0o7777
const KINDS: Readonly<Record<number, FileKind>> = { [FILE_TYPE.FOLDER]: 'folder', [FILE_TYPE.LINK]: 'link', [FILE_TYPE.FILE]: 'file' }

/** Names of a path such as `/etc/motd`. */
const namesOf = (path: string): string[] => path.split('/').filter((name) => name !== '')

/** A mounted folder. Calls reject with IO and `details.errno`, and with CLOSED when it goes. Links are not followed. */
export class MountedFolder {
  /** By which it was mounted. */
  readonly tag: string
  /** What messages go by. */
  readonly client: FileClient
  private next = ROOT + 1

  /** For `FolderFrontend` alone. */
  constructor(tag: string, client: FileClient) {
    this.tag = tag
    this.client = client
  }

  /** Attaches to the root; before anything else. */
  async attach(): Promise<void> {
    await this.client.request(MESSAGE.ATTACH, (message) => message.u32(ROOT).u32(NO_FID).text('root').text('').u32(0))
  }

  /** Does something with a fid of a path's own. */
  private async at<T>(names: readonly string[], work: (fid: number) => Promise<T>): Promise<T> {
    const fid = this.next
    this.next = this.next + 1 === NO_FID ? ROOT + 1 : this.next + 1
    let from = ROOT
    const pieces = Math.max(1, Math.ceil(names.length / 16))
    try {
      for (let piece = 0; piece < pieces; piece += 1) {
        const part = names.slice(piece * 16, (piece + 1) * 16)
        const reply = await this.client.request(MESSAGE.WALK, (message) => {
          message.u32(from).u32(fid).u16(part.length)
          for (const name of part) message.text(name)
        })
        // A walk that has ended on its way has made no fid.
        if (reply.u16() !== part.length) throw fileError('ENOENT')
        from = fid
      }
      return await work(fid)
    } finally {
      if (from === fid) await this.client.request(MESSAGE.CLUNK, (message) => message.u32(fid))
    }
  }

  private inFolder<T>(path: string, work: (folder: number, name: string) => Promise<T>): Promise<T> {
    const names = namesOf(path)
    return this.at(names.slice(0, -1), (fid) => work(fid, names.at(-1) ?? '.'))
  }

  /** What a path stands for. */
  stat(path: string): Promise<MountedStat> {
    return this.at(namesOf(path), async (fid) => statFrom(await this.client.request(MESSAGE.GETATTR, (message) => message.u32(fid).number(0x7ff))))
  }

  /** The whole contents of a file. */
  readFile(path: string): Promise<Uint8Array> {
    return this.at(namesOf(path), async (fid) => {
      await this.client.request(MESSAGE.LOPEN, (message) => message.u32(fid).u32(0))
      const pieces: Uint8Array[] = []
      for (let offset = 0; ;) {
        const reply = await this.client.request(MESSAGE.READ, (message) => message.u32(fid).number(offset).u32(this.most))
        const piece = reply.bytes(reply.u32())
        if (piece.length === 0) return joinBytes(pieces)
        pieces.push(piece)
        offset += piece.length
      }
    })
  }

  /** Gives a file these contents; it is made where it is not there. */
  writeFile(path: string, bytes: Uint8Array, mode = 0o644): Promise<void> {
    return this.inFolder(path, async (fid, name) => {
      const flags = OPEN_FLAG.RDWR | OPEN_FLAG.CREATE | OPEN_FLAG.TRUNCATE
      await this.client.request(MESSAGE.LCREATE, (message) => message.u32(fid).text(name).u32(flags).u32(mode).u32(0))
      for (let done = 0; done < bytes.length;) {
        const piece = bytes.subarray(done, done + this.most)
        const reply = await this.client.request(MESSAGE.WRITE, (message) => message.u32(fid).number(done).u32(piece.length).bytes(piece))
        // Whatever the back-end says, it is no more than it was given, and something.
        done += Math.min(piece.length, Math.max(1, reply.u32()))
      }
    })
  }

  /** The names in a folder. */
  list(path: string): Promise<string[]> {
    return this.at(namesOf(path), async (fid) => {
      await this.client.request(MESSAGE.LOPEN, (message) => message.u32(fid).u32(0))
      const names: string[] = []
      for (let offset = 0; ;) {
        const reply = await this.client.request(MESSAGE.READDIR, (message) => message.u32(fid).number(offset).u32(this.most))
        const left = reply.u32()
        if (left === 0) return names.filter((name) => name !== '.' && name !== '..')
        offset = entriesOf(reply, left, names)
      }
    })
  }

  /** Makes a folder. */
  async makeFolder(path: string, mode = 0o755): Promise<void> {
    await this.inFolder(path, (fid, name) => this.client.request(MESSAGE.MKDIR, (message) => message.u32(fid).text(name).u32(mode).u32(0)))
  }

  /** Removes a file, a link, or a folder that is empty. */
  async remove(path: string): Promise<void> {
    const { kind } = await this.stat(path)
    await this.inFolder(path, (fid, name) => this.client.request(MESSAGE.UNLINKAT, (message) => message.u32(fid).text(name).u32(kind === 'folder' ? REMOVE_FOLDER : 0)))
  }

  /** Gives something another name; what has it goes. */
  async rename(from: string, to: string): Promise<void> {
    await this.inFolder(from, (source, name) => this.inFolder(to, (target, wanted) =>
      this.client.request(MESSAGE.RENAMEAT, (message) => message.u32(source).text(name).u32(target).text(wanted))))
  }

  /** Makes a symbolic link. */
  async symlink(path: string, target: string): Promise<void> {
    await this.inFolder(path, (fid, name) => this.client.request(MESSAGE.SYMLINK, (message) => message.u32(fid).text(name).text(target).u32(0)))
  }

  /** What a link says. */
  readLink(path: string): Promise<string> {
    return this.at(namesOf(path), async (fid) => (await this.client.request(MESSAGE.READLINK, (message) => message.u32(fid))).text())
  }

  private get most(): number {
    return this.client.messageSize - IO_HEADER
  }
}

function statFrom(reply: MessageReader): MountedStat {
  reply.wide()
  reply.bytes(13)
  const [mode, uid, gid] = [reply.u32(), reply.u32(), reply.u32()]
  reply.wide()
  reply.wide()
  return { kind: KINDS[mode & FILE_TYPE.MASK] ?? 'other', mode: mode & PERMISSIONS, size: reply.u64(), uid, gid }
}

/** Adds the names of a piece of a folder; the offset behind the last. */
function entriesOf(reply: MessageReader, length: number, names: string[]): number {
  let [left, offset] = [length, 0]
  while (left > 0) {
    reply.bytes(13)
    offset = reply.u64()
    reply.u8()
    const size = reply.u16()
    names.push(new TextDecoder().decode(reply.bytes(size)))
    left -= 24 + size
  }
  return offset
}
