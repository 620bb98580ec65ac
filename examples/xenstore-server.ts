/**
 * Boots a host with one domain and serves its XenStore on a Unix socket, until it is interrupted.
 *
 *   npm run xenstore -- SOCKET
 *
 * Debian's xenstore-utils find it by XENSTORED_PATH:
 *
 *   XENSTORED_PATH=SOCKET xenstore-ls -f -p
 */
import { Host, XenError, embeddedKernel } from 'paravirt'
import { listenXenStore } from 'paravirt/node'

async function serve(path: string): Promise<void> {
  const host = await Host.boot({ memory: 256, clock: 'realtime' })
  const domain = await host.createDomain({ name: 'guest', memory: 32 }, { kernel: embeddedKernel() })
  const door = await listenXenStore(host.dom0.server, path)
  console.log(`serving the XenStore of a host with domain ${domain.id} (${domain.name}) at ${path}`)
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve())
  })
  await door.close()
  await host.shutdown()
}

const [path, ...rest] = process.argv.slice(2)
if (path === undefined || rest.length > 0) {
  console.error('usage: npm run xenstore -- SOCKET')
  process.exitCode = 2
} else {
  try {
    await serve(path)
  } catch (error) {
    if (!XenError.is(error)) throw error
    console.error(`error: ${error.message}`)
    process.exitCode = 1
  }
}
