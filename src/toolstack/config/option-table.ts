/**
 * Every option of a domain, declared once: its name in description files and in objects, what it may be, what it is
 * unless given, where it stands in a saved domain, what it does. The schemas of objects and files, the warnings, the
 * JSON of streams, the formatter and docs/options.md come out of this table.
 *
 * To add an option: a row here, a field of DomainOptions and DomainConfig (domain-config.ts), its place among libxl's
 * fields (save/config-json.ts) where it is saved, and what it does; options.test.ts tells what is missing.
 * Reference: xl.cfg(5); for the old spelling xmdomain.cfg(5); for the saved places tools/libs/light/libxl_types.idl.
 */
import * as z from 'zod/mini'
import type { Actions } from './actions.ts'
import { SCHEDULER_NAMES } from '../../hypervisor/index.ts'
import { DEVICE_KINDS } from '../device-kinds/device-kinds.ts'
import type { DescribedDevice } from '../device-kinds/described-device.ts'
import { cpuidMasks } from './cpuid-masks.ts'
import {
  actionValue, cpus, fileSource, guestType, kernelSource, memoryAmount, nonEmpty, oneOf, restartWord, specifications, switched, text, textThat, tscMode, whole, words,
  type ValueKind,
} from './option-values.ts'

/** Most MiB of a domain: one WebAssembly memory is a host's. */
export const MAX_MEMORY = 4096
/** vCPUs whose record fits into shared_info, plus those registered by VCPUOP_register_vcpu_info. */
export const MAX_VCPUS = 128
/** xl names a file of its log after the domain. */
const LONGEST_NAME = 200

/**
 * Whose files know an option: both tools'; those for the xm of 2005 alone, so that it tells whose a file is; or xm's,
 * which xl passes over and which tools that write files for xl still put in.
 */
export type Spelling = 'both' | 'xm' | 'xm, passed over by xl'

/** One option with an effect. */
export interface OptionRow<Kind extends ValueKind<unknown, unknown>, File extends string | undefined> {
  /** Name in description files; undefined where files have none. */
  readonly file: File
  readonly spelling: Spelling
  readonly value: Kind
  /** What it is unless given; undefined where that depends on others, as `about` tells then. */
  readonly fallback: unknown
  /** Place in libxl's JSON, which stands at the head of a saved domain; undefined for what is not saved. */
  readonly saved: string | undefined
  /** What it does. */
  readonly about: string
}

type Facts<File extends string | undefined> = Partial<Omit<OptionRow<never, File>, 'value' | 'about'>> & { readonly file: File }

const option = <Kind extends ValueKind<never, never> | ValueKind<unknown, unknown>, const File extends string | undefined>(
  value: Kind, about: string, facts: Facts<File>,
): OptionRow<Kind & ValueKind<unknown, unknown>, File> =>
  ({ spelling: 'both', fallback: undefined, saved: undefined, ...facts, value: value as Kind & ValueKind<unknown, unknown>, about })

const uuid = /* @__PURE__ */ z.string({ error: 'must be a string' }).check(
  /* @__PURE__ */ z.regex(/^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/, { error: 'is not a UUID' }))
const name = /* @__PURE__ */ z.string({ error: 'must be a string' }).check(/* @__PURE__ */ z.minLength(1, { error: 'must not be empty' }))

type DeviceOptionRows = {
  readonly [O in keyof typeof DEVICE_KINDS]: OptionRow<ValueKind<(string | object)[], string[]>, (typeof DEVICE_KINDS)[O]['words']['option']>
}

/** An option for each kind of device. The cast says what mapping every entry means, which TypeScript does not follow. */
const deviceOptions = (): DeviceOptionRows =>
  Object.fromEntries(Object.entries<DescribedDevice>(DEVICE_KINDS).map(([name, { title, about, words: { option: file } = {}, saved }]) =>
    [name, option(specifications(title), about, { file, fallback: [], saved: saved.key })])) as DeviceOptionRows

