/**
 * Options of description files that are understood but have no effect, each with the reason: a file that uses one is
 * accepted and its author is told. Everything that has an effect is in file-schema.ts.
 * Reference: xl.cfg(5), xmdomain.cfg(5).
 */

/** Why an option has no effect. */
export type Ineffective =
  | 'not implemented' | 'too often and too soon' | 'not for PV guests' | 'not for x86' | 'no longer needed' | 'only for xm'

const words = (reason: Ineffective, list: string): readonly (readonly [string, Ineffective])[] =>
  list.trim().split(/\s+/).map((word) => [word, reason] as const)

const NOT_IMPLEMENTED = `
  bootloader_restrict bootloader_user cpus cpus_soft cpu cpu_weight cap pool
  vfb vkb vkb_device keymap pci pci_msitranslate pci_permissive pci_power_mgmt pci_seize localtime rtc_timeoffset
  tsc_mode nomigrate max_maptrack_frames max_grant_version cpuid
  channel p9 vtpm usbctrl usbdev pvcalls vdispl vsnd virtio ioports iomem irqs e820_host seclabel init_seclabel
  driver_domain xenstore_feature_mask xenstore_quota period slice latency extratime blkif netif tpmif ssidref
  claim_mode vncviewer display xauthority`

const NOT_FOR_PV = `
  boot hdtype firmware_override hap oos shadow_memory bios bios_path_override pae acpi acpi_s3 acpi_s4 acpi_laptop_slate apic nx hpet
  altp2m altp2mhvm altp2m_count nestedhvm acpi_firmware smbios_firmware smbios ms_vm_genid vpt_align timer_mode
  mmio_hole xen_platform_pci viridian hvm_pirq videoram stdvga vga vnc vnclisten vncdisplay vncunused vncpasswd sdl
  opengl nographic spice spicehost spiceport spicetls_port spicedisable_ticketing spicepasswd spiceagent_mouse
  spicevdagent spice_clipboard_sharing spiceusbredirection spice_image_compression spice_streaming_video serial
  soundhw usb usbdevice usbversion vendor_device rdm rdm_mem_boundary gfx_passthru pvshim pvshim_path pvshim_cmdline
  pvshim_extra device_model_version device_model_override device_model_args device_model_args_pv
  device_model_args_hvm device_model_stubdomain_override device_model_stubdomain_seclabel device_model_user
  stubdomain_memory stubdomain_kernel stubdomain_cmdline stubdomain_ramdisk dm_restrict vnuma mca_caps vpmu
  vmtrace_buf_kb msr_relaxed passthrough lapic memmap fda fdb cdrom isa ne2000 audio`

const NOT_FOR_X86 = `
  gic_version vuart sve tee nr_spis trap_unmapped_accesses arm_sci llc_colors dtdev device_tree`

const NO_LONGER_NEEDED = `bootentry device_model vif2 xend_suspend_evtchn_compat ipaddr`

/** Every option without effect, with the reason. */
export const INEFFECTIVE_OPTIONS: ReadonlyMap<string, Ineffective> = /* @__PURE__ */ new Map([
  ...words('not implemented', NOT_IMPLEMENTED),
  ...words('not for PV guests', NOT_FOR_PV),
  ...words('not for x86', NOT_FOR_X86),
  ...words('no longer needed', NO_LONGER_NEEDED),
])

/**
 * Options by which xm composed the kernel's command line. xl passes over them; tools that write files for xl still put
 * some of them in, so that they do not tell which of the two a file is for.
 */
export const XM_NETWORK_OPTIONS: ReadonlySet<string> = /* @__PURE__ */ new Set(
  'ip gateway netmask hostname interface dhcp nfs_server nfs_root'.split(' '),
)

/** Options that only xm of 2005 knew: a file that uses one gets that era's defaults. */
export const XM_OPTIONS: ReadonlySet<string> = /* @__PURE__ */ new Set(
  'nics restart cpu ssidref blkif netif tpmif bootentry lapic memmap ipaddr fda fdb cdrom isa ne2000 audio'.split(' '),
)
