/**
 * What a creation is given: its options, and the configuration that they and a description come to. What the
 * configuration consists of is in ../config.
 */
import { checkOffered, type HostCapabilities } from './capabilities.ts'
import { parseDescription, type ConfigWarning, type DescriptionOptions } from '../config/description-file.ts'
import { resolveDomainOptions, type DomainConfig, type DomainOptions } from '../config/domain-config.ts'
import type { FileSource } from '../config/option-values.ts'
import type { DeviceKinds } from '../device-kinds/device-kinds.ts'
import { randomMac } from '../device-kinds/nic/nic.ts'
import type { KernelSource } from '../domains/kernel-source.ts'
import { randomOf, randomUuid } from '../domains/random-names.ts'
import type { OperationOptions } from '../run/operation.ts'

/** How a domain is created. */
export interface CreateOptions extends OperationOptions, DescriptionOptions {
  /** Leaves the domain paused, as `xl create -p` does. */
  readonly paused?: boolean
  /** Replaces the kernel that the description names. */
  readonly kernel?: KernelSource
  /** ELF file with the kernel's symbols, by which a crash names functions; default: those of the kernel's own file. */
  readonly symbols?: FileSource | undefined
  /**
   * What the domain's UUID and the addresses of its network interfaces follow from where nobody gives them, in place of the host's seed: the same on every host. For
   * whoever starts a domain now on this host and now on that, such as a fleet.
   */
  readonly identity?: string | undefined
}

/** What reading a configuration needs of its host. */
export interface ConfigureHost {
  readonly kinds: DeviceKinds
  /** What the host offers now: a description is held against it, so that its author is told the place. */
  offered(): HostCapabilities
  /** Hears what was understood and has no effect. */
  warn(warning: ConfigWarning): void
}

/** The configuration of a domain that is to be created. */
export function configure(
  config: string | DomainOptions<KernelSource>,
  options: CreateOptions,
  host: ConfigureHost,
): DomainConfig<KernelSource> {
  const resolved =
    typeof config === 'string' ? fromText(config, options, host) : resolveDomainOptions<KernelSource>(config, options.era, host.kinds)
  // Who brings a kernel along wants no boot loader to find another one.
  const chosen = options.kernel === undefined ? resolved : { ...resolved, kernel: options.kernel, bootloader: undefined }
  return options.identity === undefined ? chosen : identified(chosen, options.identity)
}

/** Who the domain is, where its configuration leaves that open. */
function identified(config: DomainConfig<KernelSource>, identity: string): DomainConfig<KernelSource> {
  return {
    ...config, uuid: config.uuid ?? randomUuid(randomOf(`uuid of ${identity}`)),
    nics: config.nics.map((nic, i) => ({ ...nic, mac: nic.mac ?? randomMac(randomOf(`interface ${i} of ${identity}`)) })),
  }
}

/** What of a creation's options is about the text. */
const descriptionOptions = ({ source, overrides, era, strict }: CreateOptions): DescriptionOptions => ({
  ...(source === undefined ? {} : { source }), ...(overrides === undefined ? {} : { overrides }), ...(era === undefined ? {} : { era }),
  ...(strict === undefined ? {} : { strict }),
})

function fromText(text: string, options: CreateOptions, { kinds, warn, offered }: ConfigureHost): DomainConfig<KernelSource> {
  const { config, warnings, positions } = parseDescription(text, descriptionOptions(options), kinds)
  for (const warning of warnings) warn(warning)
  checkOffered(config, offered(), positions)
  return config
}