/** Options of objects, by their names there. */
export const OPTIONS = /* @__PURE__ */ (() => ({
  // A slash would make a name that XenStore paths and tools cannot hold.
  name: option(
    textThat(name, `1 to ${LONGEST_NAME} characters, no slash`, name.check(
      z.maxLength(LONGEST_NAME, { error: `must be at most ${LONGEST_NAME} characters long` }),
      z.regex(/^[^/\u0000-\u001f]+$/, { error: 'must have neither a slash nor control characters' }))),
    'Unique among the host\'s domains.', { file: 'name', saved: 'c_info.name' }),
  type: option(
    guestType, 'Kind of guest: `pv`, whose page tables are the machine\'s, or `pvh`, which has a machine of its own without devices.',
    { file: 'type', fallback: 'pv', saved: 'c_info.type' }),
  uuid: option(textThat(uuid, 'UUID'), 'Identifies the domain; chosen at random unless given.', { file: 'uuid', saved: 'c_info.uuid' }),
  kernel: option(kernelSource, 'What runs in the domain; the embedded kernel unless given.', { file: 'kernel', saved: 'b_info.kernel' }),
  ramdisk: option(fileSource, 'The kernel\'s ramdisk.', { file: 'ramdisk', saved: 'b_info.ramdisk' }),
  bootloader: option(
    nonEmpty, 'What finds kernel and ramdisk in the domain\'s own first disk: `pygrub`, also with a path in front.',
    { file: 'bootloader', saved: 'b_info.bootloader' }),
  bootloaderArgs: option(words, 'Arguments of the boot loader.', { file: 'bootloader_args', fallback: [], saved: 'b_info.bootloader_args' }),
  commandLine: option(text, 'Passed to the kernel.', { file: 'cmdline', fallback: '', saved: 'b_info.cmdline' }),
  memory: option(memoryAmount(MAX_MEMORY), 'MiB at start.', { file: 'memory', fallback: 32, saved: 'b_info.target_memkb' }),
  maxMemory: option(
    memoryAmount(MAX_MEMORY), 'MiB that the domain can ever have; `memory` unless given.', { file: 'maxmem', saved: 'b_info.max_memkb' }),
  vcpus: option(whole(1, MAX_VCPUS), 'Virtual CPUs online at start.', { file: 'vcpus', fallback: 1, saved: 'b_info.avail_vcpus' }),
  maxVcpus: option(
    whole(1, MAX_VCPUS), 'Virtual CPUs that can ever be online; `vcpus` unless given.', { file: 'maxvcpus', saved: 'b_info.max_vcpus' }),
  pool: option(nonEmpty, 'Pool of CPUs on which it runs, by name; `Pool-0` unless given.', { file: 'pool', saved: 'c_info.pool_name' }),
  cpus: option(cpus, 'Physical CPUs that its vCPUs may run on.', { file: 'cpus', saved: 'b_info.vcpu_hard_affinity' }),
  cpusSoft: option(cpus, 'Physical CPUs that its vCPUs should run on while they can.', { file: 'cpus_soft', saved: 'b_info.vcpu_soft_affinity' }),
  sched: option(oneOf(SCHEDULER_NAMES), 'Scheduler that the next options are for: it has to be that of its pool.', { file: 'sched', saved: 'b_info.sched_params.sched' }),
  cpuWeight: option(whole(1, 65535), 'Share of CPU time, beside others\' (credit, credit2); 256 unless given.', { file: 'cpu_weight', saved: 'b_info.sched_params.weight' }),
  cap: option(whole(0, 12800), 'Most CPU time in percent of one CPU (credit, credit2); 0, for no cap, unless given.', { file: 'cap', saved: 'b_info.sched_params.cap' }),
  period: option(whole(10, 4_294_967_295), 'Microseconds of each vCPU\'s period (rtds); 10000 unless given.', { file: 'period', saved: 'b_info.sched_params.period' }),
  budget: option(whole(10, 4_294_967_295), 'Microseconds of CPU time in each period (rtds); 4000 unless given.', { file: 'budget', saved: 'b_info.sched_params.budget' }),
  extraTime: option(whole(0, 1), 'Whether vCPUs go on after their budget while nobody else needs the CPU (rtds): 1 unless given.', { file: 'extratime', saved: 'b_info.sched_params.extratime' }),
  cpuid: option(cpuidMasks, 'What CPUID tells the guest of its processor: flags of xl.cfg(5), or registers bit by bit. What depends on a feature that is hidden is hidden with it; what the host does not offer, or always tells, is refused by name.', { file: 'cpuid', fallback: [], saved: 'b_info.cpuid' }),
  claimMode: option(switched, 'Whether its memory is kept aside for it while it is built or comes in.', { file: 'claim_mode', fallback: true, saved: 'b_info.claim_mode' }),
  localTime: option(switched, 'Whether its wall clock shows the host\'s local time instead of UTC.', { file: 'localtime', fallback: false, saved: 'b_info.localtime' }),
  timeOffset: option(whole(-2_147_483_647, 2_147_483_647), 'Seconds by which its wall clock is ahead of that.', { file: 'rtc_timeoffset', fallback: 0, saved: 'b_info.rtc_timeoffset' }),
  tscMode: option(tscMode, 'How it sees the time-stamp counter: `default`, as the host has it unless it comes from one of another frequency; `always_emulate`, one of its own that begins with it; `native`, as the host has it in any case. CPUID tells it.', { file: 'tsc_mode', fallback: 'default', saved: 'b_info.tsc_mode' }),
  noMigrate: option(switched, 'Whether saving and moving it are refused.', { file: 'nomigrate', fallback: false, saved: 'b_info.disable_migrate' }),
  driverDomain: option(switched, 'Whether its kernel, such as Linux, serves devices of others (`backend`): the toolstack stands in for the hotplug scripts in it.', { file: 'driver_domain', fallback: false, saved: 'c_info.driver_domain' }),
  maxMaptrackFrames: option(whole(0, 65536), 'Frames of records of grants that it maps.', { file: 'max_maptrack_frames', fallback: 1024, saved: 'b_info.max_maptrack_frames' }),
  ...deviceOptions(),
  maxEventChannels: option(
    whole(1, 131071), 'Ports that the domain may use.', { file: 'max_event_channels', fallback: 1023, saved: 'b_info.event_channels' }),
  maxGrantFrames: option(
    whole(1, 1024), 'Frames that its grant table may grow to.', { file: 'max_grant_frames', fallback: 64, saved: 'b_info.max_grant_frames' }),
  maxGrantVersion: option(whole(1, 2), 'Newest version of grant tables that it may change to.', { file: 'max_grant_version', fallback: 2, saved: 'b_info.max_grant_version' }),
}))()

