/**
 * Names that fids stand for, as a tree: what is renamed takes along whatever stands below it, and what is removed has no path any more. Places that no
 * fid stands for and nothing stands below are forgotten.
 */
import { fileError, type FilePath } from './file-store.ts'
import { textBytes } from './message.ts'
import { PATH_LIMIT } from './protocol.ts'

/** One name. */
export class Place {
  name: string
  parent: Place | undefined
  /** Bytes of its path. */
  length: number
  /** False once what it stood for was removed or replaced. */
  isThere = true
  /** Fids that stand for it. */
  uses = 0
  readonly children = new Map<string, Place>()

  constructor(name: string, parent: Place | undefined) {
    this.name = name
    this.parent = parent
    this.length = parent === undefined ? 0 : parent.length + 1 + textBytes(name).length
    if (this.length > PATH_LIMIT) throw fileError('ENAMETOOLONG')
  }

  /** Its names from the root on. Throws ENOENT for what was removed. */
  get path(): FilePath {
    const names: string[] = []
    let at: Place = this
    while (at.parent !== undefined) {
      if (!at.isThere) throw fileError('ENOENT', 'it was removed')
      names.push(at.name)
      at = at.parent
    }
    return names.reverse()
  }

  get isRoot(): boolean {
    return this.parent === undefined
  }
}

/** All names of one front-end. */
export class Places {
  readonly root = new Place('', undefined)

  /** The place of a name in a folder. */
  at(folder: Place, name: string): Place {
    return folder.children.get(name) ?? new Place(name, folder)
  }

  /** A fid stands for a place from now on. */
  use(place: Place): Place {
    place.uses += 1
    for (let at = place; at.parent !== undefined && at.isThere && at.parent.children.get(at.name) !== at; at = at.parent) at.parent.children.set(at.name, at)
    return place
  }

  /** A fid stands for it no longer. */
  release(place: Place): void {
    place.uses -= 1
    for (let at = place; at.parent !== undefined && at.uses === 0 && at.children.size === 0; at = at.parent) {
      if (at.parent.children.get(at.name) !== at) return
      at.parent.children.delete(at.name)
    }
  }

  /** What stood there was removed, or something else has taken its name. */
  removed(folder: Place, name: string): void {
    const place = folder.children.get(name)
    if (place === undefined) return
    folder.children.delete(name)
    place.isThere = false
  }

  /** Something has another name, and perhaps another folder. */
  renamed(from: { readonly folder: Place; readonly name: string }, to: { readonly folder: Place; readonly name: string }): void {
    if (from.folder === to.folder && from.name === to.name) return
    this.removed(to.folder, to.name)
    const place = from.folder.children.get(from.name)
    if (place === undefined) return
    from.folder.children.delete(from.name)
    place.name = to.name
    place.parent = to.folder
    to.folder.children.set(to.name, place)
    this.keep(to.folder)
    this.measure(place)
  }

  /** A folder that something stands below is kept, even where no fid stands for it. */
  private keep(folder: Place): void {
    for (let at = folder; at.parent !== undefined && at.isThere && at.parent.children.get(at.name) !== at; at = at.parent) at.parent.children.set(at.name, at)
  }

  private measure(top: Place): void {
    const left = [top]
    for (let place = left.pop(); place !== undefined; place = left.pop()) {
      place.length = place.parent!.length + 1 + textBytes(place.name).length
      left.push(...place.children.values())
    }
  }
}
