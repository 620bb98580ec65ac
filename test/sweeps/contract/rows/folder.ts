import { expect } from 'vitest'
import { ask, isWell, type ContractRow } from '../cell.ts'

/** A folder. */
export const folder: ContractRow = {
  name: 'folder', holds: 'mounts a folder by 9P, reads and writes its files, and is told by Linux\'s numbers what it cannot',
  run: async (cell) => {
    const host = await cell.boot()
    const domain = await cell.start(host, { folders: [{ tag: 'shared', path: 'any' }] })
    await ask(domain, 'folder read motd', 'folder: status 0: what was there')
    await ask(domain, 'folder read none', 'folder: status 2: ')
    await ask(domain, 'folder write made a text', 'folder: wrote, status 0')
    expect(new TextDecoder().decode(cell.folder.contents(['made']))).toBe('a text')
    // More messages than the rings have room for.
    for (let i = 0; i < 40; i += 1) await ask(domain, `folder write made number ${i}`, 'folder: wrote, status 0')
    await ask(domain, 'folder read made', 'folder: status 0: number 39')
    await ask(domain, 'folder write .. out', 'folder: wrote, status 17')
    expect(domain.devices()).toMatchObject([{ kind: '9pfs', name: 'shared', backendState: 4, statistics: { openFiles: 0 } }])
    await isWell(host, domain)
  },
}
