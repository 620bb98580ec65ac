/**
 * The hypervisor's command line: options that this host follows, options that are about hardware it does not have, and
 * a warning by name for all others. Reference: docs/misc/xen-command-line.pandoc.
 */
import { nearestWord } from '../../util/index.ts'
import { parseDom0Memory, type Dom0Memory } from './memory-size.ts'

/** Why an option is left aside. */
export type OptionReason = 'not implemented' | 'not found' | 'unknown' | 'bad value'

/** An option of a command line, or a line of a grub.conf, that has no effect. */
export interface BootWarning {
  readonly option: string
  readonly reason: OptionReason
  readonly message: string
}

/** What the options say. */
export interface XenOptions {
  readonly dom0Memory?: Dom0Memory
  readonly dom0Vcpus?: { readonly min: number; readonly max: number }
  readonly scheduler?: (typeof SCHEDULERS)[number]
  /** Microseconds. */
  readonly ratelimit?: number
  /** Milliseconds. */
  readonly tslice?: number
}

/** Options about serial lines, logging, firmware and hardware: understood, and without any meaning on this host. */
const WITHOUT_MEANING = new Set(`
  com1 com2 console console_timestamps conring_size console_to_ring conswitch sync_console loglvl guest_loglvl noreboot
  reboot vga vesa vesa-map font acpi apic apic_verbosity noapic nolapic lapic iommu intremap x2apic x2apic_phys
  watchdog watchdog_timeout nmi mce edd edid efi ucode spec-ctrl xpti pv-l1tf pcid smep smap smt tsc cpufreq cpuidle
  hpet clocksource maxcpus nosmp numa crashkernel kexec no-real-mode placeholder noirqbalance ats allow_unsafe
  msi mmcfg pci serial_tx_buffer tboot ler debug_stack_lines bootscrub hap hap_1gb hap_2mb flask xsm physdev
  dma_bits highmem-start low_mem_virq_limit gdb lapic_timer_c2_ok max_cstate nofxsr noht badpage e820-mtrr-clip`
  .trim().split(/\s+/))

/** Options that would have a meaning here. */
const NOT_IMPLEMENTED = new Set(`
  dom0_max_vcpus_pin dom0_vcpus_pin dom0_nodes dom0_shadow dom0_iommu_map dom0_ioports_disable dom0_mem_max
  gnttab gnttab_max_frames gnttab_max_maptrack_frames gnttab_max_nr_frames mem vcpu_migration_delay
  sched_credit2_migrate_resist credit2_runqueue sched-gran cpuinfo cpuid
  cpuid_mask_cpu domu_unrestricted max_gsi_irqs mwait-idle xenheap_megabytes tickle_one_idle_cpu pv-linear-pt
  vwfi vpmu hmp-unsafe argo pv pvshim buddy-alloc-size ept unrestricted_guest viridian altp2m`
  .trim().split(/\s+/))

/** Schedulers by the names that Xen gives them. */
const SCHEDULERS = ['credit', 'credit2', 'rtds', 'null'] as const

type Draft = { -readonly [K in keyof XenOptions]: XenOptions[K] }

const isWithin = (value: string, least: number, most: number): boolean =>
  /^[0-9]{1,7}$/.test(value) && Number(value) >= least && Number(value) <= most

/** Options with an effect; false for a value that they do not take. */
const FOLLOWED: Readonly<Record<string, (draft: Draft, value: string) => boolean>> = {
  dom0_mem: (draft, value) => {
    const memory = parseDom0Memory(value)
    if (memory !== undefined) draft.dom0Memory = { ...draft.dom0Memory, ...memory }
    return memory !== undefined
  },
  dom0_max_vcpus: (draft, value) => {
    const [, min, , max] = /^([0-9]{1,4})?(-)?([0-9]{1,4})?$/.exec(value) ?? []
    if (min === undefined && max === undefined) return false
    const exact = !value.includes('-')
    const wanted = { min: Number(min ?? 1), max: exact ? Number(min) : Number(max ?? 8192) }
    const sound = wanted.min >= 1 && wanted.max >= wanted.min
    if (sound) draft.dom0Vcpus = wanted
    return sound
  },
  sched: (draft, value) => {
    const found = SCHEDULERS.find((name) => name === value)
    if (found !== undefined) draft.scheduler = found
    return found !== undefined
  },
  sched_ratelimit_us: (draft, value) => {
    const sound = value === '0' || isWithin(value, 100, 500_000)
    if (sound) draft.ratelimit = Number(value)
    return sound
  },
  sched_credit_tslice_ms: (draft, value) => {
    const sound = isWithin(value, 1, 1000)
    if (sound) draft.tslice = Number(value)
    return sound
  },
  // Dom0 is always a PV guest here, which is what most of these words ask for.
  dom0: (_draft, value) =>
    value.split(',').every((word) => ['pv', 'verbose', 'no-verbose', 'msr-relaxed', 'no-msr-relaxed'].includes(word)),
}

function warning(option: string, reason: OptionReason, text: string): BootWarning {
  return { option, reason, message: `Xen option \`${option}\` ${text}` }
}

/** Reads the options behind `kernel /boot/xen.gz`. */
export function parseXenOptions(commandLine: string): {
  readonly options: XenOptions
  readonly warnings: readonly BootWarning[]
} {
  const options: Draft = {}
  const warnings: BootWarning[] = []
  for (const word of commandLine.split(/\s+/).filter((item) => item !== '' && item !== '--')) {
    const equals = word.indexOf('=')
    const name = equals < 0 ? word : word.slice(0, equals)
    const value = equals < 0 ? '' : word.slice(equals + 1)
    const plain = name.replace(/^no-/, '')
    if (Object.hasOwn(FOLLOWED, name)) {
      if (FOLLOWED[name]!(options, value)) continue
      warnings.push(warning(name, 'bad value', `has no effect: \`${value}\` is not a value for it`))
    } else if (NOT_IMPLEMENTED.has(name)) {
      warnings.push(warning(name, 'not implemented', 'has no effect: not implemented'))
    } else if (!WITHOUT_MEANING.has(name) && !WITHOUT_MEANING.has(plain)) {
      const nearest = nearestWord(name, [...Object.keys(FOLLOWED), ...NOT_IMPLEMENTED, ...WITHOUT_MEANING])
      warnings.push(
        warning(name, 'unknown', `is unknown${nearest === undefined ? '' : `; did you mean \`${nearest}\`?`}`),
      )
    }
  }
  return { options, warnings }
}
