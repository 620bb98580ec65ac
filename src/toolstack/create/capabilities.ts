/**
 * What a host offers to domains that are to be created on it, as `xl info` tells it of a real one: which types of guests, with
 * what kernels and how much of what, and which devices. Configurations are held against it before anything is made.
 */
import { type ControlInterface, XEN_VERSION } from '../../hypervisor/index.ts'
import { XenError } from '../../util/index.ts'
import { DSDT_PROCESSORS } from '../acpi/dsdt.ts'
import { FIRST_DEVICE_PAGE } from '../builder/pvh-layout.ts'
import type { Description } from '../config/description-file.ts'
import type { DomainConfig } from '../config/domain-config.ts'
import { MAX_MEMORY, MAX_VCPUS } from '../config/option-table.ts'
import { GUEST_TYPES, type GuestType } from '../config/option-values.ts'
import { formatPosition } from '../config/syntax.ts'
import type { DeviceKinds } from '../device-kinds/device-kinds.ts'
import type { LoadedKernel } from '../domains/kernel-source.ts'
import { PAGES_PER_MEBIBYTE } from '../domains/memory-settings.ts'

/** What a host offers to guests of one type. */
export interface TypeCapabilities {
  /** Kernels of so many bits can start. */
  readonly kernelBits: readonly (32 | 64)[]
  /** MiB that such a domain can be given at most, where the host has them. */
  readonly maxMemory: number
  readonly maxVcpus: number
}

/** What a host offers. */
export interface HostCapabilities {
  /** The version of Xen that guests find: `4.17.7`. */
  readonly xen: string
  /** Types of guests, by their names in description files; those that the host has not are absent. */
  readonly types: { readonly [T in GuestType]?: TypeCapabilities }
  /** Guests written in TypeScript can run. */
  readonly programs: boolean
  /** Kinds of devices, by their names in configurations. */
  readonly devices: readonly string[]
}

/** Kinds of guests in the hypervisor that start the kernels of a type. */
const KINDS: Readonly<Record<GuestType, readonly { readonly kind: string; readonly bits: 32 | 64 }[]>> = {
  pv: [{ kind: 'pv32', bits: 32 }, { kind: 'pv', bits: 64 }],
  pvh: [{ kind: 'pvh', bits: 32 }, { kind: 'pvh', bits: 64 }],
}
const LIMITS: Readonly<Record<GuestType, Omit<TypeCapabilities, 'kernelBits'>>> = {
  pv: { maxMemory: MAX_MEMORY, maxVcpus: MAX_VCPUS },
  pvh: { maxMemory: FIRST_DEVICE_PAGE / PAGES_PER_MEBIBYTE, maxVcpus: Math.min(MAX_VCPUS, DSDT_PROCESSORS) },
}

/** What a host offers now. */
export function capabilitiesOf(control: Pick<ControlInterface, 'hostInfo'>, devices: DeviceKinds): HostCapabilities {
  const { guestKinds } = control.hostInfo()
  const offered = GUEST_TYPES.flatMap((type) => {
    const kernelBits = KINDS[type].filter(({ kind }) => guestKinds.includes(kind)).map(({ bits }) => bits)
    return kernelBits.length === 0 ? [] : [[type, { kernelBits, ...LIMITS[type] }] as const]
  })
  return {
    xen: `${XEN_VERSION.major}.${XEN_VERSION.minor}${XEN_VERSION.extra}`,
    types: Object.fromEntries(offered),
    programs: guestKinds.includes('typescript'),
    devices: devices.all.map(({ name }) => name),
  }
}

/** Where options stand in a description, by their names in objects. */
type Positions = Description['positions']

/** The error of what a host has not: by the option's name, and at its place where it was read from a description. */
function notOffered(key: string, what: string, { types }: HostCapabilities, positions?: Positions): XenError {
  const place = positions?.get(key)
  const details = { key: place?.option ?? key, types: Object.keys(types) }
  if (place === undefined) return new XenError('NOT_SUPPORTED', what, { details })
  const { source, line, column } = place.position
  return new XenError('NOT_SUPPORTED', `${formatPosition(place.position)}: ${place.option}: ${what}`, { details: { ...details, source, line, column } })
}

/** Throws NOT_SUPPORTED for a configuration that the host cannot serve, naming the option and what there is. */
export function checkOffered(
  { type, maxMemory, maxVcpus, kernel }: Pick<DomainConfig<unknown>, 'type' | 'maxMemory' | 'maxVcpus' | 'kernel'>, capabilities: HostCapabilities, positions?: Positions,
): void {
  const { types, programs } = capabilities
  const refuse = (key: string, what: string): never => {
    throw notOffered(key, what, capabilities, positions)
  }
  if (typeof kernel === 'function' && !programs) refuse('kernel', 'this host has no guests written in TypeScript')
  const offered = types[type]
  if (offered === undefined) return refuse('type', `this host has no guests of type ${type}, only ${Object.keys(types).join(' and ')}`)
  if (maxMemory > offered.maxMemory) refuse('maxMemory', `a guest of type ${type} has at most ${offered.maxMemory} MiB of memory, got ${maxMemory}`)
  if (maxVcpus > offered.maxVcpus) refuse('maxVcpus', `a guest of type ${type} has at most ${offered.maxVcpus} vCPUs, got ${maxVcpus}`)
}

/** Throws NOT_SUPPORTED for a kernel of a width that the host does not start. */
export function checkKernelOffered({ kind }: Pick<LoadedKernel, 'kind'>, type: GuestType, capabilities: HostCapabilities): void {
  const widths = KINDS[type].filter((each) => each.kind === kind).map(({ bits }) => bits)
  const { kernelBits = [] } = capabilities.types[type] ?? {}
  if (widths.length === 0 || widths.some((bits) => kernelBits.includes(bits))) return
  throw notOffered('kernel', `this host starts no kernels of ${widths.join(' or ')} bits as guests of type ${type}, only of ${kernelBits.join(' and ')}`, capabilities)
}
