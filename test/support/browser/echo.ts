/** A dialogue with the embedded kernel, the same wherever it runs. */
import type { Domain, Host } from '../../../src/index.ts'

/** Types at a kernel that is, or soon will be, at its prompt; what it said, and the host's hashes then. The host is shut down. */
export async function echo(host: Host, domain: Domain): Promise<{ text: string; hashes: Readonly<Record<string, string>> }> {
  await domain.console.waitFor('mini> ', { from: 0 })
  await domain.console.write('echo the same everywhere\n')
  await domain.console.waitFor('\nthe same everywhere\n')
  const said = { text: domain.console.text(), hashes: await host.stateHash() }
  await host.shutdown()
  return said
}
