/**
 * The composition root: puts machine, hypervisor, XenStore and dom0 together, as told by settings and grub.conf.
 */
import { VirtualClock, XEN_VERSION, type HostClock, type Hypervisor } from '../../hypervisor/index.ts'
import type { Machine } from '../../machine/index.ts'
import { SeededRandom, XenError, type DomId } from '../../util/index.ts'
import { XenStore, type LocalStore } from '../../xenstore/index.ts'
import type { BootDescription } from '../grub/boot-description.ts'
import { parseGrub } from '../grub/grub.ts'
import { dom0Mebibytes } from '../grub/memory-size.ts'
import type { BootWarning } from '../grub/xen-options.ts'
import type { TellFailure } from '../run/callback-failures.ts'
import { PAGES_PER_MEBIBYTE } from '../domains/memory-settings.ts'
import { Dom0Plan } from '../dom0/dom0.ts'
import type { ControlDomain } from '../initial-domain/control-domain.ts'
import { DEFAULT_MEBIBYTES, hardwareDomainOf, hasOwnServices } from '../initial-domain/hardware-domain.ts'
import { HostConsole } from '../initial-domain/host-console.ts'
import { LinuxDom0 } from '../initial-domain/linux-dom0.ts'
import type { ShutdownReasonName } from '../domains/shutdown-reason.ts'
import { GuestPrograms } from '../domains/guest-programs.ts'
import { writeHostNodes } from '../domains/domain-nodes.ts'
import { MemoryFiles, checkedFiles, type FileReader } from '../config/files.ts'
import { resolveHostOptions, type HostOptions, type ResolvedHostOptions } from './host-options.ts'
import { Inputs } from '../run/inputs.ts'
import { RealTimeClock } from '../run/real-time-clock.ts'
import { RunLoop } from '../run/run-loop.ts'
import { Wall } from '../run/wall.ts'
import { createHypervisor } from './create-hypervisor.ts'
import { machineFor, type Ground } from './ground.ts'

const MEBIBYTE = 2 ** 20
/** MiB of dom0 with a kernel of this library, where nobody says anything. */
const DEFAULT_DOM0 = 64

/** What a host consists of. */
export interface HostParts {
  readonly options: ResolvedHostOptions
  readonly control: Hypervisor
  readonly machine: Machine
  /** Where the chance of processors that are made begins. */
  readonly seeds: SeededRandom
  readonly clock: HostClock
  readonly loop: RunLoop
  /** What the host follows once it is there, where it follows the wall: until then its time passes with the instructions. */
  readonly wall: Wall | undefined
  readonly xenstore: XenStore
  readonly store: LocalStore
  /** Domain 0: what runs in it, how it is saved. */
  readonly plan: ControlDomain
  /** What runs in the other domains that are written in TypeScript. */
  readonly programs: GuestPrograms
  /** Called when one of them has thrown. */
  readonly onGuestError: { current(domid: DomId, error: unknown): void }
  readonly dom0MaxMebibytes: number
  readonly files: FileReader
  readonly bootDescription: BootDescription | undefined
  readonly warnings: readonly BootWarning[]
  /** Called when a domain has ended. */
  readonly onDomainException: { current: () => void }
  /** Called when a dom0 with a kernel of its own has ended. */
  readonly onDom0Shutdown: { current: (reason: ShutdownReasonName) => void }
  /** Called when code of the host's owner has failed. */
  readonly onCallbackFailed: { current: TellFailure }
  /** The door by which things come in from outside. */
  readonly inputs: Inputs
}

