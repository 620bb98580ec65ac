/**
 * Restoring a domain from a stream in the format of `xl save`. The stream is not trusted: a restore that fails leaves
 * the host as it was.
 * Reference: xl(1), "restore"; xen/docs/specs/libxl-migration-stream.pandoc.
 */
import { StartInfo, XenstoreDomainInterface } from '../../abi/index.ts'
import type { BootInfo } from '../../guest/index.ts'
import { XenError, type DomId } from '../../util/index.ts'
import type { DomainConfig } from '../config/domain-config.ts'
import type { GuestType } from '../config/option-values.ts'
import { checkStreamDevices, trustWithKernel, type StreamTrust } from '../config/stream-trust.ts'
import { capabilitiesOf, checkOffered } from '../create/capabilities.ts'
import {
  connectDevices,
  connectShell,
  makeShell,
  type CreateHost,
  type DomainShell,
  type ShellKernel,
  type ShellPlan,
} from '../create/domain-shell.ts'
import { roomFor } from '../memory/host-room.ts'
import { PAGES_PER_MEBIBYTE, SLACK_PAGES } from '../domains/memory-settings.ts'
import { isTypeScriptName, shownKernelName, type KernelSource } from '../domains/kernel-source.ts'
import type { OperationContext } from '../run/operation.ts'
import { randomUuid } from '../domains/random-names.ts'
import type { Devices } from '../devices/devices.ts'
import { readHead, readTail, type SaveStreamReader } from '../stream/index.ts'
import { configFromJson } from './config-json.ts'
import type { CpuPolicyChoice } from './processor-demands.ts'
import { HvmImageReader } from './hvm-image-reader.ts'
import type { ImageReader, RestoredRings } from './image-reader.ts'
import { PvImageReader, type RestoredImage } from './pv-image-reader.ts'

/** How a domain is restored. */
export interface RestoreOptions {
  /**
   * What the domain is to run when it is started anew; needed for a guest in TypeScript, whose program is not in the
   * stream. Default: the file that the stream names.
   */
  readonly kernel?: KernelSource | undefined
  /** The name, given the stream's. Default: the stream's. */
  readonly rename?: ((saved: string) => string) | undefined
  /**
   * What of this host the stream may name: disks, bridges, files, driver domains. Default: nothing, because a stream may
   * come from anybody. `'all'` for a stream of your own.
   */
  readonly trust?: StreamTrust | undefined
  /**
   * What becomes of a domain that was shown more features of the processor than this host offers: `refuse` (the default) names
   * them and restores nothing, `mask` hides them from now on. Whatever a guest proves to be using is refused in any case.
   */
  readonly cpuPolicy?: CpuPolicyChoice | undefined
}

/** Steps of restoring a domain. */
export type RestoreProgress =
  | { readonly type: 'configuration'; readonly name: string; readonly memory: number }
  | { readonly type: 'domain-made'; readonly domid: number }
  | { readonly type: 'pages'; readonly pages: number; readonly bytes: number }
  /** The image is complete and correct; the domain is paused. */
  | { readonly type: 'restored'; readonly domid: number; readonly pages: number; readonly bytes: number }

/** A domain that was restored; it is still paused. */
export interface RestoredDomain {
  readonly domid: DomId
  readonly uuid: string
  readonly config: DomainConfig<KernelSource>
  /** The name in the stream. */
  readonly savedName: string
}

/** The kernel for the domain's next start, and whether the image is that of a guest in TypeScript. */
function chooseKernel(saved: DomainConfig<string>, kernel: KernelSource | undefined): ShellKernel {
  const isProgram = isTypeScriptName(saved.kernel)
  if (isProgram && typeof kernel !== 'function') {
    throw new XenError('NOT_SUPPORTED', `the saved domain runs ${saved.kernel}: give its program as \`kernel\``, {
      details: { kernel: saved.kernel },
    })
  }
  if (!isProgram && typeof kernel === 'function') {
    throw new XenError('INVALID_ARGUMENT', 'the saved domain runs a binary kernel, not a program in TypeScript')
  }
  const name = shownKernelName(kernel ?? saved.kernel)
  return typeof kernel === 'function' ? { kind: 'typescript', name, program: kernel } : { kind: saved.type, name }
}

/** What a restored guest in TypeScript is started with: a fresh connection to XenStore, and the memory that it left. */
function startProgram({ host }: ShellPlan, shell: DomainShell, image: RestoredImage): void {
  const { control } = host
  const { domid } = shell
  // The old connection's requests are nobody's any more.
  const ring = control.frameBytes(domid, image.xenstoreFrame)
  ring.fill(0, 0, XenstoreDomainInterface.size)
  control.markWritten(image.xenstoreFrame)
  const startInfo = control.frameBytes(domid, image.startInfoFrame)
  const text = StartInfo.cmdLine.get(new DataView(startInfo.buffer, startInfo.byteOffset, startInfo.byteLength), 0)
  const info: BootInfo = {
    sharedInfo: control.domainInfo(domid).sharedInfoFrame,
    frames: image.frames(),
    startInfo: image.startInfoFrame,
    restored: true,
    store: { frame: image.xenstoreFrame, port: shell.storePort },
    console: { frame: image.consoleFrame, port: shell.consolePort },
    commandLine: new TextDecoder().decode(text.subarray(0, (text.indexOf(0) + text.length + 1) % (text.length + 1))),
  }
  shell.boot.info = info
}

