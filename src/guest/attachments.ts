/**
 * How the owners of what a loaded kernel has open take it up again: a port, a timer or a watch is there already, and gets
 * its handler back. No hypercall is made and nothing is sent: whoever is at the other end sees no difference.
 */
import type { EventPort } from '../util/index.ts'
import type { MappedPage } from './grants.ts'
import type { Timer } from './timers.ts'

/** What a loaded kernel gives back. Each throws INVALID_STATE for what is not there, or is attached already. */
export interface Attachments {
  /** An event channel that is open. */
  attachPort(port: number, handler: () => void): EventPort
  /** A timer, by its place in the order in which timers were started. */
  attachTimer(order: number, handler: () => void): Timer
  /** A watch on a path; the function ends it. */
  attachWatch(path: string, handler: (path: string) => void): () => Promise<void>
  /** A page of another domain that is mapped. */
  attachPage(page: { readonly frame: number; readonly handle: number }): MappedPage
}
