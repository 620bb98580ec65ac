/**
 * Every option that xl looks up in a description file is known to us, with an effect or with the reason why it has none.
 * Reference: the calls of xlu_cfg_get_* and xlu_cfg_replace_string in Xen 4.17's tools/xl/xl_parse.c.
 */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { EFFECTIVE_OPTIONS, NUMBER_OPTIONS, OPTION_NAMES } from '../../../../src/toolstack/config/option-schemas.ts'
import { XM_NETWORK_OPTIONS, XM_OPTIONS } from '../../../../src/toolstack/config/option-schemas.ts'
import { resolveDomainOptions } from '../../../../src/toolstack/config/domain-config.ts'
import { REFUSED_OPTIONS } from '../../../../src/toolstack/config/option-table.ts'
import { parseDescription } from '../../../../src/toolstack/config/description-file.ts'
import { guestFile, whyMissing } from '../../../support/guests.ts'

const XL_OPTIONS = `
  acpi acpi_firmware acpi_laptop_slate acpi_s3 acpi_s4 altp2m altp2mhvm apic bios bios_path_override boot bootloader bootloader_args
  builder cap channel cmdline cpu_weight cpuid cpus cpus_soft device_model device_model_args device_model_override
  device_model_stubdomain_override device_model_stubdomain_seclabel device_model_user device_model_version device_tree disk display
  dm_restrict driver_domain dtdev e820_host extra extratime firmware firmware_override gfx_passthru gic_version hap hdtype hpet
  init_seclabel iomem ioports irqs kernel keymap latency localtime max_event_channels max_grant_frames max_grant_version
  max_maptrack_frames maxmem maxvcpus mca_caps memory mmio_hole ms_vm_genid msr_relaxed name nestedhvm nographic nomigrate nx
  on_crash on_poweroff on_reboot on_soft_reset on_watchdog oos opengl p9 pae passthrough pci pci_msitranslate pci_permissive
  pci_power_mgmt pci_seize period pool pvcalls pvshim pvshim_cmdline pvshim_extra pvshim_path ramdisk rdm rdm_mem_boundary root
  rtc_timeoffset sdl seclabel serial shadow_memory slice smbios_firmware soundhw spice spice_clipboard_sharing
  spice_image_compression spice_streaming_video spiceagent_mouse spicedisable_ticketing spicehost spicepasswd spiceport
  spicetls_port spiceusbredirection spicevdagent stdvga stubdomain_cmdline stubdomain_kernel stubdomain_memory stubdomain_ramdisk
  tee timer_mode tsc_mode type usb usbctrl usbdev usbdevice usbversion uuid vcpus vdispl vendor_device vfb vga videoram vif vif2
  viridian vkb vkb_device vmtrace_buf_kb vnc vncdisplay vnclisten vncpasswd vncunused vncviewer vnuma vpmu vpt_align vsnd vtpm vuart
  xauthority xen_platform_pci xend_suspend_evtchn_compat`.trim().split(/\s+/)

test.each(XL_OPTIONS)('%s is known', (option) => {
  expect(OPTION_NAMES).toContain(option)
  // Nothing that xl reads makes a file one for xm.
  expect(XM_OPTIONS.has(option) || XM_NETWORK_OPTIONS.has(option)).toBe(false)
  if (Object.hasOwn(REFUSED_OPTIONS, option)) {
    const refused = expect.objectContaining({ code: 'NOT_SUPPORTED', details: expect.objectContaining({ key: option }), message: expect.stringContaining(`${option} is refused: `) })
    for (const value of ['1', '"pty"', '["x=1"]']) expect(() => parseDescription(`name = "x"\n${option} = ${value}`)).toThrow(refused)
    expect(() => resolveDomainOptions({ name: 'x', [option]: ['x=1'] })).toThrow(refused)
    for (const none of ['0', '""', '[]']) expect(parseDescription(`name = "x"\n${option} = ${none}`).warnings).toEqual([])
  } else if (!EFFECTIVE_OPTIONS.has(option)) {
    const { warnings, era } = parseDescription(`name = "x"\n${option} = 1`)
    expect([era, warnings.map((warning) => warning.option)]).toEqual(['xl', [option]])
  }
})

test('the heading of the actions in xl.cfg(5) is no option, and is refused by name as such', () => {
  const refused = expect.objectContaining({ code: 'NOT_SUPPORTED', details: expect.objectContaining({ key: 'event_actions' }), message: expect.stringMatching(/event_actions is refused: .*on_poweroff, on_reboot, on_watchdog, on_crash and on_soft_reset/) })
  for (const value of ['"destroy"', '["on_crash=destroy"]']) expect(() => parseDescription(`name = "x"\nevent_actions = ${value}`)).toThrow(refused)
  expect(() => resolveDomainOptions({ name: 'x', event_actions: { crash: 'destroy' } } as object as { name: string })).toThrow(refused)
})

test('a mode of the time-stamp counter is one of libxl\'s words, or its number; one that Xen has no longer is refused by name', () => {
  const read = (value: string): unknown => parseDescription(`name = "x"\ntsc_mode = ${value}`).config.tscMode
  expect(['"default"', '"always_emulate"', '"native"', '0', '1', '"2"'].map(read)).toEqual(['default', 'always_emulate', 'native', 'default', 'always_emulate', 'native'])
  for (const value of ['"native_paravirt"', '3']) expect(() => read(value)).toThrow(/tsc_mode native_paravirt is no longer there in Xen/)
  for (const value of ['"fast"', '4', '-1']) expect(() => read(value)).toThrow(/tsc_mode must be one of default, always_emulate, native/)
})

test('options that take a number are those that refuse a word', () => {
  for (const option of EFFECTIVE_OPTIONS) {
    const read = (): unknown => parseDescription(`name = "x"\n${option} = "none at all"`, { era: 'xm' })
    if (NUMBER_OPTIONS.has(option)) expect(read).toThrow(/must be a whole number/)
    else try { read() } catch (error) { expect(String(error)).not.toMatch(/must be a whole number/) }
  }
})

const missing = whyMissing('xl')
describe.skipIf(missing !== undefined)(`Debian's xl${missing ?? ''}`, () => {
  test('holds each of these words', () => {
    const words = readFileSync(guestFile('xl')!).toString('latin1').split('\0')
    // The linker keeps a text that another one ends with only once.
    expect(XL_OPTIONS.filter((option) => !words.some((word) => word.endsWith(option)))).toEqual([])
    expect(words.some((word) => word.endsWith('event_actions'))).toBe(false)
  })
})
