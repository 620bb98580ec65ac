/** The other side of what guests share: the embedded kernel, a 64-bit PV guest. */
import type { Domain, Host } from '../../../src/index.ts'
import { ask } from './cell.ts'

/** The embedded kernel, at its prompt. */
export async function startMini(host: Host): Promise<Domain> {
  const domain = await host.createDomain({ name: 'mini', memory: 4 })
  await domain.console.waitFor('tick 3')
  return domain
}

/** One guest offers another a page with a text; the command by which the other answers. */
export async function offer(from: Domain, to: Domain, text: string): Promise<string> {
  const [, command = ''] = await ask(from, `offer ${to.id} ${text}`, /offer: (peer \d+ \d+ \d+)/)
  return command
}
