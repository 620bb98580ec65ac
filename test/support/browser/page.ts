/** What a test's page offers to the test: hosts of workers, and programs in workers. */
import { connectWorker, wispOutside } from '../../../src/browser/index.ts'
import type { RemoteDomain } from '../../../src/index.ts'

/** The guest of the host that is kept. */
let kept: RemoteDomain

const start = (name: string): Worker => new Worker('/worker.js', { type: 'module', name })

/** What tests call. */
const offered = {
  /** Creates a domain by the service, types at it, and gives what it said. */
  async talk(name: string) {
    const host = await connectWorker(start(name))
    const guest = await host.createDomain({ name: 'hello', memory: 16 })
    await guest.console.waitFor('mini> ')
    await guest.console.write('echo hello browser\n')
    const [said] = await guest.console.waitFor(/^hello browser$/)
    await host.shutdown()
    return said
  },
  async refusal(name: string, script = '/worker.js') {
    const worker = new Worker(script, { type: 'module', name })
    return connectWorker(worker).then(() => 'connected', ({ code, message }: { code: string; message: string }) => `${code}: ${message}`)
  },
  /** What a server says to a request that goes by a relay, as one of a guest's does. */
  fetchBy(relay: string, name: string, port: number): Promise<string> {
    const outside = wispOutside(relay)
    return new Promise<string>((resolve, reject) => {
      outside.resolve({ type: 'A', name }, ({ answers: [host] }) => {
        let text = ''
        const stream = outside.connectTcp({ host: host!, port }, {
          opened: () => undefined, taken: () => undefined, data: (bytes) => { text += new TextDecoder().decode(bytes) },
          ended: () => resolve(text), failed: (why) => reject(new Error(why)),
        })
        stream.write(new TextEncoder().encode(`GET / HTTP/1.1\r\nhost: ${name}\r\nconnection: close\r\n\r\n`))
      })
    }).finally(() => outside.close())
  },
  /** How many disks a domain has that a script's host is asked for. */
  async openDisks(script: string, disks: string[]): Promise<number> {
    const host = await connectWorker(new Worker(script, { type: 'module' }))
    const domain = await host.createDomain({ name: 'disks', memory: 16, disks })
    const devices = await domain.devices()
    await host.shutdown()
    return devices.filter(({ kind }) => kind === 'vbd').length
  },
  /** Connects to a worker's host, which stays until the page goes; `say` and `waitFor` are for its first guest. */
  async keep(name: string) {
    const host = await connectWorker(start(name))
    kept = await host.domain((await host.domains())[0]!.id)
  },
  async say(text: string) {
    await kept.console.write(text)
  },
  async waitFor(text: string) {
    await kept.console.waitFor(text, { from: 0 })
    return kept.console.text()
  },
  /** What a program of the worker answers. */
  run(name: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const worker = start(name)
      worker.onmessage = ({ data }: MessageEvent<{ result?: unknown; error?: string }>) => {
        worker.terminate()
        if (data.error === undefined) resolve(data.result)
        else reject(new Error(data.error))
      }
      worker.onerror = ({ message }) => reject(new Error(message))
    })
  },
}

/** The page's own name of it. */
export type Offered = typeof offered
Object.assign(globalThis, { offered })
