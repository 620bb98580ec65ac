/** Watches folders that may come and go: where one is not there, the nearest one above it that is. */
import { statSync, watch, type FSWatcher } from 'node:fs'
import { basename, dirname } from 'node:path'

/** A folder that is watched, and which one it was: another of its name is watched anew. */
interface Watched {
  readonly identity: string
  readonly watcher: FSWatcher
}

/** Which folder a path leads to now; undefined where there is none. */
function identityOf(path: string): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false })
  return found?.isDirectory() === true ? `${found.dev}:${found.ino}` : undefined
}

/** The folder itself, or the nearest one above it that is there. */
function nearest(path: string): readonly [path: string, identity: string] | undefined {
  for (let at = path; ; at = dirname(at)) {
    const identity = identityOf(at)
    if (identity !== undefined) return [at, identity]
    if (at === dirname(at)) return undefined
  }
}

/** Looks that are taken again when folders come or go between the look and the watch: a bound, for who makes and removes them all the time. */
const LOOKS = 16

/** Calls when something may have changed in one of the folders, whether it is there or not, until the returned function is called. */
export function watchFolders(folders: readonly string[], changed: () => void): () => void {
  const watched = new Map<string, Watched>()
  let isOver = false
  const forget = (path: string): void => {
    watched.get(path)?.watcher.close()
    watched.delete(path)
  }
  // Watched anew first: who looks when told sees all that came before.
  const tell = (path: string, name: string | null): void => {
    if (isOver) return
    // A folder's own name is told when it goes. One made since may have its identity: file systems use numbers again.
    if (name === null || name === basename(path)) forget(path)
    arm()
    changed()
  }
  const watchOne = (path: string, identity: string): void => {
    try {
      const watcher = watch(path, (_event, name) => { tell(path, name) }).on('error', () => undefined)
      watched.set(path, { identity, watcher })
    } catch {
      // It has gone since it was looked at, which the next look shows; or it may not be watched.
    }
  }
  /** Watches what is wanted now; true when something had to be watched, so that others may have come or gone meanwhile. */
  const armOnce = (): boolean => {
    const wanted = new Map(folders.map(nearest).filter((place) => place !== undefined))
    for (const [path, { identity }] of watched) if (wanted.get(path) !== identity) forget(path)
    const missing = [...wanted].filter(([path]) => !watched.has(path))
    for (const [path, identity] of missing) watchOne(path, identity)
    return missing.length > 0
  }
  const arm = (): void => {
    for (let look = 0; look < LOOKS && armOnce(); look++);
  }
  arm()
  return () => {
    isOver = true
    for (const path of [...watched.keys()]) forget(path)
  }
}
