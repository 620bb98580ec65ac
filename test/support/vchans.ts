/** Two guests in TypeScript on a fake hypervisor, and a vchan between them. */
import { VchanInterface } from '../../src/abi/index.ts'
import { openVchanClient, openVchanServer, type Vchan, type VchanServerOptions } from '../../src/drivers/index.ts'
import { FakeHypervisor, TestStore, during, type FakeDomain } from '../../src/testing/index.ts'

/** The domains of the two ends. */
export const [SERVER, CLIENT] = [1, 2]
/** Where the server publishes, as it says it and as the client does. */
export const [PATH, ABSOLUTE] = ['data/vchan/test', `/local/domain/${SERVER}/data/vchan/test`]
const PAGES = 640

/** Two domains, and what is open between them. */
export interface VchanWorld {
  readonly hub: FakeHypervisor
  readonly store: TestStore
  readonly back: FakeDomain
  readonly front: FakeDomain
  /** Resolves when it is settled, with the domains running meanwhile. */
  run<T>(work: Promise<T>): Promise<T>
  /** Opens the server's end, and the client's. */
  serve(options?: Partial<VchanServerOptions>): Promise<Vchan>
  connect(): Promise<Vchan>
  /** Byte offset of the shared page. */
  head(): number
  /** What must hold at the end: nothing mapped, granted or open that was not before. */
  left(): { readonly mappings: number; readonly grants: readonly number[]; readonly free: readonly number[]; readonly ports: readonly number[]; readonly timers: readonly number[] }
}

/** Makes the domains. */
export async function vchanWorld(): Promise<VchanWorld> {
  const hub = new FakeHypervisor(2048)
  const store = new TestStore()
  const back = hub.createDomain(SERVER, () => undefined, { store: store.connect(SERVER), pages: PAGES, grantFrames: 8 })
  const front = hub.createDomain(CLIENT, () => undefined, { store: store.connect(CLIENT), pages: PAGES })
  await hub.settle()
  const ofBoth = <T>(of: (domain: FakeDomain) => T): T[] => [back, front].map(of)
  const run = <T>(work: Promise<T>): Promise<T> => during(hub, work)
  return {
    hub, store, back, front, run,
    serve: (options = {}) => run(openVchanServer(back.kernel, { client: CLIENT, path: PATH, ...options })),
    connect: () => run(openVchanClient(front.kernel, { server: SERVER, path: ABSOLUTE })),
    head: () => back.kernel.hypercalls.memory && frameOf(back, Number(store.get(`${ABSOLUTE}/ring-ref`))) * 4096,
    left: () => ({
      mappings: hub.mappings, grants: ofBoth(({ kernel }) => kernel.grants.granted), free: ofBoth(({ kernel }) => kernel.frames.free),
      ports: ofBoth(({ kernel }) => kernel.events.open), timers: ofBoth(({ kernel }) => kernel.openTimers),
    }),
  }
}

/** The frame that a domain has granted by a reference. */
function frameOf({ kernel }: FakeDomain, ref: number): number {
  const frame = kernel.grants.save().granted.find((grant) => grant.ref === ref)?.frame
  if (frame === undefined) throw new Error(`there is no grant ${ref}`)
  return frame
}

/** The words of the shared page. */
export const HEAD = VchanInterface
