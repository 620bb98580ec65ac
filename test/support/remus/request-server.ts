/**
 * A guest that answers numbered requests, and who asks them from outside: what a protected domain is judged by. The guest carries the next number out, once,
 * with a token by chance and a line in its journal on the disk; what it has carried out last it answers as before. So an effect that is lost shows as a gap, and one
 * that is done twice as another token. The same guest in C is test/guests/contract/serve.c for kernels of any kind, and test/guests/request-server.c as a program of Linux.
 */
import { BlockFrontend, NetFrontend } from '../../../src/drivers/index.ts'
import { FrontendBus, type GuestKernel } from '../../../src/guest/index.ts'

/** The guest's address on the network. */
export const SERVER_MAC = '00:16:3e:00:00:01'
const GUEST = Uint8Array.of(0, 0x16, 0x3e, 0, 0, 1)
const OBSERVER = Uint8Array.of(2, 0, 0, 0, 0, 9)
const EVERYBODY = new Uint8Array(6).fill(0xff)
const SECTORS = 64
/** What each of the three says when it does; a Linux at its start says other things that serve. */
export const SERVES = 'serves requests'
/** Bytes of its disk. */
export const JOURNAL_BYTES = SECTORS * 512
const TYPE = 0x88b6

/** A frame: who to, who from, and three words. */
function frame(to: Uint8Array, from: Uint8Array, words: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(60)
  bytes.set(to)
  bytes.set(from, 6)
  const view = new DataView(bytes.buffer)
  view.setUint16(12, TYPE)
  words.forEach((word, i) => view.setUint32(14 + i * 4, word))
  return bytes
}

/** The words of a frame; undefined for one of others. */
function wordsOf(bytes: Uint8Array): readonly [number, number, number] | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return view.getUint16(12) === TYPE ? [view.getUint32(14), view.getUint32(18), view.getUint32(22)] : undefined
}

interface Served {
  readonly last: number
  readonly token: number
}

/** What a frame of the guest's says: the answer to a request, with its token; that requests are missing, and the last there was; that it is here, for bridges to learn it. */
const [ANSWER, GAP, HERE] = [1, 2, 3]

/** The number of the request that a frame answers; undefined for others. */
export function answeredBy(bytes: Uint8Array): number | undefined {
  const words = wordsOf(bytes)
  return words?.[1] === ANSWER ? words[0] : undefined
}

/** The guest. */
export async function requestServer(kernel: GuestKernel): Promise<void> {
  const [nics, disks, bus] = [new NetFrontend(), new BlockFrontend(), new FrontendBus(kernel)]
  let served = (kernel.restoredState as Served | undefined) ?? { last: 0, token: 0 }
  kernel.control.saveState(() => ({ ...served }))
  await bus.register(disks)
  await bus.register(nics)
  const [disk, nic] = [await disks.disk('xvda'), await nics.nic(0)]
  void nic.send(frame(EVERYBODY, GUEST, [served.last, HERE, 0]))
  kernel.console?.log(SERVES)
  for await (const bytes of nic) {
    const number = wordsOf(bytes)?.[0]
    if (number === undefined) continue
    if (number > served.last + 1) void nic.send(frame(OBSERVER, GUEST, [number, GAP, served.last]))
    if (number === served.last + 1) {
      const token = kernel.random.next()
      const line = new Uint8Array(512)
      new DataView(line.buffer).setUint32(0, number)
      new DataView(line.buffer).setUint32(4, token)
      await disk.write(number % SECTORS, line)
      served = { last: number, token }
    }
    if (number === served.last) void nic.send(frame(OBSERVER, GUEST, [number, ANSWER, served.token]))
  }
}

/** Asks one request after the other until each is answered, and notes what must not be. */
export class Observer {
  readonly answers: number[] = []
  readonly violations: string[] = []
  private number = 1

  /** Hears a frame. */
  hear(bytes: Uint8Array): void {
    const words = wordsOf(bytes)
    if (words === undefined || words[0] > this.number) return
    const [number, kind, value] = words
    if (kind === GAP) {
      const gap = `request ${number} finds the guest at ${value}: effects were lost`
      if (!this.violations.includes(gap)) this.violations.push(gap)
    }
    if (kind !== ANSWER) return
    const known = this.answers[number]
    if (known === undefined) {
      this.answers[number] = value
      this.number += 1
    } else if (known !== value) this.violations.push(`request ${number} was carried out twice: tokens ${known} and ${value}`)
  }

  /** What it asks now. */
  get request(): Uint8Array {
    return frame(GUEST, OBSERVER, [this.number])
  }

  get answered(): number {
    return this.number - 1
  }
}

/** The last lines of a journal, and whether they agree with what the observer was answered. */
export function judgeJournal(disk: Uint8Array, { answers, answered }: Observer): string[] {
  const view = new DataView(disk.buffer, disk.byteOffset, disk.byteLength)
  const violations: string[] = []
  for (let number = Math.max(1, answered - SECTORS + 2); number <= answered; number += 1) {
    const [line, token] = [view.getUint32((number % SECTORS) * 512), view.getUint32((number % SECTORS) * 512 + 4)]
    if (line !== number || token !== answers[number]) violations.push(`the journal has ${line} with ${token} in the place of answer ${number}, which was ${answers[number]}`)
  }
  return violations
}
