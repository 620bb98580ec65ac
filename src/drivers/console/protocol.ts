/**
 * The console protocol as both sides meet in XenStore: a domain's `console` directory names the ring and its event
 * channel. The toolstack writes it when it builds the domain; no states are exchanged, as the ring is there from
 * the start.
 *
 * Reference: public/io/console.h; docs/misc/console.txt.
 */
import type { DomId } from '../../util/index.ts'

/** Bytes of output that are kept where `console/limit` says nothing. */
export const CONSOLE_LOG_LIMIT = 1 << 20
/** The back-end that this console is for; another value of `console/type` means that somebody else serves it. */
export const CONSOLE_TYPE = 'xenconsoled'

/** Where a domain's console stands in XenStore. */
export const consolePath = (domid: DomId): string => `/local/domain/${domid}/console`

/** What the nodes say, checked. */
export interface ConsoleNodes {
  /** Frame of the ring, as its owner numbers it; of a further console the grant of its page. */
  readonly ringFrame: number
  readonly port: number
  /** Bytes of output to keep. */
  readonly limit: number
}

/** Whole numbers from 0 to 2^32 - 1 in decimal; all else is no number. */
function number(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return undefined
  const value = Number(text)
  return value <= 0xffff_ffff ? value : undefined
}

/** Reads the nodes; undefined while the console is not ready or not for this back-end. */
export function parseConsoleNodes(nodes: Readonly<Record<string, string | undefined>>): ConsoleNodes | undefined {
  const ringFrame = number(nodes['ring-ref'])
  const port = number(nodes['port'])
  const type = nodes['type'] ?? CONSOLE_TYPE
  if (ringFrame === undefined || port === undefined || port === 0 || type !== CONSOLE_TYPE) return undefined
  return { ringFrame, port, limit: Math.min(number(nodes['limit']) ?? CONSOLE_LOG_LIMIT, CONSOLE_LOG_LIMIT) }
}
