/**
 * What surrounds a domain's memory, whether it is built or restored: the domain itself, its nodes in XenStore, and the
 * ends of its rings in dom0. Each step says how it is taken back.
 */
import type { BlockStore } from '../../drivers/index.ts'
import type { BootInfo, GuestProgram } from '../../guest/index.ts'
import type { ControlInterface } from '../../hypervisor/index.ts'
import type { DomId, EventPort, Random } from '../../util/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import type { LocalStore } from '../../xenstore/index.ts'
import type { DomainConfig } from '../config/domain-config.ts'
import { TSC_MODES } from '../config/option-values.ts'
import type { WantedDevice } from '../device-kinds/described-device.ts'
import { DISK } from '../device-kinds/disk/disk.ts'
import type { Devices } from '../devices/devices.ts'
import type { Dom0 } from '../dom0/dom0.ts'
import { removeDomainNodes, writeDomainNodes, writeRingNodes } from '../domains/domain-nodes.ts'
import type { GuestPrograms } from '../domains/guest-programs.ts'
import type { RoomSeat } from '../memory/host-room.ts'
import type { KernelPlaces } from '../domains/kernel-source.ts'
import type { OperationContext } from '../run/operation.ts'
import { applyScheduling } from './domain-scheduling.ts'
import { PAGES_PER_MEBIBYTE, SLACK_PAGES } from '../domains/memory-settings.ts'
import { uuidBytes } from '../domains/random-names.ts'
import type { RunLoop } from '../run/run-loop.ts'

/** What making a domain needs of its host. */
export interface CreateHost extends KernelPlaces, RoomSeat {
  readonly control: ControlInterface
  readonly dom0: Dom0
  readonly store: LocalStore
  readonly loop: RunLoop
  readonly random: Random
  readonly devices: Devices
  /** Seconds since 1970. */
  wallSeconds(): number
  /** Seconds by which local time is ahead of UTC. */
  readonly timeZoneOffset: number
  /** Throws DOMAIN_EXISTS when a domain has this name. */
  claimName(name: string): void
  readonly programs: GuestPrograms
  /** What is made is the host's hardware domain, with this number: privileged, and told that it is the initial one. */
  readonly hardwareDomain?: DomId | undefined
  /** A domain was made that has a name and no handle yet. */
  onShell(domid: DomId, name: string): void
  /** A domain that was made is gone again, as what was to make it complete has failed. */
  onFailed(domid: DomId, name: string, error: unknown): void
}

/** What runs in the domain, as far as its surroundings have to know. */
export type ShellKernel =
  | { readonly kind: 'pv' | 'pv32' | 'pvh'; readonly name: string }
  | { readonly kind: 'typescript'; readonly name: string; readonly program: GuestProgram }

/** A domain on its way. */
export interface ShellPlan {
  readonly host: CreateHost
  readonly config: DomainConfig<unknown>
  readonly kernel: ShellKernel
  readonly uuid: string
  /** Contents of disks that the host's opener has opened for it before, by the disks' names. */
  readonly openedDisks?: ReadonlyMap<string, BlockStore> | undefined
}

/** A domain without memory, and what its memory has to name. */
export interface DomainShell {
  readonly domid: DomId
  readonly storePort: EventPort
  readonly consolePort: EventPort
  /** A guest in TypeScript finds here at its first run what it is started with. */
  readonly boot: { info?: BootInfo }
}

/** Frames of the rings in the domain's memory, as its own kernel numbers them. */
export interface ShellRings {
  readonly storeFrame: number
  readonly consoleFrame: number
}

type Undo = Pick<OperationContext<never>, 'undo'>

/** Kind of a memory map's entry: usable memory. */
const E820_RAM = 1

function makeDomain({ host, config, kernel, uuid }: ShellPlan, boot: DomainShell['boot']): DomId {
  const { control, programs, hardwareDomain: domid } = host
  const seed = host.random.next()
  return control.createDomain({
    ...(domid === undefined ? {} : { domid, privileged: true }), kind: kernel.kind, vcpus: config.maxVcpus, handle: uuidBytes(uuid),
    maxPages: config.maxMemory * PAGES_PER_MEBIBYTE + SLACK_PAGES,
    maxPorts: config.maxEventChannels + 1, maxGrantFrames: config.maxGrantFrames, maxMaptrackFrames: config.maxMaptrackFrames,
    grantVersion: config.maxGrantVersion === 1 ? 1 : 2,
    ...(!('program' in kernel) ? {} : {
      createRunner: programs.starting({ program: kernel.program, seed, boot: () => boot.info! }),
    }),
  })
}

