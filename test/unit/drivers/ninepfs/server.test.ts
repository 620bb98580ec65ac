/** What each message of 9P2000.L is answered, message by message, and turns of a server of rings. */
import { describe, expect, test } from 'vitest'
import { FILE_ERRORS, MemoryFileStore, MessageReader, MessageWriter, type FileErrorName, type FileStore } from '../../../../src/drivers/index.ts'
import { MESSAGE, OPEN_FILE_LIMIT } from '../../../../src/drivers/ninepfs/protocol.ts'
import { FileServer } from '../../../../src/drivers/ninepfs/server.ts'
import { Session, sessionState } from '../../../../src/drivers/ninepfs/session.ts'
import { FakeHypervisor } from '../../../../src/testing/index.ts'
import { FLEX_FIELDS, sharedPages } from '../../../support/flex-pages.ts'

const NAMES = new Map(Object.entries(FILE_ERRORS).map(([name, number]) => [number as number, name]))
const NO_FID = 0xffff_ffff
type Write = (message: MessageWriter) => void

/** A session over a store; `ask` gives the answer's fields, or the error's name. */
function talk(store: FileStore = new MemoryFileStore({ 'd/e/f': 'text', g: 'other' })) {
  const failures: unknown[] = []
  const session = new Session({ store, mostBytes: 65536, onStoreFailed: (error) => failures.push(error) })
  const send = (type: number, write: Write): MessageReader => {
    const message = new MessageWriter()
    write(message)
    return new MessageReader(session.handle(message.message(type, 7).slice()) as Uint8Array)
  }
  const ask = (type: number, write: Write): MessageReader | string => {
    const reply = send(type, write)
    expect(reply.tag).toBe(7)
    if (reply.type === MESSAGE.LERROR + 1) return NAMES.get(reply.u32()) ?? 'unknown'
    expect(reply.type).toBe(type + 1)
    return reply
  }
  const done = (type: number, write: Write): MessageReader => {
    const reply = ask(type, write)
    if (typeof reply === 'string') throw new Error(`${type} was refused: ${reply}`)
    return reply
  }
  const begin = (size = 8192): MessageReader => done(MESSAGE.VERSION, (message) => message.u32(size).text('9P2000.L'))
  const attach = (fid = 0): MessageReader => done(MESSAGE.ATTACH, (message) => message.u32(fid).u32(NO_FID).text('root').text('').u32(0))
  const walk = (from: number, to: number, ...names: string[]): MessageReader | string => ask(MESSAGE.WALK, (message) => {
    message.u32(from).u32(to).u16(names.length)
    for (const name of names) message.text(name)
  })
  return { session, failures, ask, done, begin, attach, walk }
}

function ready(store?: FileStore): ReturnType<typeof talk> {
  const talking = talk(store)
  talking.begin()
  talking.attach()
  return talking
}

const identityOf = (reply: MessageReader): number => {
  reply.u8()
  reply.u32()
  return reply.u64()
}

