/** Hosts for one test file, and the embedded kernel on them: started, and asked whether it is well. */
import { afterEach } from 'vitest'
import { Host, type Domain, type DomainConfig } from '../../src/toolstack/index.ts'

type BootOptions = Parameters<typeof Host.boot>[0]

/** What boots a host that is shut down behind the test which asked for it. */
export function hostsOfTests(defaults: BootOptions): (options?: BootOptions) => Promise<Host> {
  const hosts: Host[] = []
  afterEach(async () => {
    for (const host of hosts.splice(0)) await host.shutdown()
  })
  return async (options = {}) => {
    const host = await Host.boot({ ...defaults, ...options })
    hosts.push(host)
    return host
  }
}

/** A mini that has said its first word, and whose ticks are over. */
export async function startMini(host: Host, config: Partial<DomainConfig> = {}): Promise<Domain> {
  const domain = await host.createDomain({ name: 'mini', memory: 8, ...config })
  await domain.console.waitFor('tick 3')
  return domain
}

/** Resolves when mini answers and finds every frame of its memory as it left it. */
export async function answers(domain: Domain): Promise<void> {
  await domain.console.write('mem\r')
  await domain.console.waitFor(/memory: \d+ KiB of \d+ KiB.* 0 frames disagree/)
}