const actionOption = <const File extends string>(when: string, file: File) =>
  option(actionValue, `What is done with the domain when it ${when}.`, { file, saved: file })

/** What is to happen at a domain's end, by names of `actions`; the defaults are an era's (actions.ts). */
export const ACTION_OPTIONS = /* @__PURE__ */ (() => ({
  poweroff: actionOption('powers off', 'on_poweroff'),
  reboot: actionOption('reboots', 'on_reboot'),
  watchdog: actionOption('is ended by its watchdog', 'on_watchdog'),
  crash: actionOption('crashes', 'on_crash'),
  softReset: actionOption('asks for a soft reset', 'on_soft_reset'),
}))() satisfies Record<keyof Actions, unknown>

const PASSED_OVER = 'xm, passed over by xl'

/** Options that only files have: they become one of the others. */
export const FILE_OPTIONS = /* @__PURE__ */ (() => ({
  builder: option(
    oneOf(['generic', 'linux', 'hvm', 'vmx'], 'must be "generic", "linux" or "hvm"'), 'Older word for `type`.', { file: 'builder' }),
  firmware: option(text, 'A boot loader in place of a PV guest\'s kernel: `pvgrub32` or `pvgrub64`.', { file: 'firmware' }),
  root: option(text, '`root=` of the command line.', { file: 'root' }),
  extra: option(text, 'The rest of the command line.', { file: 'extra' }),
  bootargs: option(words, 'Older word for `bootloader_args`.', { file: 'bootargs' }),
  nics: option(whole(-1, 8), 'Number of network interfaces, with defaults for those that `vif` does not tell.', { file: 'nics', spelling: 'xm' }),
  cpu: option(whole(-1, 4095), 'Physical CPU on which the first vCPU runs; -1 for any.', { file: 'cpu', spelling: 'xm' }),
  restart: option(restartWord, 'One word for three of the actions.', { file: 'restart', spelling: 'xm' }),
  dhcp: option(text, 'Method in `ip=` of the command line.', { file: 'dhcp', spelling: PASSED_OVER }),
  ip: option(text, 'The guest\'s address in `ip=` of the command line.', { file: 'ip', spelling: PASSED_OVER }),
  gateway: option(text, 'Gateway in `ip=` of the command line.', { file: 'gateway', spelling: PASSED_OVER }),
  netmask: option(text, 'Netmask in `ip=` of the command line.', { file: 'netmask', spelling: PASSED_OVER }),
  hostname: option(text, 'The guest\'s name in `ip=` of the command line.', { file: 'hostname', spelling: PASSED_OVER }),
  interface: option(text, 'The guest\'s device in `ip=` of the command line.', { file: 'interface', spelling: PASSED_OVER }),
  nfs_server: option(text, 'Server of `nfsroot=` in the command line.', { file: 'nfs_server', spelling: PASSED_OVER }),
  nfs_root: option(text, 'Path of `nfsroot=` in the command line.', { file: 'nfs_root', spelling: PASSED_OVER }),
}))()