/** Dom0's MiB at boot, and at most. Settings go before the grub.conf. */
function dom0Memory(
  options: ResolvedHostOptions,
  boot: BootDescription | undefined,
): { readonly atBoot: number; readonly most: number } {
  const total = options.memory * MEBIBYTE
  const isLinux = hasOwnServices(options)
  const otherwise = Math.min(isLinux ? DEFAULT_MEBIBYTES : DEFAULT_DOM0, Math.floor(options.memory / 2))
  const spec = boot?.xen.dom0Memory ?? {}
  const atBoot = (isLinux ? options.dom0?.memory : undefined) ?? options.dom0Memory ?? dom0Mebibytes(spec, total, otherwise * MEBIBYTE)
  if (atBoot < 1 || atBoot > options.memory) {
    throw new XenError('OUT_OF_MEMORY', `dom0 is to have ${atBoot} MiB, the host has ${options.memory}`, {
      details: { dom0: atBoot, host: options.memory },
    })
  }
  const most = spec.max === undefined ? options.memory : dom0Mebibytes({ amount: spec.max }, total, 0)
  return { atBoot, most: Math.max(most, atBoot) }
}

/** Dom0 is a kernel of this library: what a grub.conf would load instead is named in one warning. */
function moduleWarnings({ dom0, ramdisk, others }: BootDescription): readonly BootWarning[] {
  const paths = [dom0, ramdisk, ...others].flatMap((module) => module?.path ?? [])
  if (paths.length === 0) return []
  const what = paths.length === 1 ? `module ${paths[0]} is` : `modules ${paths.join(', ')} are`
  return [{
    option: 'module', reason: 'not found',
    message: `${what} not loaded: dom0 is a kernel of this library, as no file of the host is ${paths[0]}`,
  }]
}

/** Dom0's kernel works on one vCPU: an option that asks for more is named in a warning. */
function vcpuWarnings({ xen }: BootDescription): readonly BootWarning[] {
  if (xen.dom0Vcpus === undefined || xen.dom0Vcpus.min === 1) return []
  const message = 'Xen option `dom0_max_vcpus` has no effect: dom0 is a kernel of this library, which works on one vCPU'
  return [{ option: 'dom0_max_vcpus', reason: 'not implemented', message }]
}

/** A host whose dom0 is still to come. */
export type HostFrame = Omit<HostParts, 'store'>

/** Puts everything together up to, and without, dom0. */
export const frameOf = (given: HostOptions): HostFrame => {
  const options = resolveHostOptions(given)
  return frameOn({ machine: machineFor(options) }, options)
}

