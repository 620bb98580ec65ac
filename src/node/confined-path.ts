/** Names of files that may not lead out of a folder. */
import { realpathSync } from 'node:fs'
import { resolve, sep } from 'node:path'
import { XenError } from '../util/index.ts'

/** Whether a folder is the whole of what can be named. */
export interface ConfinedOptions {
  /** Refuses names that lead out of the folder, by `..`, by an absolute path, or over a symbolic link. Default false. */
  readonly confined?: boolean
}

/**
 * The real path of a file below `folder`. Throws PERMISSION_DENIED when the name leads elsewhere, and IO when there is no
 * such file. Who can put symbolic links into the folder meanwhile is trusted.
 */
export function confinedPath(folder: string, name: string): string {
  const denied = (): never => {
    throw new XenError('PERMISSION_DENIED', `file ${name} is not below ${folder}`, { details: { name, folder } })
  }
  const inside = (path: string, root: string): boolean => path.startsWith(root.endsWith(sep) ? root : root + sep)
  // The name itself is looked at first: what lies outside is not even tried.
  if (name.includes('\0') || !inside(resolve(folder, name), resolve(folder))) denied()
  let real: string
  try {
    real = realpathSync(resolve(folder, name))
  } catch (cause) {
    throw new XenError('IO', `file ${name} cannot be found below ${folder}`, { details: { name, folder }, cause })
  }
  return inside(real, realpathSync(folder)) ? real : denied()
}
