/**
 * The Debug Adapter Protocol over two streams, for editors. Its messages are read and written by the optional package `@vscode/debugadapter`; what they mean is in `paravirt/debug`.
 */
import { debugAdapter, type DebugAdapterOptions } from '../debug/index.ts'
import { checkArgument, checkOptions, callable, having, thrownMessage, XenError } from '../util/index.ts'

const PACKAGE = '@vscode/debugadapter'

/** What is used of the package. */
interface Request {
  readonly seq: number
  readonly command: string
  readonly arguments?: unknown
}
interface Response {
  body?: object
}
interface Session {
  start(input: NodeJS.ReadableStream, output: NodeJS.WritableStream): void
  stop(): void
  sendEvent(event: object): void
  sendResponse(response: Response): void
  dispatchRequest(request: Request): void
  shutdown(): void
}
interface AdapterPackage {
  readonly DebugSession: new () => Session
  readonly Event: new (name: string, body: object) => object
  readonly Response: new (request: Request, message?: string) => Response
}

/** Where an editor is. */
export interface DebugAdapterStreams {
  /** Its requests: standard input, or a socket. */
  readonly input: NodeJS.ReadableStream
  /** What it is told: standard output, or the socket. */
  readonly output: NodeJS.WritableStream
  /** Makes what it asks for: its arguments are those of the launch configuration. */
  readonly launch: DebugAdapterOptions['launch']
}

async function load(): Promise<AdapterPackage> {
  let loaded: AdapterPackage & { readonly default?: AdapterPackage }
  try {
    loaded = await import(/* @vite-ignore */ PACKAGE) as AdapterPackage
  } catch (cause) {
    throw new XenError('NOT_SUPPORTED', `editors need the package ${PACKAGE}: npm install ${PACKAGE}`, { details: { package: PACKAGE }, cause })
  }
  return loaded.default ?? loaded
}

/** A session of the package that hands requests over, one after the other; what happens meanwhile is told behind the response. */
function sessionOf({ DebugSession, Event, Response }: AdapterPackage, launch: DebugAdapterOptions['launch'], ended: () => void): Session {
  let chain: Promise<void> = Promise.resolve()
  let waiting: object[] | undefined
  class PackageSession extends DebugSession {
    private readonly adapter = debugAdapter({
      launch, event: (name, body) => {
        const event = new Event(name, body)
        if (waiting === undefined) this.sendEvent(event)
        else waiting.push(event)
      },
    })

    override dispatchRequest(request: Request): void {
      chain = chain.then(() => this.answer(request))
    }

    override shutdown(): void {
      this.adapter.close()
      ended()
    }

    private async answer(request: Request): Promise<void> {
      waiting = []
      const response = await this.adapter.request(String(request.command), request.arguments).then(
        (body) => Object.assign(new Response(request), body === undefined ? {} : { body }),
        (error: unknown) => Object.assign(new Response(request, thrownMessage(error)), { body: { error: { id: 1, format: thrownMessage(error), showUser: true } } }),
      )
      this.sendResponse(response)
      for (const event of waiting.splice(0)) this.sendEvent(event)
      waiting = undefined
      if (request.command === 'disconnect') this.shutdown()
    }
  }
  return new PackageSession()
}

/**
 * Speaks with an editor over two streams until it takes leave or its stream ends: then the guest goes on, unless the editor has ended it. Rejects with NOT_SUPPORTED where the optional
 * package `@vscode/debugadapter` is not installed.
 *
 * @example
 * await serveDebugAdapter({ input: process.stdin, output: process.stdout, launch: () => ({ host, domain: 'web' }) })
 */
export async function serveDebugAdapter(streams: DebugAdapterStreams): Promise<void> {
  checkOptions('serveDebugAdapter', streams, { input: having('on'), output: having('write'), launch: callable })
  checkArgument('the input of serveDebugAdapter', streams.input, having('on'))
  checkArgument('the output of serveDebugAdapter', streams.output, having('write'))
  const loaded = await load()
  await new Promise<void>((resolve) => {
    const session = sessionOf(loaded, streams.launch, resolve)
    // Its own stream says 'close'; one that only ends, as standard input, says so itself.
    streams.input.on('end', () => session.shutdown())
    session.start(streams.input, streams.output)
  })
}