/** The same on a ground that is there, with options that have been checked. */
export function frameOn(ground: Ground, options: ResolvedHostOptions): HostFrame {
  const bootDescription = options.grubConf === undefined ? undefined : parseGrub(options.grubConf)
  const memory = dom0Memory(options, bootDescription)
  const { instructionsPerSecond } = options
  const clock = options.clock === 'realtime' ? new RealTimeClock({ instructionsPerSecond }) : new VirtualClock({ instructionsPerSecond })
  const inputs = new Inputs(clock)
  const random = new SeededRandom(options.seed)
  const onCallbackFailed: HostParts['onCallbackFailed'] = { current: () => undefined }
  const { machine } = ground
  const { control, seeds } = createHypervisor({
    ground, options, clock, random,
    xen: bootDescription?.xen ?? {},
    commandLine: bootDescription?.hypervisor.commandLine ?? '',
    onCallbackFailed: (failure) => onCallbackFailed.current(failure),
  })
  const loop = new RunLoop(control, clock, () => undefined)
  const hardwareDomain = hardwareDomainOf(options)
  const xenstore = new XenStore({
    clock, privilegedDomain: hardwareDomain,
    domainExists: (domid) => control.hasDomain(domid as DomId),
  })
  xenstore.events.on('listener-failed', ({ path, error }) =>
    onCallbackFailed.current({ callback: 'store-watch', subject: path, error }))
  const onDomainException = { current: (): void => undefined }
  const onGuestError: HostParts['onGuestError'] = { current: () => undefined }
  const programs = new GuestPrograms({ loop, onCrash: (domid, error) => onGuestError.current(domid, error) })
  const onDom0Shutdown: HostParts['onDom0Shutdown'] = { current: () => undefined }
  const files = options.files === undefined ? new MemoryFiles() : checkedFiles(options.files)
  const common = {
    control, loop, pages: memory.atBoot * PAGES_PER_MEBIBYTE, maxPages: memory.most * PAGES_PER_MEBIBYTE,
  }
  const seed = random.next()
  const plan: ControlDomain = options.dom0 === undefined || hardwareDomain !== undefined
    ? new Dom0Plan({
        ...common, store: xenstore, vcpus: 1, seed, commandLine: bootDescription?.dom0?.commandLine ?? '',
        onDomainException: () => onDomainException.current(),
        onCrash: (error) => loop.stop(error),
        onCallbackFailed: (failure) => onCallbackFailed.current(failure),
        storeInterference: options.interference?.store,
        ...(hardwareDomain === undefined ? {} : { console: new HostConsole({ control, from: hardwareDomain, now: () => clock.now(), turn: () => undefined }) }),
      })
    : new LinuxDom0({
        ...common, image: options.dom0, vcpus: options.dom0.vcpus ?? bootDescription?.xen.dom0Vcpus?.min ?? 1,
        files, decompress: options.decompress, kernels: options.kernels, now: () => clock.now(),
        onShutdown: (reason) => onDom0Shutdown.current(reason),
      })
  return {
    options, control, machine, seeds, clock, loop, xenstore, plan, programs, bootDescription, onDomainException, onDom0Shutdown, onGuestError, onCallbackFailed, inputs,
    wall: clock instanceof RealTimeClock ? new Wall({ control, clock, inputs }) : undefined,
    dom0MaxMebibytes: memory.most,
    files,
    warnings: bootDescription === undefined
      ? [] : [...bootDescription.warnings, ...(plan.serves ? [...vcpuWarnings(bootDescription), ...moduleWarnings(bootDescription)] : [])],
  }
}

/** What the hypervisor's console begins with. */
function bannerOf({ control, bootDescription, options }: HostFrame): string[] {
  const { major, minor, extra } = XEN_VERSION
  const { physicalCpus, scheduler, totalFrames } = control.hostInfo()
  return [
    `Xen version ${major}.${minor}${extra} (paravirt)`, `Command line: ${bootDescription?.hypervisor.commandLine ?? ''}`,
    `System RAM: ${totalFrames / PAGES_PER_MEBIBYTE}MB (${totalFrames * 4}kB)`, `Using scheduler: ${scheduler}`,
    `Brought up ${physicalCpus} CPUs of ${options.cpu}`,
  ]
}

/**
 * The options with the kernel that the file of a boot loader names for dom0, where the host's files have it. Rejects with IO where its
 * ramdisk is missing.
 */
async function withModules(given: HostOptions): Promise<HostOptions> {
  const { grubConf, files, dom0 } = resolveHostOptions(given)
  if (grubConf === undefined || files === undefined || dom0 !== undefined) return given
  const { dom0: module, ramdisk: disk } = parseGrub(grubConf)
  if (module === undefined) return given
  const places = checkedFiles(files)
  const kernel = await places.read(module.path).catch((error: unknown) => {
    if (XenError.is(error, 'IO')) return undefined
    throw error
  })
  if (kernel === undefined) return given
  const ramdisk = disk === undefined ? undefined : await places.read(disk.path)
  return { ...given, dom0: { kernel, ramdisk, commandLine: module.commandLine } }
}

/** Boots everything up to a serving dom0. */
export async function bootHost(given: HostOptions): Promise<HostParts> {
  const frame = frameOf(await withModules(given))
  frame.control.log(bannerOf(frame))
  await frame.plan.start()
  const store = frame.xenstore.local()
  if (!frame.plan.serves) return { ...frame, store }
  writeHostNodes(store)
  await frame.loop.settled()
  return { ...frame, store }
}
