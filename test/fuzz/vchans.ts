/**
 * A seeded fuzzer for vchans: one end is the real one, in either role; the other is real too, or a peer that writes what it likes into nodes, the shared page and the
 * references. Between two honest ends every byte is compared. After a sequence both are closed, and nothing may be left mapped, granted or thrown. A failing
 * sequence is repeated by its number.
 */
import { VchanInterface } from '../../src/abi/index.ts'
import { openVchanClient, openVchanServer, type Vchan } from '../../src/drivers/index.ts'
import type { GuestKernel } from '../../src/guest/index.ts'
import { FakeHypervisor, type FakeDomain } from '../../src/testing/index.ts'
import { below, SeededRandom, XenError } from '../../src/util/index.ts'

/** What the sequences reached, so that a fuzzer which only bounces off the first check is noticed. */
export interface VchansReached {
  /** Clients that were connected, and those that were refused. */
  connected: number
  refused: number
  /** Bytes that were read, and packets among them; ends that gave up because of their peer. */
  bytes: number
  packets: number
  broken: number
  /** Reads and writes that waited and were fulfilled. */
  waited: number
}

const [SERVER, CLIENT] = [1, 2]
const SIZES = [1, 1024, 2048, 4096, 5000, 16384] as const

/** Values that are wrong in the ways that matter: limits, wraps, near misses, and plain noise. */
function odd(random: SeededRandom): number {
  const values = [0, 1, 2, 9, 10, 11, 12, 20, 21, 1024, 2048, 4096, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]
  return below(random, 4) === 0 ? below(random, 2 ** 31) * 2 + below(random, 2) : (values[below(random, values.length)]! + below(random, 3)) >>> 0
}

/** A kernel as far as a vchan asks for it: frames and grants are real ones, XenStore is a table, and events wait until they are delivered. */
class Side {
  readonly kernel: GuestKernel
  readonly domain: FakeDomain
  peer: Side | undefined
  private handler: (() => void) | undefined
  private isPending = false

  constructor(domain: FakeDomain, nodes: Map<string, string>) {
    const { grants, frames } = domain.kernel
    const full = (path: string): string => (path.startsWith('/') ? path : `/local/domain/${domain.id}/${path}`)
    const access = {
      read: async (path: string) => {
        const value = nodes.get(full(path))
        if (value === undefined) throw new XenError('XENSTORE', `${path}: ENOENT`, { details: { error: 'ENOENT' } })
        return value
      },
      write: async (path: string, value: string) => void nodes.set(full(path), value), setPermissions: async () => undefined,
      remove: async (path: string) => { for (const name of nodes.keys()) if (name.startsWith(`${full(path)}/`)) nodes.delete(name) },
      watch: async () => async () => undefined,
    }
    const listen = (handler: () => void): number => {
      this.handler = handler
      return 9
    }
    const kernel = {
      domid: domain.id, frames, grants, hypercalls: domain.hypercalls, turn: () => undefined, after: () => ({ cancel: () => undefined }),
      endGrant: (ref: never, ended: () => void) => grants.endWhenUnused(ref, ended), store: { ...access, transaction: (body: (of: typeof access) => Promise<unknown>) => body(access) },
      events: {
        allocateUnbound: (_own: number, _remote: number, handler: () => void) => listen(handler), bindInterdomain: (_remote: number, _port: number, handler: () => void) => listen(handler),
        keep: (port: number) => port, notify: () => { if (this.peer !== undefined) this.peer.isPending = true }, close: () => { this.handler = undefined },
      },
    }
    this.domain = domain
    // Only what is here is asked for.
    this.kernel = kernel as unknown as GuestKernel
  }

  deliver(isSpurious = false): void {
    if (!this.isPending && !isSpurious) return
    this.isPending = false
    this.handler?.()
  }
}

interface World {
  readonly hub: FakeHypervisor
  readonly domains: readonly [FakeDomain, FakeDomain]
  readonly reached: VchansReached
}

/** Bytes that one honest end has written and the other has not read. */
class Pipe {
  private readonly bytes: number[] = []
  private next = 0

  make(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => (this.next = (this.next * 5 + 3) & 0xff))
  }

  wrote(bytes: Uint8Array): void {
    this.bytes.push(...bytes)
  }

  check(bytes: Uint8Array): void {
    const expected = this.bytes.splice(0, bytes.length)
    if (Buffer.compare(Buffer.from(expected), bytes) !== 0) throw new Error(`${bytes.length} bytes came that nobody wrote so`)
  }
}

/** Does something that only typed errors may come out of. */
function typed<T>(act: () => T): T | undefined {
  try {
    return act()
  } catch (error) {
    if (!XenError.is(error)) throw error
    return undefined
  }
}

