/** Nothing at all, calls of TypeScript handlers, calls of the runtime's string functions, and single SSE moves. */
import { STRINGS } from '../runtime/strings.ts'
import type { MicroList } from './micro.ts'

/** Adds the family. */
export function defineSystemFamily(list: MicroList): void {
  list.add('nop', () => {})
  list.add('handler', (b) => b.handler())
  for (const name of STRINGS) list.add(`string.${name}`, (b) => b.runtime(name))
}
