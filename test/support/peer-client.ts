/** A client of any server behind a socket that asks one thing at a time, for comparing answers. */
import { connect, type Socket } from 'node:net'
import { PacketParser } from '../../src/xenstore/index.ts'
import { STORE_OPS, storePacket } from '../../src/testing/index.ts'

interface Answer {
  readonly type: number
  readonly id: number
  readonly text: string
}

/** Connects, also to a server that lets only one client wait in line and turns others away for the moment. */
export async function connectPatiently(path: string): Promise<Socket> {
  for (let tries = 0; ; tries += 1) {
    const socket = connect(path)
    const failure = await new Promise<NodeJS.ErrnoException | undefined>((resolve) => {
      socket.once('connect', () => resolve(undefined)).once('error', resolve)
    })
    if (failure === undefined) return socket
    if (failure.code !== 'EAGAIN' || tries === 200) throw failure
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** The client. Answers look as those of the harness's: errors as `!ENOENT`, terminators as `|`. */
export class PeerClient {
  private readonly socket: Socket
  private readonly parser = new PacketParser()
  private answers: Answer[] = []
  private lastId = 0
  private wake = (): void => undefined

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('error', () => undefined)
    socket.on('data', (piece) => {
      this.parser.feed(piece)
      while (this.parser.next() === 'message') {
        const { type, requestId, body, start, end } = this.parser
        this.answers.push({ type, id: requestId, text: Buffer.from(body.slice(start, end)).toString('latin1') })
      }
      this.wake()
    })
  }

  static async connect(path: string): Promise<PeerClient> {
    return new PeerClient(await connectPatiently(path))
  }

  /** Asks, and waits for the answer to this very request; rejects when there is none for five seconds. */
  async ask(type: number, body: string, tx = 0): Promise<string> {
    this.lastId += 1
    this.socket.write(storePacket(type, body, { id: this.lastId, tx }))
    const deadline = Date.now() + 20_000
    for (;;) {
      const place = this.answers.findIndex((answer) => answer.id === this.lastId && answer.type !== STORE_OPS.WATCH_EVENT)
      if (place >= 0) {
        const [answer] = this.answers.splice(place, 1)
        const text = answer!.text.replaceAll('\0', '|')
        return answer!.type === STORE_OPS.ERROR ? `!${text.slice(0, -1)}` : text
      }
      if (Date.now() > deadline) throw new Error(`no answer to ${type} ${JSON.stringify(body)}`)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 100)
        this.wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  /** The events that have arrived, after one more exchange to be sure that they have. */
  async events(): Promise<string[]> {
    await this.ask(STORE_OPS.GET_DOMAIN_PATH, '1\0')
    const events = this.answers.filter(({ type }) => type === STORE_OPS.WATCH_EVENT)
    this.answers = this.answers.filter(({ type }) => type !== STORE_OPS.WATCH_EVENT)
    return events.map(({ text }) => text.slice(0, -1).replace('\0', ' '))
  }

  close(): void {
    this.socket.destroy()
  }
}