/** One end's next step: reads or writes something, and compares it where both are honest. */
function step(vchan: Vchan, { random, out, into, waiting, reached }: {
  readonly random: SeededRandom; readonly out: Pipe | undefined; readonly into: Pipe | undefined; readonly waiting: Promise<unknown>[]; readonly reached: VchansReached
}): void {
  const length = below(random, 6) === 0 ? below(random, 20_000) : below(random, 300)
  const got = (bytes: Uint8Array | undefined): void => {
    if (bytes === undefined) return
    reached.bytes += bytes.length
    into?.check(bytes)
  }
  const write = out?.make(length) ?? new Uint8Array(length)
  switch (below(random, 8)) {
    case 0: return void typed(() => [vchan.ready, vchan.space, vchan.state, vchan.broken].map(String))
    case 1: case 2: return got(typed(() => vchan.tryRead(length + 1)))
    case 3: {
      const packet = typed(() => vchan.tryReceive(length + 1))
      if (packet !== undefined) reached.packets += 1
      return got(packet)
    }
    case 4: case 5: return void out?.wrote(write.subarray(0, typed(() => vchan.tryWrite(write)) ?? 0))
    case 6: {
      if (typed(() => vchan.trySend(write)) === true) out?.wrote(write)
      return
    }
    default: {
      // Those who wait are not compared: in which order they are answered is the contract suite's business.
      if (out === undefined) waiting.push((typed(() => (below(random, 2) === 0 ? vchan.read(length + 1) : vchan.write(write))) ?? Promise.resolve()).then(() => { reached.waited += 1 }))
    }
  }
}

/** Writes anything anywhere that a peer can write. */
function scribble({ hub }: World, head: number, random: SeededRandom): void {
  const { leftProd, leftCons, rightProd, rightCons, cliLive, srvLive, cliNotify, srvNotify, leftOrder, rightOrder } = VchanInterface
  const index = [leftProd, leftCons, rightProd, rightCons][below(random, 4)]!
  switch (below(random, 8)) {
    case 0: return index.set(hub.view, head, odd(random))
    case 1: case 2: case 3: return index.set(hub.view, head, index.get(hub.view, head) + below(random, 400))
    case 4: return [cliLive, srvLive][below(random, 2)]!.set(hub.view, head, below(random, 5))
    case 5: return [cliNotify, srvNotify][below(random, 2)]!.set(hub.view, head, below(random, 256))
    case 6: return [leftOrder, rightOrder][below(random, 2)]!.set(hub.view, head, odd(random))
    default: return hub.view.setUint32(head + VchanInterface.size + 4 * below(random, 8), odd(random), true)
  }
}

/** The frame that the server shares. */
const headOf = ({ domains: [back] }: World, nodes: ReadonlyMap<string, string>): number =>
  back.kernel.grants.save().granted.find(({ ref }) => ref === Number(nodes.get(`/local/domain/${SERVER}/v/ring-ref`)))!.frame * 4096

async function sequence(world: World, random: SeededRandom): Promise<void> {
  const { domains: [back, front], reached } = world
  const nodes = new Map<string, string>()
  const [server, client] = [new Side(back, nodes), new Side(front, nodes)]
  server.peer = client
  client.peer = server
  const isHonest = below(random, 3) === 0
  const size = (): number => SIZES[below(random, SIZES.length)]!
  const served = await openVchanServer(server.kernel, { client: CLIENT, path: 'v', receive: size(), send: size(), persistent: below(random, 4) === 0 })
  const head = headOf(world, nodes)
  if (!isHonest) for (let lies = below(random, 3); lies > 0; lies -= 1) scribble(world, head, random)
  if (!isHonest && below(random, 8) === 0) nodes.set(`/local/domain/${SERVER}/v/${below(random, 2) === 0 ? 'ring-ref' : 'event-channel'}`, below(random, 3) === 0 ? 'x' : String(odd(random)))
  const connected = await openVchanClient(client.kernel, { server: SERVER, path: `/local/domain/${SERVER}/v` }).catch((error: unknown) => {
    if (!XenError.is(error)) throw error
    return undefined
  })
  reached[connected === undefined ? 'refused' : 'connected'] += 1
  const waiting: Promise<unknown>[] = []
  const [up, down] = isHonest ? [new Pipe(), new Pipe()] : [undefined, undefined]
  const ends = [{ vchan: served, out: down, into: up }, ...(connected === undefined ? [] : [{ vchan: connected, out: up, into: down }])]
  for (let steps = below(random, 40); steps >= 0; steps -= 1) {
    const { vchan, out, into } = ends[below(random, ends.length)]!
    step(vchan, { random, out, into, waiting, reached })
    if (!isHonest && below(random, 4) === 0) scribble(world, head, random)
    for (const side of [server, client]) side.deliver(below(random, 10) === 0)
  }
  const answers = Promise.all(waiting.map((answer) => answer.catch((error: unknown) => { if (!XenError.is(error)) throw error })))
  for (const { vchan } of ends) {
    if (vchan.broken !== undefined) reached.broken += 1
    await vchan.close()
  }
  await answers
  back.kernel.grants.retryEnding()
  const left = [world.hub.mappings, front.kernel.grants.mappings, back.kernel.grants.granted, back.kernel.frames.total - back.kernel.frames.free]
  if (left.some((count) => count !== 0)) throw new Error(`mappings, grants or pages are left: ${left.join(', ')}`)
}

/** Runs so many sequences; what they reached. Throws for the first that fails, with its number. */
export async function fuzzVchans(count: number): Promise<VchansReached> {
  const hub = new FakeHypervisor(1024)
  const domains = [hub.createDomain(SERVER, () => undefined), hub.createDomain(CLIENT, () => undefined)] as const
  await hub.settle()
  const reached: VchansReached = { connected: 0, refused: 0, bytes: 0, packets: 0, broken: 0, waited: 0 }
  for (let number = 0; number < count; number += 1) {
    try {
      await sequence({ hub, domains, reached }, new SeededRandom(number))
    } catch (cause) {
      throw new Error(`sequence ${number} of vchans failed`, { cause })
    }
  }
  return reached
}
