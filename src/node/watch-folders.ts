/** Watches folders that may come and go: where one is not there, the nearest one above it that is. */
import { statSync, watch, type FSWatcher } from 'node:fs'
import { dirname } from 'node:path'

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

/** Calls when something may have changed in one of the folders, whether it is there or not, until the returned function is called. */
export function watchFolders(folders: readonly string[], changed: () => void): () => void {
  const watched = new Map<string, Watched>()
  let isOver = false
  const arm = (): void => {
    const wanted = new Map(folders.map(nearest).filter((place) => place !== undefined))
    for (const [path, { identity, watcher }] of watched) {
      if (wanted.get(path) === identity) continue
      watched.delete(path)
      watcher.close()
    }
    for (const [path, identity] of wanted) {
      if (watched.has(path)) continue
      try {
        watched.set(path, { identity, watcher: watch(path, tell).on('error', () => undefined) })
      } catch {
        // It has gone since it was looked at, which the one above it tells; or it may not be watched.
      }
    }
  }
  // Watched anew first: who looks when told sees all that came before.
  const tell = (): void => {
    if (isOver) return
    arm()
    changed()
  }
  arm()
  return () => {
    isOver = true
    for (const { watcher } of watched.values()) watcher.close()
  }
}
