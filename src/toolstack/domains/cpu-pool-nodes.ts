/**
 * What pools of CPUs are called: the hypervisor numbers them, XenStore has their names, as libxl keeps them.
 * Reference: tools/libs/light/libxl_cpupool.c, libxl_cpupoolid_to_name.
 */
import type { ControlInterface, CpuPoolInfo } from '../../hypervisor/index.ts'
import { XenError, named } from '../../util/index.ts'
import type { LocalOperations, LocalStore } from '../../xenstore/index.ts'

const poolPath = (id: number): string => `/local/pool/${id}`

/** The name of a pool; one without has libxl's for such. */
export const poolName = (store: LocalStore, id: number): string => store.tryRead(`${poolPath(id)}/name`) ?? `Pool-${id}`

/** Writes what a pool is called. */
export function writePoolNodes(store: LocalOperations, id: number, { name, uuid }: { readonly name: string; readonly uuid: string }): void {
  store.write(`${poolPath(id)}/uuid`, uuid)
  store.write(`${poolPath(id)}/name`, name)
}

/** Writes a new name. */
export const writePoolName = (store: LocalOperations, id: number, name: string): void => store.write(`${poolPath(id)}/name`, name)

/** A pool is gone. */
export const removePoolNodes = (store: LocalStore, id: number): void => store.tryRm(poolPath(id))

/** The pool of this name, or of this number written as a text or as a number. Throws POOL_NOT_FOUND. */
export function findPool({ control, store }: { readonly control: ControlInterface; readonly store: LocalStore }, reference: string | number): CpuPoolInfo {
  const pools = control.cpuPools()
  const found = pools.find(({ id }) => id === reference || poolName(store, id) === reference) ?? pools.find(({ id }) => String(id) === reference)
  if (found !== undefined) return found
  throw new XenError('POOL_NOT_FOUND', `there is no pool of CPUs ${named(reference)}`, { details: { pool: reference } })
}