describe('a session', () => {
  test('agrees on the dialect and on messages no longer than its rings, and begins anew with each version', () => {
    const { ask, begin, attach, session } = talk()
    expect(ask(MESSAGE.GETATTR, (message) => message.u32(0).number(0))).toBe('EPROTO')
    expect(ask(MESSAGE.VERSION, (message) => message.u32(100).text('9P2000.L'))).toBe('EMSGSIZE')
    const other = ask(MESSAGE.VERSION, (message) => message.u32(8192).text('9P2000.u')) as MessageReader
    expect([other.u32(), other.text()]).toEqual([8192, 'unknown'])
    expect([begin(8192).u32(), begin(1 << 20).u32(), begin(0xffff_ffff).u32()]).toEqual([8192, 65536, 65536])
    attach()
    expect(session.fids.size).toBe(1)
    begin()
    expect(session.fids.size).toBe(0)
  })

  test('walks as far as there is something, and makes a fid of a whole walk alone', () => {
    const { walk, session } = ready()
    const reply = walk(0, 1, 'd', 'e', 'none', 'f') as MessageReader
    expect([reply.u16(), session.fids.size]).toEqual([2, 1])
    expect(walk(0, 1, 'none')).toBe('ENOENT')
    expect((walk(0, 1, 'd', 'e', 'f') as MessageReader).u16()).toBe(3)
    expect(walk(1, 2, 'under')).toBe('ENOTDIR')
    expect(walk(0, 1)).toBe('EBADF')
    expect(walk(9, 2)).toBe('EBADF')
    expect(walk(0, NO_FID)).toBe('EBADF')
    expect(walk(0, 2, ...Array.from({ length: 17 }, () => '..'))).toBe('EINVAL')
    // Without names it is a second fid for the same.
    expect((walk(1, 2) as MessageReader).u16()).toBe(0)
  })

  test('ends at the root however often it goes up, and takes no name that leads anywhere', () => {
    const { walk, ask, attach } = ready()
    const root = identityOf(attach(50))
    const reply = walk(0, 1, '..', '..', 'd', '..', '..', '..') as MessageReader
    expect(reply.u16()).toBe(6)
    expect([identityOf(reply), identityOf(reply)]).toEqual([root, root])
    for (const name of ['', '/', 'd/e', '../g', 'g\0']) expect(walk(0, 2, name)).toBe('ENOENT')
    for (const [dots, errnos] of [['.', ['EEXIST', 'EEXIST', 'EISDIR', 'EINVAL']], ['..', ['EEXIST', 'EEXIST', 'EISDIR', 'EINVAL']]] as const) {
      expect([
        ask(MESSAGE.MKDIR, (message) => message.u32(0).text(dots).u32(0o755).u32(0)), ask(MESSAGE.LCREATE, (message) => message.u32(0).text(dots).u32(2).u32(0o644).u32(0)),
        ask(MESSAGE.RENAMEAT, (message) => message.u32(0).text('d').u32(0).text(dots)), ask(MESSAGE.UNLINKAT, (message) => message.u32(0).text(dots).u32(0x200)),
      ]).toEqual(errnos)
    }
    for (const name of ['a/b', '../a', '/etc/a', 'x'.repeat(256)]) {
      expect(['ENOENT', 'ENAMETOOLONG']).toContain(ask(MESSAGE.MKDIR, (message) => message.u32(0).text(name).u32(0o755).u32(0)))
    }
    expect(ask(MESSAGE.ATTACH, (message) => message.u32(60).u32(NO_FID).text('root').text('d/../../..').u32(0))).toBe('EACCES')
  })

  test('refuses more open files than there may be, and closes all when the session begins anew', () => {
    const store = new MemoryFileStore({ f: 'x' })
    const { walk, ask, done, begin, session } = ready(store)
    for (let fid = 1; fid <= OPEN_FILE_LIMIT; fid += 1) {
      walk(0, fid, 'f')
      done(MESSAGE.LOPEN, (message) => message.u32(fid).u32(0))
    }
    walk(0, 5000, 'f')
    expect([ask(MESSAGE.LOPEN, (message) => message.u32(5000).u32(0)), session.fids.open]).toEqual(['EMFILE', OPEN_FILE_LIMIT])
    store.remove(['f'], 'file')
    expect(store.save().nodes.length).toBe(2)
    begin()
    expect([session.fids.size, session.fids.open, store.save().nodes.length]).toEqual([0, 0, 1])
  })

  test('follows what is renamed, whatever stands below it, and says ENOENT of what was removed or replaced', () => {
    const { walk, done, ask } = ready()
    walk(0, 1, 'd', 'e', 'f')
    walk(0, 2, 'g')
    done(MESSAGE.RENAMEAT, (message) => message.u32(0).text('d').u32(0).text('moved'))
    expect(typeof ask(MESSAGE.GETATTR, (message) => message.u32(1).number(0))).toBe('object')
    expect(walk(0, 3, 'd')).toBe('ENOENT')
    walk(0, 4, 'moved', 'e')
    done(MESSAGE.RENAME, (message) => message.u32(2).u32(4).text('f'))
    // It has taken the other one's name.
    expect(ask(MESSAGE.GETATTR, (message) => message.u32(1).number(0))).toBe('ENOENT')
    done(MESSAGE.REMOVE, (message) => message.u32(2))
    expect(ask(MESSAGE.CLUNK, (message) => message.u32(2))).toBe('EBADF')
    expect(ask(MESSAGE.REMOVE, (message) => message.u32(0))).toBe('EBUSY')
    expect(ask(MESSAGE.CLUNK, (message) => message.u32(0))).toBe('EBADF')
  })

  test('reads folders from any place that it has told, each name once', () => {
    const store = new MemoryFileStore(Object.fromEntries(Array.from({ length: 300 }, (_, at) => [`file${at}`, ''])))
    const { walk, done, ask } = ready(store)
    walk(0, 1)
    done(MESSAGE.LOPEN, (message) => message.u32(1).u32(0o200000))
    const names: string[] = []
    for (let offset = 0; ;) {
      const reply = done(MESSAGE.READDIR, (message) => message.u32(1).number(offset).u32(1000))
      let left = reply.u32()
      expect(left).toBeLessThanOrEqual(1000)
      if (left === 0) break
      while (left > 0) {
        reply.bytes(13)
        offset = reply.u64()
        reply.u8()
        const name = reply.text()
        names.push(name)
        left -= 24 + name.length
      }
    }
    expect(names).toEqual(['.', '..', ...store.list([]).map(({ name }) => name)])
    expect(ask(MESSAGE.READ, (message) => message.u32(1).number(0).u32(10))).toBe('EISDIR')
  })

  test.each<[string, number, Write, FileErrorName]>([
    ['a device node', MESSAGE.MKNOD, (message) => message.u32(0).text('n').u32(0o020666).u32(1).u32(1).u32(0), 'EPERM'],
    ['extended attributes', MESSAGE.XATTRWALK, (message) => message.u32(0).u32(9).text('user.x'), 'EOPNOTSUPP'],
    ['authentication', MESSAGE.AUTH, (message) => message.u32(9).text('root').text('').u32(0), 'EOPNOTSUPP'],
    ['a message that there is none of', 66, (message) => message.u32(0), 'EOPNOTSUPP'],
    ['a message without its fields', MESSAGE.WALK, (message) => message.u16(0), 'EINVAL'],
    ['a name that is no UTF-8', MESSAGE.MKDIR, (message) => message.u32(0).u16(2).u8(0xff).u8(0xfe).u32(0).u32(0), 'EILSEQ'],
    ['reading what is not open', MESSAGE.READ, (message) => message.u32(0).number(0).u32(1), 'EBADF'],
    ['a place in a file beyond all numbers', MESSAGE.READ, (message) => message.u32(0).u64(1n << 63n).u32(1), 'EINVAL'],
    ['a time that there is none of', MESSAGE.SETATTR, (message) => { message.u32(0).u32(0x1b0).u32(0).u32(0).u32(0).number(0); for (let at = 0; at < 4; at += 1) message.u64((1n << 62n) - 1n) }, 'EINVAL'],
    ['a folder into itself', MESSAGE.RENAMEAT, (message) => message.u32(0).text('d').u32(0).text('d'), 'EINVAL'],
  ])('answers %s with its number', (what, type, write, errno) => {
    const { ask, walk } = ready()
    if (what === 'a folder into itself') {
      walk(0, 1, 'd', 'e')
      expect(ask(type, (message) => message.u32(0).text('d').u32(1).text('x'))).toBe(errno)
    } else expect(ask(type, write)).toBe(errno)
  })

  test('is saved with its fids, files that are open and have no name among them, and goes on', () => {
    const store = new MemoryFileStore({ 'd/f': 'text' })
    const { walk, done, session } = ready(store)
    walk(0, 1, 'd', 'f')
    done(MESSAGE.LOPEN, (message) => message.u32(1).u32(2))
    walk(0, 2, 'd')
    done(MESSAGE.LOPEN, (message) => message.u32(2).u32(0))
    done(MESSAGE.READDIR, (message) => message.u32(2).number(0).u32(60))
    done(MESSAGE.UNLINKAT, (message) => message.u32(2).text('f').u32(0))
    const state = structuredClone(session.save((file) => store.identityOf(file)))
    expect(sessionState(state)).toBeUndefined()
    const other = MemoryFileStore.from(structuredClone(store.save()))
    const again = talk(other)
    again.session.load(state, other)
    expect(again.session.save((file) => other.identityOf(file))).toEqual(state)
    const reply = again.done(MESSAGE.READ, (message) => message.u32(1).number(1).u32(9))
    expect(new TextDecoder().decode(reply.bytes(reply.u32()))).toBe('ext')
    expect(again.done(MESSAGE.READDIR, (message) => message.u32(2).number(2).u32(100)).u32()).toBe(25)
    again.done(MESSAGE.CLUNK, (message) => message.u32(1))
    expect(other.save().nodes.length).toBe(2)
  })
})

