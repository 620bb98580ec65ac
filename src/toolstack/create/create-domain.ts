/**
 * Creating a domain, from its configuration to its first instruction, step by step; each step says how it is taken
 * back, so that a creation that fails leaves the host as it was.
 */
import { XenError, type DomId } from '../../util/index.ts'
import { runBootloader, type BootloaderHost } from '../bootloader/bootloader.ts'
import { buildPvDomain } from '../builder/pv-builder.ts'
import { buildPvhDomain } from '../builder/pvh-builder.ts'
import { buildTypeScriptDomain } from '../builder/typescript-builder.ts'
import type { DomainConfig } from '../config/domain-config.ts'
import { checkStreamFiles } from '../config/stream-trust.ts'
import { SERVED_DISKS } from '../device-kinds/disk/disk-service.ts'
import type { SymbolTable } from '../symbols/symbol-table.ts'
import { applyCpuid } from './cpuid-policy.ts'
import { capabilitiesOf, checkKernelOffered, checkOffered } from './capabilities.ts'
import {
  connectDevices,
  connectShell,
  makeShell,
  type CreateHost,
  type DomainShell,
  type ShellPlan,
  type ShellRings,
} from './domain-shell.ts'
import { loadKernel, loadRamdisk, type KernelSource, type LoadedKernel } from '../domains/kernel-source.ts'
import { roomFor } from '../memory/host-room.ts'
import { PAGES_PER_MEBIBYTE } from '../domains/memory-settings.ts'
import type { OperationContext } from '../run/operation.ts'
import { randomUuid } from '../domains/random-names.ts'

/** Steps of creating a domain. */
export type CreateProgress =
  | { readonly type: 'image-loaded'; readonly kernel: string; readonly bytes: number }
  | { readonly type: 'domain-made'; readonly domid: number }
  | { readonly type: 'memory-built'; readonly domid: number; readonly pages: number }
  | { readonly type: 'started'; readonly domid: number }

/** What was created; it is still paused. */
export interface CreatedDomain {
  readonly domid: DomId
  readonly uuid: string
  /** Functions of its kernel, as far as its file names them. */
  readonly symbols?: SymbolTable | undefined
}

/** A domain on its way. */
interface Plan extends ShellPlan {
  readonly kernel: LoadedKernel
  readonly ramdisk: Uint8Array | undefined
  readonly pages: number
}

/** Gives the domain its memory and contents. */
function build(plan: Plan, shell: DomainShell): ShellRings {
  const { host, config, kernel, pages, ramdisk } = plan
  const { domid, storePort, consolePort } = shell
  const common = { domid, pages, commandLine: config.commandLine, storePort, consolePort, servedBy: 0 as DomId }
  if ('image' in kernel) {
    const { image } = kernel
    if ('virtualBase' in image) return buildPvDomain(host.control, { ...common, image, ramdisk, initial: host.hardwareDomain !== undefined })
    const { vcpus, maxVcpus, maxMemory } = config
    return buildPvhDomain(host.control, { ...common, image, ramdisk, vcpus, maxVcpus, maxPages: maxMemory * PAGES_PER_MEBIBYTE })
  }
  const built = buildTypeScriptDomain(host.control, common)
  shell.boot.info = built.boot
  return built
}

/** Fails early, and with the numbers, when the host has no room. */
function checkMemory({ host, pages, config }: Plan): void {
  const { freeFrames, outstandingFrames } = host.control.hostInfo()
  const freePages = freeFrames - outstandingFrames
  if (pages <= freePages) return
  const free = Math.floor(freePages / PAGES_PER_MEBIBYTE)
  throw new XenError('OUT_OF_MEMORY', `domain ${config.name} needs ${config.memory} MiB, the host has ${free} MiB free`, {
    details: { neededPages: pages, freePages },
  })
}

/**
 * Finds and reads what the domain starts with: what its configuration names, or what its boot loader finds in its disk.
 * `booted` is the configuration with what was found; the domain itself keeps the one that it was given, and its boot loader
 * runs again when it starts anew.
 */
async function loadImages(
  host: CreateHost,
  config: DomainConfig<KernelSource>,
  context: OperationContext<CreateProgress>,
): Promise<{ kernel: LoadedKernel; ramdisk: Uint8Array | undefined; booted: DomainConfig<KernelSource> }> {
  const origin = config.trust === undefined ? 'configuration' : 'stream'
  const openDisk: BootloaderHost['openDisk'] = (disk) => host.devices.service(SERVED_DISKS).openImage(disk, origin)
  const found = await (config.bootloader === undefined ? undefined : runBootloader(config, { openDisk, signal: context.signal }))
  if (found === undefined) {
    const kernel = await loadKernel(config, host)
    return { kernel, ramdisk: await loadRamdisk(config.ramdisk, host.files), booted: config }
  }
  // Names of the guest's own files are shown, and never looked up on this host.
  const kernel = { ...await loadKernel({ type: config.type, kernel: found.kernel }, host), name: found.path }
  const ramdisk = await loadRamdisk(found.ramdisk?.bytes, host.files)
  return { kernel, ramdisk, booted: { ...config, commandLine: found.commandLine, ramdisk: found.ramdisk?.path } }
}

/** Two domains of one UUID would have one directory of /vm, which goes with the first of them. */
function checkUuid({ store }: CreateHost, uuid: string): void {
  if (!store.exists(`/vm/${uuid}`)) return
  throw new XenError('DOMAIN_EXISTS', `a domain with the UUID ${uuid} exists already`, { details: { uuid } })
}

/** Creates a domain and leaves it paused. What it has done is undone by the context when a later step throws. */
export async function createDomain(
  host: CreateHost,
  config: DomainConfig<KernelSource>,
  context: OperationContext<CreateProgress>,
): Promise<CreatedDomain> {
  host.claimName(config.name)
  checkOffered(config, capabilitiesOf(host.control, host.devices.kinds))
  checkStreamFiles(config)
  const { kernel, ramdisk, booted } = await loadImages(host, config, context)
  checkKernelOffered(kernel, config.type, capabilitiesOf(host.control, host.devices.kinds))
  context.check()
  context.report({ type: 'image-loaded', kernel: kernel.name, bytes: kernel.size })
  await roomFor(host, config.memory * PAGES_PER_MEBIBYTE, context)
  context.check()
  // Somebody else may have taken name or memory while files were read; from here on nothing waits.
  host.claimName(config.name)
  const uuid = config.uuid ?? randomUuid(host.random)
  checkUuid(host, uuid)
  const plan: Plan = { host, config: booted, kernel, ramdisk, uuid, pages: config.memory * PAGES_PER_MEBIBYTE }
  checkMemory(plan)
  const { undo } = context
  const shell = makeShell(plan, { undo, onMade: (id) => context.report({ type: 'domain-made', domid: id }) })
  const rings = build(plan, shell)
  context.report({ type: 'memory-built', domid: shell.domid, pages: plan.pages })
  connectShell(plan, shell, rings, { undo })
  applyCpuid(host.control, shell.domid, config.cpuid)
  await connectDevices(plan, shell, context)
  context.check()
  if (!host.control.domainInfo(shell.domid).hasRegisters) host.control.startVcpu(shell.domid, 0)
  return { domid: shell.domid, uuid, symbols: 'image' in kernel ? kernel.symbols : undefined }
}
