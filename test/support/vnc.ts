/** Viewers of screens: Debian's vncsnapshot, which nobody here wrote, and bare bytes for what no viewer would send. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createCipheriv } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { dirname } from 'node:path'
import { guestFile } from './guests.ts'

/** What the program needs beside itself. */
const LIBRARIES = ['jpegLibrary'] as const

/** A picture that a viewer has got. */
export interface Snapshot {
  readonly width: number
  readonly height: number
  /** Red, green, blue. */
  readonly pixels: Uint8Array
}

async function run(program: string, args: readonly string[], input?: Uint8Array): Promise<{ readonly status: number | null; readonly out: Buffer; readonly err: string }> {
  const libraries = LIBRARIES.map((name) => dirname(guestFile(name)!)).join(':')
  const child = spawn(program, args, { env: { ...process.env, LD_LIBRARY_PATH: libraries }, stdio: ['pipe', 'pipe', 'pipe'] })
  const [out, err]: [Buffer[], Buffer[]] = [[], []]
  child.stdout.on('data', (bytes: Buffer) => out.push(bytes))
  child.stderr.on('data', (bytes: Buffer) => err.push(bytes))
  child.stdin.on('error', () => undefined)
  child.stdin.end(input)
  const [status] = await once(child, 'close') as [number | null]
  return { status, out: Buffer.concat(out), err: Buffer.concat(err).toString() }
}

/** Takes a picture of the screen at a port, packed with the least loss that JPEG has; what the program says where it gets none. */
export async function vncSnapshot(port: number, passwordFile?: string): Promise<Snapshot | string> {
  // A display beyond those of the first hundred ports is given with its port.
  const taken = await run(guestFile('vncsnapshot')!, ['-quality', '100', ...(passwordFile === undefined ? [] : ['-passwd', passwordFile]), `127.0.0.1::${port}`, '-'])
  if (taken.status !== 0 || taken.out.length === 0) return taken.err
  const { out } = await run(guestFile('djpeg')!, ['-pnm'], taken.out)
  const [head, width, height] = /^P6\n(\d+) (\d+)\n255\n/.exec(out.subarray(0, 40).toString('latin1')) ?? []
  return { width: Number(width), height: Number(height), pixels: out.subarray(head!.length) }
}

/** The key by which viewers hide a password in a file, its bytes with their bits in the opposite order. */
const FILE_KEY = Uint8Array.of(0xe8, 0x4a, 0xd6, 0x60, 0xc4, 0x72, 0x1a, 0xe0)

/** A password as viewers have it in files. */
export function passwordFile(password: string): Uint8Array {
  const padded = Buffer.alloc(8)
  padded.write(password)
  const cipher = createCipheriv('des-ede3', Buffer.concat([FILE_KEY, FILE_KEY, FILE_KEY]), null).setAutoPadding(false)
  return Buffer.concat([cipher.update(padded), cipher.final()])
}

/** A connection to a screen's port that says what it likes. */
export class BareViewer {
  readonly socket: Socket
  closed = false
  private got = Buffer.alloc(0)

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1')
    this.socket.on('data', (bytes: Buffer) => { this.got = Buffer.concat([this.got, bytes]) })
    this.socket.on('error', () => undefined)
    this.socket.on('close', () => { this.closed = true })
  }

  /** The next bytes; rejects where the connection ends before. */
  async read(count: number): Promise<Buffer> {
    while (this.got.length < count) {
      if (this.closed) throw new Error(`the connection ended with ${this.got.length} of ${count} bytes`)
      await Promise.race([once(this.socket, 'data'), once(this.socket, 'close')])
    }
    const bytes = this.got.subarray(0, count)
    this.got = this.got.subarray(count)
    return bytes
  }

  send(...bytes: readonly (number | string)[]): void {
    for (const part of bytes) this.socket.write(typeof part === 'string' ? part : Uint8Array.of(part))
  }

  /** Resolves when the other end has let it go. */
  async ended(): Promise<void> {
    if (!this.closed) await once(this.socket, 'close')
  }

  /** As far as the picture's size, without a password. */
  async begin(): Promise<{ readonly width: number; readonly height: number }> {
    await this.read(12)
    this.send('RFB 003.008\n')
    const [count, kind] = await this.read(2)
    if (count !== 1 || kind !== 1) throw new Error(`${count} ways, ${kind} the first`)
    this.send(1)
    await this.read(4)
    this.send(1)
    const head = await this.read(24)
    await this.read(head.readUInt32BE(20))
    return { width: head.readUInt16BE(0), height: head.readUInt16BE(2) }
  }
}
