/**
 * The composition root: puts machine, hypervisor, XenStore and dom0 together, as told by settings and grub.conf.
 */
import { VirtualClock, type HostClock, type Hypervisor } from '../../hypervisor/index.ts'
import type { Machine } from '../../machine/index.ts'
import { SeededRandom, XenError, type DomId } from '../../util/index.ts'
import { XenStore, type LocalStore } from '../../xenstore/index.ts'
import type { BootDescription } from '../grub/boot-description.ts'
import { parseGrub } from '../grub/grub.ts'
import { dom0Mebibytes } from '../grub/memory-size.ts'
import type { BootWarning } from '../grub/xen-options.ts'
import type { TellFailure } from '../run/callback-failures.ts'
import { PAGES_PER_MEBIBYTE } from '../domains/memory-settings.ts'
import { Dom0Plan, type Dom0 } from '../dom0/dom0.ts'
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
/** MiB of dom0 where nobody says anything. */
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
  readonly dom0: Dom0
  /** What dom0 was made by, which saves it. */
  readonly plan: Dom0Plan
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
  const otherwise = Math.min(DEFAULT_DOM0, Math.floor(options.memory / 2))
  const spec = boot?.xen.dom0Memory ?? {}
  const atBoot = options.dom0Memory ?? dom0Mebibytes(spec, total, otherwise * MEBIBYTE)
  if (atBoot < 1 || atBoot > options.memory) {
    throw new XenError('OUT_OF_MEMORY', `dom0 is to have ${atBoot} MiB, the host has ${options.memory}`, {
      details: { dom0: atBoot, host: options.memory },
    })
  }
  const most = spec.max === undefined ? options.memory : dom0Mebibytes({ amount: spec.max }, total, 0)
  return { atBoot, most: Math.max(most, atBoot) }
}

/** Dom0 is a kernel of this library: what a grub.conf would load instead is named in a warning. */
function moduleWarnings({ dom0, ramdisk, others }: BootDescription): readonly BootWarning[] {
  return [dom0, ramdisk, ...others]
    .filter((module) => module !== undefined)
    .map(({ path }) => ({
      option: 'module',
      reason: 'not implemented',
      message: `module ${path} is not loaded: dom0 is a kernel of this library`,
    }))
}

/** Dom0's kernel works on one vCPU: an option that asks for more is named in a warning. */
function vcpuWarnings({ xen }: BootDescription): readonly BootWarning[] {
  if (xen.dom0Vcpus === undefined || xen.dom0Vcpus.min === 1) return []
  const message = 'Xen option `dom0_max_vcpus` has no effect: dom0 is a kernel of this library, which works on one vCPU'
  return [{ option: 'dom0_max_vcpus', reason: 'not implemented', message }]
}

/** A host whose dom0 is still to come. */
export type HostFrame = Omit<HostParts, 'dom0' | 'store'>

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
    scheduler: bootDescription?.xen.scheduler,
    commandLine: bootDescription?.hypervisor.commandLine ?? '',
    onCallbackFailed: (failure) => onCallbackFailed.current(failure),
  })
  const loop = new RunLoop(control, clock, () => undefined)
  const xenstore = new XenStore({
    clock,
    domainExists: (domid) => control.listDomains().some((info) => info.domid === domid),
  })
  xenstore.events.on('listener-failed', ({ path, error }) =>
    onCallbackFailed.current({ callback: 'store-watch', subject: path, error }))
  const onDomainException = { current: (): void => undefined }
  const onGuestError: HostParts['onGuestError'] = { current: () => undefined }
  const programs = new GuestPrograms({ loop, onCrash: (domid, error) => onGuestError.current(domid, error) })
  const plan = new Dom0Plan({
    control, store: xenstore, loop,
    pages: memory.atBoot * PAGES_PER_MEBIBYTE, maxPages: memory.most * PAGES_PER_MEBIBYTE,
    vcpus: 1,
    commandLine: bootDescription?.dom0?.commandLine ?? '',
    seed: random.next(),
    onDomainException: () => onDomainException.current(),
    onCrash: (error) => loop.stop(error),
    onCallbackFailed: (failure) => onCallbackFailed.current(failure),
  })
  return {
    options, control, machine, seeds, clock, loop, xenstore, plan, programs, bootDescription, onDomainException, onGuestError, onCallbackFailed, inputs,
    wall: clock instanceof RealTimeClock ? new Wall({ control, clock, inputs }) : undefined,
    dom0MaxMebibytes: memory.most,
    files: options.files === undefined ? new MemoryFiles() : checkedFiles(options.files),
    warnings: bootDescription === undefined
      ? [] : [...bootDescription.warnings, ...vcpuWarnings(bootDescription), ...moduleWarnings(bootDescription)],
  }
}

/** Boots everything up to a serving dom0. */
export async function bootHost(given: HostOptions): Promise<HostParts> {
  const frame = frameOf(given)
  const dom0 = await frame.plan.start()
  const store = frame.xenstore.local()
  writeHostNodes(store)
  await frame.loop.settled()
  return { ...frame, dom0, store }
}
