/**
 * The states by which the two halves of a split device shake hands, and how they are read and written. A state changes
 * in a transaction that reads it first, so that a device which the toolstack has removed does not come back half.
 *
 * Reference: public/io/xenbus.h.
 */
import { XENBUS_STATE } from '../../abi/index.ts'
import type { XenbusStateName } from '../../abi/index.ts'
import type { GuestStore, StoreAccess } from '../store.ts'
import { readOptional } from '../store.ts'

const NAMES: ReadonlyMap<number, XenbusStateName> = /* @__PURE__ */ new Map(
  // The keys of the table are the names of the states.
  (Object.entries(XENBUS_STATE) as [XenbusStateName, number][]).map(([name, number]) => [number, name]),
)

/** The state that a node's text means; Unknown for what is absent or no state. */
export function parseState(text: string | undefined): XenbusStateName {
  return (text !== undefined && /^\d$/.test(text) ? NAMES.get(Number(text)) : undefined) ?? 'Unknown'
}

/** The state of the device at `path`. */
export const readState = async (store: StoreAccess, path: string): Promise<XenbusStateName> =>
  parseState(await readOptional(store, `${path}/state`))

/** Puts the device at `path` into another state; false when its node is gone. */
export function switchState(store: GuestStore, path: string, next: XenbusStateName): Promise<boolean> {
  return store.transaction(async (transaction) => {
    if ((await readOptional(transaction, `${path}/state`)) === undefined) return false
    await transaction.write(`${path}/state`, String(XENBUS_STATE[next]))
    return true
  })
}

/** A whole number in decimal from `minimum` to `maximum`; undefined for anything else, as the other side is hostile. */
export async function readNumber(
  store: StoreAccess, path: string, limits: { readonly minimum?: number; readonly maximum?: number } = {},
): Promise<number | undefined> {
  const text = await readOptional(store, path)
  if (text === undefined || !/^\d{1,15}$/.test(text)) return undefined
  const value = Number(text)
  return value >= (limits.minimum ?? 0) && value <= (limits.maximum ?? 0xffff_ffff) ? value : undefined
}