/** Why an option has no effect. */
export type Ineffective =
  | 'not implemented' | 'too often and too soon' | 'not for PV guests' | 'not for PVH guests' | 'not for x86' | 'no longer needed' | 'only for xm'

/** An option that is understood but has no effect: a file that uses it is accepted and its author is told. */
export interface IneffectiveRow {
  readonly file: string
  readonly reason: Ineffective
  readonly spelling: Spelling
}

/** Of the options that are not for PV guests, those that PVH guests have on Xen, too; the others are for guests with a device model. */
export const OF_PVH_TOO: ReadonlySet<string> = /* @__PURE__ */ new Set([
  'hap', 'oos', 'shadow_memory', 'apic', 'nestedhvm', 'altp2m', 'timer_mode', 'vnuma', 'vpmu', 'vmtrace_buf_kb', 'msr_relaxed', 'passthrough',
  'pvshim', 'pvshim_path', 'pvshim_cmdline', 'pvshim_extra',
])
/** Options without effect that no other guests than PV guests have on Xen. */
export const OF_PV_ALONE: ReadonlySet<string> = /* @__PURE__ */ new Set(['e820_host'])

const without = (reason: Ineffective, spelling: Spelling, list: string): readonly IneffectiveRow[] =>
  list.trim().split(/\s+/).map((file) => ({ file, reason, spelling }))

/** Every option without effect. */
export const INEFFECTIVE_OPTIONS: readonly IneffectiveRow[] = /* @__PURE__ */ [
  ...without('not implemented', 'both', `
    bootloader_restrict bootloader_user vkb_device keymap
    pci_msitranslate pci_permissive pci_power_mgmt pci_seize ioports
    iomem irqs e820_host seclabel init_seclabel xenstore_feature_mask xenstore_quota vncviewer display xauthority`),
  ...without('not implemented', 'xm', 'blkif netif tpmif ssidref'),
  ...without('not for PV guests', 'both', `
    boot hdtype firmware_override hap oos shadow_memory bios bios_path_override pae acpi acpi_s3 acpi_s4
    acpi_laptop_slate apic nx hpet altp2m altp2mhvm altp2m_count nestedhvm acpi_firmware smbios_firmware smbios
    ms_vm_genid vpt_align timer_mode mmio_hole xen_platform_pci viridian hvm_pirq videoram stdvga vga vnc vnclisten
    vncdisplay vncunused vncpasswd sdl opengl nographic spice spicehost spiceport spicetls_port spicedisable_ticketing
    spicepasswd spiceagent_mouse spicevdagent spice_clipboard_sharing spiceusbredirection spice_image_compression
    spice_streaming_video soundhw usb usbdevice usbversion vendor_device rdm rdm_mem_boundary gfx_passthru
    pvshim pvshim_path pvshim_cmdline pvshim_extra device_model_version device_model_override device_model_args
    device_model_args_pv device_model_args_hvm device_model_stubdomain_override device_model_stubdomain_seclabel
    device_model_user stubdomain_memory stubdomain_kernel stubdomain_cmdline stubdomain_ramdisk dm_restrict vnuma
    mca_caps vpmu vmtrace_buf_kb msr_relaxed passthrough`),
  ...without('not for PV guests', 'xm', 'lapic memmap fda fdb cdrom isa ne2000 audio'),
  ...without('not for x86', 'both', `
    gic_version sve tee nr_spis trap_unmapped_accesses arm_sci llc_colors dtdev device_tree`),
  ...without('no longer needed', 'both', `
    device_model vif2 xend_suspend_evtchn_compat slice latency`),
  ...without('no longer needed', 'xm', 'bootentry ipaddr'),
]

/**
 * Options that say what a domain is to have and cannot have here: a file that wants something by one is refused with the reason, as is an
 * object; one that says none of it (an empty list or text, 0) passes.
 */
export const REFUSED_OPTIONS: Readonly<Record<string, string>> = {
  serial: 'a serial port is emulated by the device model of HVM guests; guests here have their console',
  vuart: 'an emulated UART is for guests of Arm processors',
  pci: 'the machine has no devices to be passed through',
  vtpm: 'no back-end serves trusted platform modules',
  usbctrl: 'no back-end serves USB',
  usbdev: 'no back-end serves USB',
  pvcalls: 'no back-end serves sockets',
  vdispl: 'no back-end serves displays',
  vsnd: 'no back-end serves sound',
  virtio: 'no back-end serves virtio',
  event_actions: 'xl has no such option; it is the heading in xl.cfg(5) of on_poweroff, on_reboot, on_watchdog, on_crash and on_soft_reset, each of which says its action',
}
