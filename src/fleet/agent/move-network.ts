/** How domains get from host to host with their memory: a pipe for each, that begins with the domain's name. In this process; over TCP it is in `paravirt/node`. */
import { iterateBytes, openOutput, transportPair, type MigrationTransport } from '../../toolstack/index.ts'
import { XenError } from '../../util/index.ts'

/** A pipe to another host, and scissors. */
export interface MovePipe {
  readonly transport: MigrationTransport
  /** Cuts it: both ends notice. */
  cut(): void
}

/** A host's place in what joins the hosts of a fleet. */
export interface MoveNetwork {
  /** Where this host is, for its record. */
  readonly address: string
  /** A pipe to the host at an address. Rejects with IO. */
  connect(address: string): Promise<MovePipe>
  /** Hands over each pipe that another host has made, until the returned function is called. */
  listen(take: (pipe: MovePipe) => void): () => void
}

/** Longest name, and what ends it. */
const MOST = 64
const END = 10

/** Says at the beginning of a pipe which domain comes over it. */
export const sayName = (name: string, { transport }: MovePipe): Promise<void> => openOutput(transport.writable).write(new TextEncoder().encode(`${name}\n`))

/** Hears which domain comes over a pipe; the pipe goes on behind it. Rejects with INVALID_STREAM. */
export async function hearName({ transport, cut }: MovePipe): Promise<{ readonly name: string; readonly pipe: MovePipe }> {
  const chunks = iterateBytes(transport.readable, 'fresh')
  let head: number[] = []
  for (;;) {
    const next = await chunks.next()
    const value: Uint8Array = next.done === true ? new Uint8Array() : next.value
    const end = value.indexOf(END)
    head = [...head, ...value.subarray(0, end < 0 ? MOST + 1 : end)]
    if (next.done === true || head.length > MOST) throw new XenError('INVALID_STREAM', 'the pipe does not begin with the name of a domain')
    if (end < 0) continue
    const rest = value.slice(end + 1)
    const readable = (async function* () {
      if (rest.length > 0) yield rest
      for (let each = await chunks.next(); each.done !== true; each = await chunks.next()) yield each.value
    })()
    return { name: new TextDecoder().decode(Uint8Array.from(head)), pipe: { transport: { readable, writable: transport.writable }, cut } }
  }
}

/** What joins the hosts of one process. */
export interface MemoryMoves {
  /** A host's place, by an address of its own. */
  join(address: string): MoveNetwork
}

/**
 * Joins hosts of this process.
 *
 * @example
 * const network = memoryMoves()
 * const machine = hostMachine(host, { moves: network.join('anna') })
 */
export function memoryMoves(): MemoryMoves {
  const takers = new Map<string, (pipe: MovePipe) => void>()
  return {
    join: (address) => ({
      address,
      connect: async (there) => {
        const take = takers.get(there)
        if (take === undefined) throw new XenError('IO', `no host takes domains in at ${there}`, { details: { address: there } })
        const { ends: [near, far], cut } = transportPair()
        take({ transport: far, cut })
        return { transport: near, cut }
      },
      listen: (take) => {
        takers.set(address, take)
        return () => { if (takers.get(address) === take) takers.delete(address) }
      },
    }),
  }
}
