/**
 * Facts about a host as `xl info` tells them, by name. Reference: xl(1), "info"; tools/xl/xl_info.c.
 */
import { type AccessFacts, XEN_VERSION, type ControlInterface } from '../../hypervisor/index.ts'
import { offeredFeatures, type ProcessorLevel } from '../../machine/index.ts'
import { PAGE_SIZE, featureBits } from '../../x86/index.ts'
import { GUEST_TYPES, type GuestType } from '../config/option-values.ts'
import { capabilitiesOf } from '../create/capabilities.ts'
import { USUAL_KINDS } from '../device-kinds/device-kinds.ts'
import { PAGES_PER_MEBIBYTE } from '../domains/memory-settings.ts'

/** What `xl info` tells, memory in MiB. */
export interface HostFacts {
  /** The host's name: that of dom0's kernel. */
  readonly host: string
  /** Of the library: it is dom0's kernel. */
  readonly release: string
  readonly machine: 'x86_64'
  readonly cpus: number
  readonly freeCpus: number
  readonly nodes: number
  readonly coresPerSocket: number
  readonly threadsPerCore: number
  readonly cpuMegahertz: number
  /** Level of the x86-64 psABI that processors are of, and the features that guests may be shown, as /proc/cpuinfo calls them. */
  readonly cpuModel: string
  readonly cpuFeatures: readonly string[]
  /** Words of CPUID in Xen's order: 1d, 1c, e1d, e1c, Da1, 7b0, 7c0, e7d; and so on as far as there are some. */
  readonly hardwareCapabilities: readonly number[]
  readonly virtualCapabilities: readonly string[]
  readonly totalMemory: number
  /** What nobody has and nobody has claimed. */
  readonly freeMemory: number
  readonly outstandingClaims: number
  readonly xenMajor: number
  readonly xenMinor: number
  readonly xenExtra: string
  readonly xenVersion: string
  readonly xenCapabilities: readonly string[]
  readonly xenScheduler: string
  readonly xenPageSize: number
  readonly platformParameters: string
  readonly xenChangeset: string
  readonly xenCommandLine: string
  readonly configFormat: number
  /** The policy that is in force, whether it refuses anything, and how often it has. */
  readonly access: AccessFacts
}

/** What the facts are read from. */
export interface FactsSource {
  readonly control: ControlInterface
  readonly cpu: ProcessorLevel
  readonly commandLine: string
  readonly release: string
}

/** What types of guests make a host capable of, in xl's words. */
const WORDS: Readonly<Record<GuestType, readonly string[]>> = { pv: ['pv'], pvh: ['hvm', 'hap'] }

/** Registers of CPUID in the order of Xen's featureset. Reference: public/arch-x86/cpufeatureset.h. */
const FEATURE_WORDS = [
  { leaf: 1, register: 3 }, { leaf: 1, register: 2 }, { leaf: 0x8000_0001, register: 3 }, { leaf: 0x8000_0001, register: 2 },
  { leaf: 0xd, subleaf: 1, register: 0 }, { leaf: 7, register: 1 }, { leaf: 7, register: 2 }, { leaf: 0x8000_0007, register: 3 },
] as const

/** The facts now. */
export function hostFacts({ control, cpu, commandLine, release }: FactsSource): HostFacts {
  const { physicalCpus, freeCpus, totalFrames, freeFrames, outstandingFrames, scheduler, tscHertz, access } = control.hostInfo()
  const features = offeredFeatures(cpu)
  const { types } = capabilitiesOf(control, USUAL_KINDS)
  const mebibytes = (frames: number): number => Math.floor(frames / PAGES_PER_MEBIBYTE)
  const { major, minor, extra, capabilities } = XEN_VERSION
  return {
    host: 'dom0', release, machine: 'x86_64', cpus: physicalCpus, freeCpus, nodes: 1, coresPerSocket: physicalCpus, threadsPerCore: 1,
    cpuMegahertz: tscHertz / 1e6, cpuModel: cpu, cpuFeatures: features,
    hardwareCapabilities: FEATURE_WORDS.map((word) => featureBits(features, word)),
    virtualCapabilities: [...GUEST_TYPES.flatMap((type) => (types[type] === undefined ? [] : WORDS[type])), 'gnttab-v1', 'gnttab-v2'],
    totalMemory: mebibytes(totalFrames), freeMemory: mebibytes(freeFrames - outstandingFrames), outstandingClaims: mebibytes(outstandingFrames),
    xenMajor: major, xenMinor: minor, xenExtra: extra, xenVersion: `${major}.${minor}${extra}`, xenCapabilities: capabilities.trim().split(' '),
    xenScheduler: scheduler, xenPageSize: PAGE_SIZE, platformParameters: 'virt_start=0xffff800000000000', xenChangeset: '',
    xenCommandLine: commandLine, configFormat: 4, access,
  }
}
