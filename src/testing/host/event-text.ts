/** Events as lines of text: the name, then each fact as `name=value`, in the order in which the event has them. */
import { shown, XenError } from '../../util/index.ts'

/** Characters of one value that are shown. */
const LONGEST = 120

/** What every event has, and nobody reads. */
const HIDDEN: ReadonlySet<string> = /* @__PURE__ */ new Set(['type', 'seq', 'time'])

const cut = (text: string): string => (text.length > LONGEST ? `${text.slice(0, LONGEST - 3)}...` : text)

/** One value. */
function valueText(value: unknown): string {
  if (XenError.is(value)) return value.code
  if (value instanceof Error) return `${value.name}(${JSON.stringify(cut(value.message))})`
  if (typeof value === 'string') return /^[\w./:@-]+$/.test(value) ? cut(value) : JSON.stringify(cut(value))
  if (value instanceof Uint8Array) return `${value.length} bytes`
  if (typeof value !== 'object' || value === null) return shown(value)
  // What explains itself in words does so in its own place.
  const own = value as { readonly message?: unknown; readonly text?: unknown }
  if (typeof own.message === 'string') return JSON.stringify(cut(own.message))
  if (typeof own.text === 'string') return JSON.stringify(cut(own.text.split('\n', 1)[0]!))
  return shown(value)
}

/** One event as a line. */
export function eventText(event: { readonly type: string }): string {
  const facts = Object.entries(event).filter(([name, value]) => !HIDDEN.has(name) && value !== undefined)
  return [event.type, ...facts.map(([name, value]) => `${name}=${valueText(value)}`)].join(' ')
}

/** Whether an event tells of an operation's steps, of which there are many. */
export const isOfOperation = ({ type }: { readonly type: string }): boolean => type.startsWith('operation-')

/** Host time as seconds with all nine digits. */
export const timeText = (nanoseconds: number): string => {
  const whole = Math.max(0, Math.floor(nanoseconds))
  return `${Math.floor(whole / 1e9)}.${String(whole % 1e9).padStart(9, '0')}`
}
