/** Nothing at all, calls of TypeScript handlers, calls of the runtime's string functions, and single SSE moves. */
import { STRINGS } from '../runtime/strings.ts'
import type { MicroList } from './micro.ts'

/** Adds the family. */
export function defineSystemFamily(list: MicroList): void {
  list.hot('nop', () => {})
  list.rare('handler', (b) => b.handler())
  for (const name of STRINGS) list.rare(`string.${name}`, (b) => b.runtime(name))
}
