/** Speaks GDB's protocol packet by packet, right ones and wrong ones. */
import { packet, PacketReader } from '../../src/debug/gdb/packets.ts'

/** A debugger's end of a connection. */
export class GdbClient {
  readonly heard: string[] = []
  private readonly reader = new PacketReader()
  private readonly queue: Uint8Array[] = []
  private wake: (() => void) | undefined
  private isOver = false

  readonly transport = {
    readable: this.read(),
    writable: { write: (chunk: Uint8Array): void => { for (const one of this.reader.take(chunk)) this.heard.push(one.type === 'packet' ? one.text : one.type) } },
  }

  private async * read(): AsyncGenerator<Uint8Array, void> {
    while (!this.isOver || this.queue.length > 0) {
      const next = this.queue.shift()
      if (next === undefined) await new Promise<void>((resolve) => { this.wake = resolve })
      else yield next
    }
  }

  send(bytes: Uint8Array): void {
    this.queue.push(bytes)
    this.wake?.()
  }

  end(): void {
    this.isOver = true
    this.wake?.()
  }

  /** The answer to a request. */
  async ask(text: string): Promise<string> {
    const before = this.heard.length
    this.send(packet(text))
    for (let i = 0; i < 5000 && this.heard.filter((one, at) => at >= before && one !== 'acknowledged').length === 0; i += 1) await new Promise((resolve) => setTimeout(resolve, 2))
    return this.heard.slice(before).filter((one) => one !== 'acknowledged').join(' ')
  }
}
