/**
 * Node names: which are valid, how a relative one becomes absolute, and how to go up.
 *
 * Reference: xen/docs/misc/xenstore.txt, section "Nodes"; limits in xen/include/public/io/xs_wire.h.
 */
import { isWellFormed } from './known-paths.ts'

export { parentPath } from './known-paths.ts'

const SLASH = 0x2f

/** How a path is to be taken. */
export interface PathRules {
  /** What a relative path is relative to, without a slash at the end. */
  readonly implicit: string
  /** Longest path behind `/local/domain/N/`; 0 for no limit but the protocol's. */
  readonly pathMax: number
  /** Whether names such as `@releaseDomain` are accepted. */
  readonly special: boolean
}

/** Longest absolute path at all. Reference: XENSTORE_ABS_PATH_MAX. */
const ABSOLUTE_MAX = 3072

/** Length of a leading `/local/domain/N/`, which does not count against a domain's limit. */
function localPrefixLength(path: string): number {
  if (!path.startsWith('/local/domain/')) return 0
  const match = /^\/local\/domain\/\d{1,5}\//.exec(path)
  return match === null ? 0 : match[0].length
}

/** True for the name of a special node, such as `@releaseDomain`: it is in no tree. */
export const isSpecial = (path: string): boolean => path.charCodeAt(0) === 0x40

/** True for a path that is neither absolute nor special. */
export const isRelative = (path: string): boolean => path.charCodeAt(0) !== SLASH && !isSpecial(path)

/** The absolute form of a path, or undefined when it breaks a rule. */
export function canonicalPath(path: string, rules: PathRules): string | undefined {
  if (isSpecial(path) && !rules.special) return undefined
  const name = isRelative(path) ? `${rules.implicit}/${path}` : path
  if (!isWellFormed(name) || name.length > ABSOLUTE_MAX) return undefined
  const { pathMax } = rules
  if (pathMax > 0 && name.length > pathMax && name.length - localPrefixLength(name) > pathMax) return undefined
  return name
}

/** The last component. */
export const baseName = (path: string): string => path.slice(path.lastIndexOf('/') + 1)

/** The path of a child. */
export const childPath = (path: string, name: string): string => (path === '/' ? `/${name}` : `${path}/${name}`)
