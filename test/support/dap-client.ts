/** The editor of tests: the client of @vscode/debugadapter-testsupport, over a socket, at a domain of a test's host. */
import { createServer, type AddressInfo } from 'node:net'
import { DebugClient } from '@vscode/debugadapter-testsupport'
import type { DebugProtocol } from '@vscode/debugprotocol'
import type { DebugTarget } from '../../src/debug/index.ts'
import { serveDebugAdapter } from '../../src/node/index.ts'

/** An editor, and its end. */
export interface TestEditor {
  readonly client: DebugClient
  readonly capabilities: DebugProtocol.Capabilities
  /** Does something, and waits for what stops the guest behind it. */
  stopped(work: () => Promise<unknown>): Promise<DebugProtocol.StoppedEvent['body']>
  /** Resolves once the adapter has ended. */
  readonly served: Promise<void>
  close(): Promise<void>
}

/** Launches a target: it stands as `stopOnEntry` has it. */
export async function openEditor(target: DebugTarget): Promise<TestEditor> {
  let ended = (): void => undefined
  const served = new Promise<void>((resolve) => { ended = resolve })
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    void serveDebugAdapter({ input: socket, output: socket, launch: () => target }).then(ended)
  })
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  const client = new DebugClient('node', '', 'paravirt')
  client.defaultTimeout = 60_000
  await client.start((server.address() as AddressInfo).port)
  const capabilities = (await client.initializeRequest()).body ?? {}
  await Promise.all([client.waitForEvent('initialized'), client.launchRequest({})])
  return {
    client, capabilities, served,
    stopped: async (work) => {
      const [event] = await Promise.all([client.waitForEvent('stopped'), work()])
      return (event as DebugProtocol.StoppedEvent).body
    },
    close: async () => {
      await client.stop()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}