describe('a server of rings', () => {
  test('gives everybody else a turn behind 1,024 messages', async () => {
    const hub = new FakeHypervisor(512)
    const domain = hub.createDomain(1, () => undefined, { pages: 128 })
    await hub.settle()
    const pages = sharedPages(domain, 5)
    const turns: (() => void)[] = []
    const server = new FileServer({
      memory: domain.kernel.hypercalls.memory, rings: [pages.place], store: new MemoryFileStore(), notify: () => undefined, hold: () => () => undefined,
      pause: () => new Promise((resolve) => turns.push(resolve)),
    })
    const message = new MessageWriter().u16(0).message(MESSAGE.FLUSH, 1).slice()
    let sent = 0
    for (; sent < 1500; sent += 1) pages.put('out', sent * message.length, message)
    FLEX_FIELDS.outProd.set(pages.view, pages.indexes, sent * message.length)
    server.serve()
    expect([server.counts.requests, server.underWay()]).toEqual([1024, 'a turn of its rings'])
    server.serve()
    expect(server.counts.requests).toBe(1024)
    turns.shift()!()
    await Promise.resolve()
    expect([server.counts.requests, server.underWay()]).toEqual([1500, undefined])
    await server.stop()
  })

  test('keeps an answer that has no room, and the rest of its ring, until there is some, and serves other rings meanwhile', async () => {
    const hub = new FakeHypervisor(512)
    const domain = hub.createDomain(1, () => undefined, { pages: 128 })
    await hub.settle()
    const [first, second] = [sharedPages(domain, 1), sharedPages(domain, 1)]
    const woken: number[] = []
    const server = new FileServer({ memory: domain.kernel.hypercalls.memory, rings: [first.place, second.place], store: new MemoryFileStore(), notify: (at) => woken.push(at), hold: () => () => undefined })
    const message = new MessageWriter().u16(0).message(MESSAGE.FLUSH, 1).slice()
    // Its reader stands three bytes before the end of the room.
    FLEX_FIELDS.inCons.set(first.view, first.indexes, (0 - 4096 + 3) >>> 0)
    for (const pages of [first, second]) {
      pages.put('out', 0, message)
      FLEX_FIELDS.outProd.set(pages.view, pages.indexes, message.length)
    }
    server.serve()
    expect([FLEX_FIELDS.inProd.get(first.view, first.indexes), FLEX_FIELDS.inProd.get(second.view, second.indexes) > 0, server.broken]).toEqual([0, true, undefined])
    FLEX_FIELDS.inCons.set(first.view, first.indexes, 0)
    server.serve()
    expect([FLEX_FIELDS.inProd.get(first.view, first.indexes) > 0, woken.includes(0), woken.includes(1)]).toEqual([true, true, true])
    await server.stop()
  })
})
