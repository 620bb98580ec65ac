/**
 * Debian's Linux as dom0 on our hypervisor, with Xen's own tools: xl creates, lists, balloons, pauses and destroys guests by hypercalls
 * that nobody here wrote. What the tools print is that of a real Xen 4.17.7, but for addresses, times and sizes.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Host, Moment } from '../../src/index.ts'
import { kernelLog } from '../support/dmesg.ts'
import { Dom0Shell } from '../support/dom0.ts'
import { callName } from '../support/hypercall-census.ts'
import { whyMissing } from '../support/guests.ts'
import { overSerialLine } from '../support/serial-line.ts'

const missing = whyMissing('linux', 'busybox', 'dom0Tools')
const BOOT = 600_000

/** Numbers that differ from run to run. */
const masked = (text: string): string => text.replace(/\d+\.\d+/g, 'T').replace(/ +/g, ' ')

describe.skipIf(missing !== undefined)(`Linux as dom0${missing ?? ''}`, { timeout: BOOT }, () => {
  let shell: Dom0Shell
  /** At its prompt, with nothing done yet: what is to end it begins there. */
  let ready: Moment<Host>
  beforeAll(async () => {
    shell = await Dom0Shell.boot()
    ready = await shell.host.checkpoint({ label: 'at the prompt' })
  }, BOOT)
  afterAll(() => shell?.host.shutdown())

  test('has the powers of the initial domain, and its kernel complains of nothing', async () => {
    expect(await shell.run('cat /proc/xen/capabilities; cat /sys/hypervisor/type; uname -m')).toBe('control_d\nxen\nx86_64\n')
    expect((await shell.ask(kernelLog('WARNING|Oops|BUG:|Call Trace|blocked for more than|hung'))).output).toBe('')
  })

  test('finds the two devices of a PC that there are: it measures by the one, and programs read the date from the other', async () => {
    const { output } = await shell.ask(kernelLog('Fast TSC|rtc_cmos'))
    expect(output).toMatch(/Fast TSC calibration using PIT[^]*rtc_cmos: only 24-hr supported/)
    // Day, month and year in decimal digits, by ports 0x70 and 0x71.
    const fields = ['007', '010', '011'].map((register) => `printf '\\${register}' | dd of=/dev/port bs=1 seek=112 2>/dev/null; dd if=/dev/port bs=1 skip=113 count=1 2>/dev/null | od -An -tx1`)
    expect((await shell.run(fields.join('; '))).trim().split(/\s+/)).toEqual((await shell.run('date -u "+%d %m %y"')).trim().split(' '))
  })

  /**
   * The same kernel on real Xen without ACPI and PCI makes these calls; there it asks firmware_info once more, as the BIOS knows a disk, and
   * 9 of 265 exchanges are refused with ENOMEM, as no memory lies below their address limits, where all memory lies here.
   */
  test('boots by the hypercalls that its kernel makes on real Xen', () => {
    const own = Object.fromEntries([...shell.calls].filter(([name]) => !/^(?:mmu_|mmuext|update_va|multicall|iret|stack_switch|set_segment|set_debugreg|fpu_|console_io write|.*timer|xen_version version)/.test(name)))
    expect(own).toEqual({
      'xen_version get_features': 1, 'xen_version extraversion': 1, 'memory_op machphys_mapping': 1, 'memory_op machine_memory_map': 1, 'memory_op maximum_reservation': 1,
      'memory_op exchange': 256, set_gdt: 5, set_trap_table: 26, update_descriptor: 1, vm_assist: 4, callback_op: 4,
      'physdev_op set_iopl': 1, 'physdev_op pirq_eoi_gmfn_v2': 1,
      // The keyboard's flags, the time of day thrice, two CPUs; disks and EFI.
      platform_op: 6, 'platform_op = -3': 2, 'platform_op = -38': 1, arch_0: 2, 'xenpmu_op = -95': 1,
      'vcpu_op is_up': 1, 'vcpu_op is_up = -2': 8191, 'vcpu_op register_vcpu_info': 1, 'vcpu_op register_runstate_memory_area': 2,
      'event_channel_op init_control': 1, 'event_channel_op expand_array': 1, 'event_channel_op set_priority': 1, 'event_channel_op bind_virq': 4,
      'event_channel_op bind_ipi': 4, 'event_channel_op bind_vcpu': 4, 'event_channel_op alloc_unbound': 1,
      'grant_table_op set_version': 1, 'grant_table_op query_size': 4, 'grant_table_op setup_table': 1, 'console_io read': 1,
    })
  })

  test('xl and xentop list it as real ones do', async () => {
    const info = await shell.run('xl info')
    expect(info.split('\n').map((line) => line.split(' ')[0])).toEqual([
      'host', 'release', 'version', 'machine', 'nr_cpus', 'max_cpu_id', 'nr_nodes', 'cores_per_socket', 'threads_per_core', 'cpu_mhz', 'hw_caps', 'virt_caps',
      'total_memory', 'free_memory', 'sharing_freed_memory', 'sharing_used_memory', 'outstanding_claims', 'free_cpus', 'xen_major', 'xen_minor', 'xen_extra',
      'xen_version', 'xen_caps', 'xen_scheduler', 'xen_pagesize', 'platform_params', 'xen_changeset', 'xen_commandline', 'cc_compiler', 'cc_compile_by',
      'cc_compile_domain', 'cc_compile_date', 'build_id', 'xend_config_format', '',
    ])
    expect(masked(await shell.run('xl list'))).toBe('Name ID Mem VCPUs\tState\tTime(s)\nDomain-0 0 512 1 r----- T\n')
    expect(masked(await shell.run('xl vcpu-list'))).toMatch(/^Name ID VCPU CPU State Time\(s\) Affinity \(Hard \/ Soft\)\nDomain-0 0 0 [01] r-- T all \/ all\n$/)
    expect(await shell.run('xentop -b -i 1')).toMatch(/^ +NAME +STATE +CPU\(sec\) CPU\(%\).*SSID\n +Domain-0 -----r .*\n$/)
    expect(await shell.run('xenstore-ls /local/domain/0')).toContain('name = "Domain-0"\n')
  })

  test('xl creates a guest, whose console answers, and changes, pauses and destroys it; the host follows', async () => {
    const { host } = shell
    const seen: string[] = []
    for (const type of ['domain-created', 'domain-destroyed'] as const) host.hypervisorEvents.on(type, ({ domid }) => seen.push(`${type} ${domid}`))
    expect(await shell.run('xl create a.cfg')).toBe('Parsing config from a.cfg\n')
    expect(masked(await shell.run('xl list a'))).toMatch(/^Name ID Mem VCPUs\tState\tTime\(s\)\na 1 32 1 -b---- T\n$/)
    expect(host.listDomains().map(({ id, memory }) => [id, memory])).toEqual([[0, 512], [1, 32]])
    // What both sides call it by is its number and its UUID; its name is dom0's own.
    const uuid = Buffer.from(host.hypervisor.domainInfo(1 as never).handle).toString('hex')
    expect((await shell.run('xl vm-list')).replaceAll('-', '')).toMatch(new RegExp(`^${uuid} +1 +a *$`, 'm'))
    host.hypervisor.pauseDomain(1 as never)
    expect(masked(await shell.run('xl list a'))).toMatch(/a 1 32 1 -?b?-?p/)
    host.hypervisor.unpauseDomain(1 as never)
    await host.console.write('xl console a\r')
    await host.console.waitFor('mini> ', { timeout: '20s' })
    await host.console.write('mem\r')
    await host.console.expect({ answer: /^mem/, prompt: 'mini> ' }, { timeout: '20s' })
    await host.console.write('\u001d')
    await host.console.waitFor(/dom0# $/, { timeout: '20s' })
    await shell.run('xl mem-set a 24')
    await shell.run('sleep 1')
    expect(masked(await shell.run('xl list a'))).toContain('a 1 24 1 ')
    await shell.run('xl pause a')
    expect(masked(await shell.run('xl list a'))).toMatch(/a 1 24 1 -?b?-?p/)
    await shell.run('xl unpause a')
    expect(await shell.run('xl domid a; xl domname 1')).toBe('1\na\n')
    await shell.run('xl destroy a')
    expect(masked(await shell.run('xl list'))).toMatch(/VCPUs\tState\tTime\(s\)\nDomain-0 0 [^\n]*\n$/)
    expect(seen).toEqual(['domain-created 1', 'domain-destroyed 1'])
  })

  test('Python lists domains by its binding', async () => {
    expect(await shell.run('python3 -c "import xen.lowlevel.xc as x; print([d[\'domid\'] for d in x.xc().domain_getinfo()])"')).toBe('[0]\n')
  })

  test('fifty creates and destroys leave nothing behind', async () => {
    const { host } = shell
    const left = (): unknown => ({ frames: host.hypervisor.hostInfo().freeFrames, domains: host.listDomains().map(({ id, memory }) => [id, memory]) })
    await shell.run('xl create a.cfg >/dev/null && xl destroy a')
    const before = left()
    await shell.run('(for i in $(seq 50); do xl create a.cfg >/dev/null && xl destroy a || exit 1; done)')
    expect(left()).toEqual(before)
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test.each([['poweroff', 'poweroff'], ['reboot', 'reboot'], ['echo c >/proc/sysrq-trigger', 'crash']])('ends the host by %s, which is told as %s, and everything can be looked at', async (command, reason) => {
    await using there = shell.at(await ready.branch())
    const { host } = there
    await there.run('xl create a.cfg')
    const ends: unknown[] = []
    host.events.on('dom0-shutdown', ({ reason: why, crash }) => ends.push(why, crash?.id))
    await host.console.write(`${command}\r`)
    await expect(host.until('its end', () => false, { timeout: '60s' })).rejects.toMatchObject({ code: 'CLOSED' })
    expect(ends).toEqual([reason, reason === 'crash' ? 0 : undefined])
    expect(host.listDomains().map(({ id, memory }) => [id, memory])).toEqual([[0, 512], [1, 32]])
    expect(host.hypervisor.getVcpuContext(1 as never, 0)).toBeDefined()
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  /** `xl migrate` runs what it is given in place of ssh; here that is a serial line between two machines. */
  test('xl migrates a running guest from one host to another, and asks which pages it has written meanwhile', async () => {
    await using source = shell.at(await ready.branch())
    await using target = shell.at(await ready.branch())
    for (const each of [source, target]) await each.run('dmesg -n 1')
    await source.run('xl create small.cfg')
    const [logged, gone]: [number[], number[]] = [[], []]
    source.host.hypervisorEvents.on('hypercall', ({ number, sub, result }) => { if (callName(number, sub) === 'domctl/shadow_op') logged.push(result) })
    source.host.hypervisorEvents.on('domain-destroyed', ({ domid }) => gone.push(domid))
    await overSerialLine([source, target], ['xl migrate -s "" small /root/line >/tmp/sent 2>&1', 'xl migrate-receive 2>/tmp/received'], () => gone.length > 0)
    expect(await source.run('cat /tmp/sent')).toContain('Migration successful.')
    expect(await target.run('xl list small; timeout 2 xl console small; true')).toMatch(/small +\d+ +5 [^]*mini: restored/)
    // On, which pages at least once, off.
    expect([logged.length > 2, logged.every((result) => result === 0)]).toEqual([true, true])
    expect([source, target].map(({ host }) => [host.listDomains().length, host.hypervisor.checkInvariants()])).toEqual([[1, []], [2, []]])
  })
})

test.skipIf(missing !== undefined)(`Linux as dom0 has four vCPUs${missing ?? ''}`, { timeout: BOOT }, async () => {
  await using shell = await Dom0Shell.boot({ vcpus: 4 })
  expect(await shell.run('nproc')).toBe('4\n')
  expect((await shell.ask(kernelLog('WARNING|Oops|BUG:|Call Trace'))).output).toBe('')
})
