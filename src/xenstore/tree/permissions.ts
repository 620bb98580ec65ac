/**
 * Permissions of nodes: a list whose first entry names the owner and what everybody else may do, and whose other
 * entries name single domains.
 *
 * Reference: xen/docs/misc/xenstore.txt, GET_PERMS and SET_PERMS.
 */

import { XenError } from '../../util/index.ts'

/** What an entry allows: bit 0 reading, bit 1 writing. */
export const ACCESS = { NONE: 0, READ: 1, WRITE: 2, BOTH: 3, OWNER: 4 } as const

/** One entry of a list. */
export interface Permission {
  /** The domain it is about. */
  readonly domid: number
  /** 0 nothing, 1 read, 2 write, 3 both. */
  readonly access: number
  /** The domain did not exist when the entry was written: it allows nothing, whoever gets the number later. */
  readonly ignored?: boolean
}

/** At least the owner's entry. */
export type Permissions = readonly [Permission, ...Permission[]]

/** An entry for every domain. Reference: public/xen.h, DOMID_ANY of newer Xen. */
export const DOMAIN_ANY = 0x7ff5

const LETTERS = 'nrwb'

/** `n0`, `r5`, ... */
export const formatPermission = (permission: Permission): string => LETTERS[permission.access]! + permission.domid

/** Reads `n0`, `r5`, ...; undefined when it is none. */
export function parsePermission(text: string): Permission | undefined {
  const access = LETTERS.indexOf(text.charAt(0))
  if (access < 0 || text.length < 2 || text.length > 6) return undefined
  let domid = 0
  for (let i = 1; i < text.length; i += 1) {
    const digit = text.charCodeAt(i) - 0x30
    if (digit < 0 || digit > 9) return undefined
    domid = domid * 10 + digit
  }
  return domid > 0xffff ? undefined : { domid, access }
}

/** Reads a list such as `['n0', 'r5']`; undefined when it is empty or an entry is malformed. */
export function parsePermissions(texts: readonly string[]): Permissions | undefined {
  const list: Permission[] = []
  for (const text of texts) {
    const permission = parsePermission(text)
    if (permission === undefined) return undefined
    list.push(permission)
  }
  return list.length === 0 ? undefined : (list as unknown as Permissions)
}

/** Reads a list that many nodes are to share; throws for what is none. */
export function fixedPermissions(texts: readonly string[]): Permissions {
  const list = parsePermissions(texts)
  if (list === undefined) throw new XenError('INVALID_ARGUMENT', `${texts.join()} are no permissions`, { details: { permissions: texts } })
  for (const permission of list) Object.freeze(permission)
  return Object.freeze(list)
}

/** Whether nobody can change a list any more. */
export const isFixed = (list: Permissions): boolean => Object.isFrozen(list) && list.every((permission) => Object.isFrozen(permission))

/** Whether two lists say the same, be they one list or not. */
export function samePermissions(first: Permissions, second: Permissions): boolean {
  if (first === second) return true
  return first.length === second.length && first.every(({ domid, access, ignored }, i) => {
    const other = second[i]!
    return domid === other.domid && access === other.access && (ignored === true) === (other.ignored === true)
  })
}

/** The domains in whose name somebody asks: its own, and the one it has been given power over. */
export interface Asker {
  readonly domid: number
  readonly target?: number | undefined
}

const concerns = (permission: Permission, asker: Asker): boolean =>
  permission.domid === asker.domid || permission.domid === asker.target || permission.domid === DOMAIN_ANY

/** What an unprivileged domain may do with a node that has these permissions. */
export function accessOf(permissions: Permissions, asker: Asker): number {
  const owner = permissions[0]
  if (concerns(owner, asker)) return ACCESS.BOTH | ACCESS.OWNER
  for (let i = 1; i < permissions.length; i += 1) {
    const permission = permissions[i]!
    if (permission.ignored !== true && concerns(permission, asker)) return permission.access
  }
  return owner.access
}
