/**
 * What XenStore says a domain is to have of memory and may have at most. Setting either is the host's.
 * Reference: docs/misc/xenstore-paths.pandoc, memory/target and memory/static-max.
 */
import type { DomId } from '../../util/index.ts'
import type { LocalStore } from '../../xenstore/index.ts'
import { domainPath } from './domain-nodes.ts'

/** Pages that a domain may have beyond its memory: what libxl allows (1 MiB). */
export const SLACK_PAGES = 256
/** Pages of a MiB. */
export const PAGES_PER_MEBIBYTE = 256

/** Node of a domain's target, in KiB. */
export const targetNode = (domid: DomId): string => `${domainPath(domid)}/memory/target`
/** Node of a domain's maximum, in KiB. */
export const maximumNode = (domid: DomId): string => `${domainPath(domid)}/memory/static-max`

/** A node's value in MiB; undefined when there is no such node. */
function readMebibytes(store: LocalStore, node: string): number | undefined {
  const value = store.tryRead(node)
  return value === undefined ? undefined : Number(value) / 1024
}

/** What a domain is to have and may have at most, in MiB; undefined is what XenStore does not say. */
export const memorySettings = (
  store: LocalStore,
  domid: DomId,
): { readonly target: number | undefined; readonly maximum: number | undefined } =>
  ({ target: readMebibytes(store, targetNode(domid)), maximum: readMebibytes(store, maximumNode(domid)) })