/** One range of RAM, as libxl tells a PV guest that has no devices passed through. A translated guest's map is its builder's. */
function tellMemory({ host: { control }, config, kernel }: ShellPlan, domid: DomId): void {
  if ('program' in kernel || control.domainInfo(domid).translated) return
  control.setMemoryMap(domid, [{ address: 0, size: config.maxMemory * PAGES_PER_MEBIBYTE * PAGE_SIZE, type: E820_RAM }])
}

function writeNodes({ host, config, kernel, uuid }: ShellPlan, domid: DomId): void {
  host.store.transaction((transaction) => writeDomainNodes(transaction, {
    type: config.type, id: domid, name: config.name, uuid, memory: config.memory * 1024, maxMemory: config.maxMemory * 1024,
    vcpus: config.vcpus, maxVcpus: config.maxVcpus, kernel: kernel.name, commandLine: config.commandLine,
    ramdisk: config.ramdisk === undefined ? undefined : typeof config.ramdisk === 'string' ? config.ramdisk : 'bytes',
    driverDomain: config.driverDomain, startTime: host.wallSeconds(),
  }))
}

/** How it sees wall clock and time-stamp counter; what a stream tells of the counter comes later, and counts. */
function setClocks({ host, config }: ShellPlan, domid: DomId): void {
  const ahead = config.timeOffset + (config.localTime ? host.timeZoneOffset : 0)
  if (ahead !== 0) host.control.setTimeOffset(domid, ahead)
  // libxl's numbers of the modes are Xen's.
  const mode = TSC_MODES.indexOf(config.tscMode)
  if (mode !== 0) host.control.setTscInfo(domid, { mode, kilohertz: 0, nanoseconds: 0n, incarnation: 0 })
}

/** Makes a domain that is empty and paused. */
export function makeShell(plan: ShellPlan, context: Undo & { onMade?: (domid: DomId) => void }): DomainShell {
  const { control, store, programs } = plan.host
  const boot: DomainShell['boot'] = {}
  const domid = makeDomain(plan, boot)
  context.undo((cause) => {
    plan.host.dom0.disconnectStore(domid)
    control.destroyDomain(domid)
    programs.forget(domid)
    plan.host.onFailed(domid, plan.config.name, cause)
  })
  plan.host.onShell(domid, plan.config.name)
  context.onMade?.(domid)
  tellMemory(plan, domid)
  applyScheduling(plan.host, domid, plan.config)
  setClocks(plan, domid)
  // From here on nobody else gets what the domain is to be built of.
  if (plan.config.claimMode) control.claimPages(domid, plan.config.memory * PAGES_PER_MEBIBYTE)
  context.undo(() => removeDomainNodes(store, domid, plan.uuid))
  writeNodes(plan, domid)
  return {
    domid,
    storePort: control.allocUnbound(domid, 0 as DomId),
    consolePort: control.allocUnbound(domid, 0 as DomId),
    boot,
  }
}

/** Connects the rings of a domain whose memory is complete to XenStore and to its console. */
export function connectShell({ host }: ShellPlan, shell: DomainShell, rings: ShellRings, context: Undo): void {
  const { control, dom0, store } = host
  const { domid, storePort, consolePort } = shell
  control.claimPages(domid, 0)
  dom0.connectStore(domid, storePort)
  context.undo(() => dom0.disconnectStore(domid))
  store.transaction((transaction) => writeRingNodes(transaction, domid, { storePort, consolePort, tty: `paravirt:${domid}`, ...rings }))
  // At once, not when the nodes are noticed: a guest may write, and end, in its first slice.
  dom0.consoles.open(domid, { ring: { port: consolePort, ringFrame: rings.consoleFrame } })
  context.undo(() => dom0.consoles.close(domid))
}

/** Attaches the devices of a domain's configuration; their back-ends are ready when it resolves. */
export async function connectDevices(
  { host, config, openedDisks }: ShellPlan,
  { domid }: DomainShell,
  context: Pick<OperationContext<never>, 'undo' | 'check' | 'signal'>,
): Promise<void> {
  const { devices } = host
  const wanted = devices.kinds.listed(config)
  if (wanted.length === 0) return
  const { signal, check } = context
  const origin = config.trust === undefined ? 'configuration' : 'stream'
  context.undo(() => devices.detachAll(domid))
  const openedFor = ({ kind, config: device }: WantedDevice): BlockStore | undefined =>
    (kind.name === DISK.name ? openedDisks?.get(kind.nameOf(device, 0)) : undefined)
  for (const device of wanted) await devices.attach(domid, device, { signal, check, origin, opened: openedFor(device) })
}
