/**
 * Creating a domain, from its configuration to its first instruction, step by step; each step says how it is taken
 * back, so that a creation that fails leaves the host as it was.
 */
import { TypeScriptRunner, type BootInfo } from '../../guest/index.ts'
import type { ControlInterface, VcpuRunner } from '../../hypervisor/index.ts'
import { SeededRandom, XenError, type DomId, type EventPort, type Mfn, type Random } from '../../util/index.ts'
import type { LocalStore } from '../../xenstore/index.ts'
import { buildPvDomain } from '../builder/pv-builder.ts'
import { buildTypeScriptDomain } from '../builder/typescript-builder.ts'
import type { DomainConfig } from '../config/domain-config.ts'
import { wakingPort, type Dom0 } from './dom0.ts'
import type { Decompressor } from '../image/unpack.ts'
import { removeDomainNodes, writeDomainNodes, writeRingNodes } from './domain-nodes.ts'
import type { FileReader } from './files.ts'
import type { CreateProgress } from './host-events.ts'
import { loadKernel, loadRamdisk, type KernelSource, type LoadedKernel } from './kernel-source.ts'
import type { OperationContext } from './operation.ts'
import { randomUuid, uuidBytes } from './random-names.ts'
import type { RunLoop } from './run-loop.ts'

/** Pages that a domain may have beyond its memory: what libxl allows (1 MiB). */
export const SLACK_PAGES = 256
/** Pages of a MiB. */
export const PAGES_PER_MEBIBYTE = 256

/** What creating a domain needs of its host. */
export interface CreateHost {
  readonly control: ControlInterface
  readonly dom0: Dom0
  readonly store: LocalStore
  readonly files: FileReader
  readonly decompress: Decompressor | undefined
  readonly loop: RunLoop
  readonly random: Random
  /** Seconds since 1970. */
  wallSeconds(): number
  /** Throws DOMAIN_EXISTS when a domain has this name. */
  claimName(name: string): void
  /** Hears of exceptions that a guest in TypeScript threw. */
  onGuestError(domid: DomId, error: unknown): void
}

/** What was created; it is still paused. */
export interface CreatedDomain {
  readonly domid: DomId
  readonly uuid: string
}

/** A domain on its way. */
interface Plan {
  readonly host: CreateHost
  readonly config: DomainConfig<KernelSource>
  readonly kernel: LoadedKernel
  readonly ramdisk: Uint8Array | undefined
  readonly uuid: string
  readonly pages: number
}

/** Set when the domain is built, read at its first run. */
interface BootHolder {
  info?: BootInfo
}

function makeDomain({ host, config, kernel, uuid }: Plan, holder: BootHolder): DomId {
  const { control, loop } = host
  const seed = host.random.next()
  const domid: { current?: DomId } = {}
  domid.current = control.createDomain({
    kind: kernel.kind, vcpus: config.maxVcpus, handle: uuidBytes(uuid),
    maxPages: config.maxMemory * PAGES_PER_MEBIBYTE + SLACK_PAGES,
    maxPorts: config.maxEventChannels + 1, maxGrantFrames: config.maxGrantFrames,
    ...(kernel.kind === 'pv' ? {} : {
      createRunner: (port): VcpuRunner => new TypeScriptRunner(wakingPort(port, loop), {
        program: kernel.program,
        random: new SeededRandom(seed),
        boot: () => holder.info!,
        onCrash: (error) => host.onGuestError(domid.current!, error),
      }),
    }),
  })
  return domid.current
}

interface Ports {
  readonly store: EventPort
  readonly console: EventPort
}

/** Gives the domain its memory and contents. */
function build(plan: Plan, domid: DomId, ports: Ports, holder: BootHolder): { storeFrame: Mfn; consoleFrame: Mfn } {
  const { host, config, kernel, pages, ramdisk } = plan
  const common = {
    domid, pages, commandLine: config.commandLine, storePort: ports.store, consolePort: ports.console, servedBy: 0 as DomId,
  }
  if (kernel.kind === 'pv') return buildPvDomain(host.control, { ...common, image: kernel.image, ramdisk })
  const built = buildTypeScriptDomain(host.control, common)
  holder.info = built.boot
  return built
}

/** Fails early, and with the numbers, when the host has no room. */
function checkMemory({ host, pages, config }: Plan): void {
  const { freeFrames } = host.control.hostInfo()
  if (pages <= freeFrames) return
  throw new XenError('OUT_OF_MEMORY', `domain ${config.name} needs ${config.memory} MiB, the host has ${Math.floor(freeFrames / PAGES_PER_MEBIBYTE)} MiB free`, {
    details: { neededPages: pages, freePages: freeFrames },
  })
}

function writeNodes({ host, config, kernel, uuid }: Plan, domid: DomId): void {
  host.store.transaction((transaction) => writeDomainNodes(transaction, {
    id: domid, name: config.name, uuid, memory: config.memory * 1024, maxMemory: config.maxMemory * 1024,
    vcpus: config.vcpus, maxVcpus: config.maxVcpus, kernel: kernel.name, commandLine: config.commandLine,
    ramdisk: config.ramdisk === undefined ? undefined : typeof config.ramdisk === 'string' ? config.ramdisk : 'bytes',
    startTime: host.wallSeconds(),
  }))
}

/** Creates a domain and leaves it paused. What it has done is undone by the context when a later step throws. */
export async function createDomain(
  host: CreateHost,
  config: DomainConfig<KernelSource>,
  context: OperationContext<CreateProgress>,
): Promise<CreatedDomain> {
  const { control, dom0, store } = host
  host.claimName(config.name)
  const kernel = await loadKernel(config.kernel, host.files, host.decompress)
  const ramdisk = await loadRamdisk(config.ramdisk, host.files)
  context.check()
  context.report({ type: 'image-loaded', kernel: kernel.name, bytes: kernel.size })
  // Somebody else may have taken name or memory while files were read; from here on nothing waits.
  host.claimName(config.name)
  const uuid = config.uuid ?? randomUuid(host.random)
  const plan: Plan = { host, config, kernel, ramdisk, uuid, pages: config.memory * PAGES_PER_MEBIBYTE }
  checkMemory(plan)
  const holder: BootHolder = {}
  const domid = makeDomain(plan, holder)
  context.undo(() => control.destroyDomain(domid))
  context.report({ type: 'domain-made', id: domid })
  context.undo(() => removeDomainNodes(store, domid, uuid))
  writeNodes(plan, domid)
  const ports: Ports = { store: control.allocUnbound(domid, 0 as DomId), console: control.allocUnbound(domid, 0 as DomId) }
  const rings = build(plan, domid, ports, holder)
  context.report({ type: 'memory-built', id: domid, pages: plan.pages })
  dom0.connectStore(domid, ports.store)
  context.undo(() => dom0.disconnectStore(domid))
  store.transaction((transaction) => writeRingNodes(transaction, domid, {
    storeFrame: rings.storeFrame, storePort: ports.store, consoleFrame: rings.consoleFrame, consolePort: ports.console,
  }))
  dom0.consoles.open(domid, { tty: `paravirt:${domid}` })
  context.undo(() => dom0.consoles.close(domid))
  context.check()
  if (kernel.kind === 'typescript') control.startVcpu(domid, 0)
  return { domid, uuid }
}