/** Throws where a domain of this description cannot be restored here: NOT_SUPPORTED, INVALID_ARGUMENT, PERMISSION_DENIED. */
export function checkRestorable(host: CreateHost, saved: DomainConfig<string>, { kernel, trust = {} }: Pick<RestoreOptions, 'kernel' | 'trust'>): void {
  const { devices: { kinds }, control } = host
  checkStreamDevices(kinds.listed(saved), trust)
  checkOffered(saved, capabilitiesOf(control, kinds))
  chooseKernel(saved, kernel)
}

/** Reads the configuration that a stream begins with. */
async function readConfig(
  { kinds }: Devices,
  reader: SaveStreamReader,
  options: RestoreOptions,
): Promise<{ saved: DomainConfig<string>; config: DomainConfig<KernelSource> }> {
  const saved = configFromJson(await readHead(reader), kinds)
  const { kernel = saved.kernel, trust = {} } = options
  checkStreamDevices(kinds.listed(saved), trust)
  return {
    saved,
    config: {
      ...saved, kernel, bootloader: options.kernel === undefined ? saved.bootloader : undefined, name: options.rename?.(saved.name) ?? saved.name, trust: trustWithKernel(trust, options.kernel),
    },
  }
}

/**
 * Reads the image's header, and looks at the record behind it, by which a PV domain tells the width of its kernel: the kernel with the
 * kind of guest that it takes. Throws INVALID_STREAM for an image of another kind of guests.
 */
async function readImageStart(reader: SaveStreamReader, type: GuestType, kernel: ShellKernel): Promise<ShellKernel> {
  const { kind } = await reader.readImageHeader()
  const wanted = type === 'pvh' ? 'hvm' : 'pv'
  if (kind !== wanted) {
    throw new XenError('INVALID_STREAM', `the configuration wants an image of type ${wanted}, and there is one of type ${kind}`, { details: { kind, wanted } })
  }
  if ('program' in kernel || kind === 'hvm') return kernel
  const first = await reader.peekBulkRecord()
  return first.type === 'pv-info' && first.guestWidth === 4 ? { ...kernel, kind: 'pv32' } : kernel
}

/** Reads the rest of the image into the domain. */
async function readImage(reader: SaveStreamReader, image: ImageReader, context: OperationContext<RestoreProgress>): Promise<void> {
  const last = await image.read(reader, (record) => {
    context.check()
    if (record === 'page-data') context.report({ type: 'pages', pages: image.pageCount, bytes: reader.offset })
  })
  if (last === 'checkpoint') throw new XenError('NOT_SUPPORTED', 'the stream is one of repeated checkpoints')
  await readTail(reader)
}

/** What fills a domain from its stream: reads the image, and puts the domain together. */
interface Filling {
  readonly image: ImageReader
  finish(): RestoredRings
}

/** How a domain of the plan's kind is filled. */
function fillingOf(plan: ShellPlan, shell: DomainShell, { cpuPolicy }: RestoreOptions): Filling {
  const { host: { control }, config } = plan
  const { domid, storePort, consolePort } = shell
  const target = { domid, maxPages: config.maxMemory * PAGES_PER_MEBIBYTE + SLACK_PAGES, xenstorePort: storePort, consolePort, cpuPolicy }
  const { hasRegisters, translated } = control.domainInfo(domid)
  // Not while the domain stands still at the other end of a migration.
  if (hasRegisters) control.prepareVcpu(domid, 0)
  if (translated) {
    const image = new HvmImageReader(control, target)
    return { image, finish: () => image.finish() }
  }
  const image = new PvImageReader(control, { ...target, hasRegisters })
  return {
    image,
    finish() {
      const restored = image.finish()
      if (!hasRegisters) startProgram(plan, shell, restored)
      return restored
    },
  }
}

/** Restores a domain and leaves it paused. What it has done is undone by the context when a later step throws. */
export async function restoreDomain(
  host: CreateHost,
  reader: SaveStreamReader,
  options: RestoreOptions & Pick<ShellPlan, 'openedDisks'> & { readonly context: OperationContext<RestoreProgress> },
): Promise<RestoredDomain> {
  const { context } = options
  const { undo } = context
  const { saved, config } = await readConfig(host.devices, reader, options)
  checkOffered(config, capabilitiesOf(host.control, host.devices.kinds))
  const chosen = chooseKernel(saved, options.kernel)
  host.claimName(config.name)
  context.report({ type: 'configuration', name: saved.name, memory: config.memory })
  const kernel = await readImageStart(reader, saved.type, chosen)
  await roomFor(host, config.memory * PAGES_PER_MEBIBYTE, context)
  host.claimName(config.name)
  // A domain that moves within one host lives beside itself for a moment; its nodes cannot.
  const taken = config.uuid === undefined || host.store.exists(`/vm/${config.uuid}`)
  const uuid = taken ? randomUuid(host.random) : config.uuid
  const plan: ShellPlan = { host, config, kernel, uuid, openedDisks: options.openedDisks }
  const shell = makeShell(plan, { undo, onMade: (id) => context.report({ type: 'domain-made', domid: id }) })
  const { image, finish } = fillingOf(plan, shell, options)
  await readImage(reader, image, context)
  const rings = finish()
  connectShell(plan, shell, { storeFrame: rings.xenstoreFrame, consoleFrame: rings.consoleFrame }, { undo })
  await connectDevices(plan, shell, context)
  if ('program' in kernel) host.control.startVcpu(shell.domid, 0)
  context.check()
  context.report({ type: 'restored', domid: shell.domid, pages: image.pageCount, bytes: reader.offset })
  return { domid: shell.domid, uuid, config, savedName: saved.name }
}
