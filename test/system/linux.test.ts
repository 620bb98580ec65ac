/**
 * Debian's Linux, unmodified, as a PV guest with one vCPU: from its first line to a shell, work of all kinds in that
 * shell, memory down and up, and all the ways it can end. One boot serves many tests; a second one proves that a run
 * can be repeated.
 */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { DomainOptions, KernelSource } from '../../src/index.ts'
import { compareDmesg } from '../support/dmesg.ts'
import { whyMissing } from '../support/guests.ts'
import { formatCensus, readCensus, takeCensus } from '../support/hypercall-census.ts'
import { NEWER_KERNEL, NOT_HERE, ONLY_HERE } from '../support/linux-differences.ts'
import { LINUX_FILES, LinuxGuest, SECOND, bootLinux, bootLinuxHost, createLinux, stateHash } from '../support/linux.ts'

const missing = whyMissing(...LINUX_FILES)
const DOMAIN: Partial<DomainOptions<KernelSource>> = {
  memory: 128, maxMemory: 160, timeOffset: 86_400, actions: { reboot: 'destroy', crash: 'destroy' },
}
/** A boot takes 15 seconds of an idle machine's processor. */
const PATIENCE = 300_000

/** Hypercalls of the capture that come when the guest ends. */
const AT_POWER_OFF = ['sched_op/shutdown']

const golden = (name: string): string => readFileSync(new URL(`../golden/${name}`, import.meta.url), 'utf8')

/** Kilobytes of a line of /proc/meminfo. */
const kilobytes = (text: string, name: string): number => Number(new RegExp(`${name}: +(\\d+) kB`).exec(text)?.[1])

describe.skipIf(missing !== undefined)(`Linux on one vCPU${missing ?? ''}`, { timeout: PATIENCE }, () => {
  let linux: LinuxGuest
  const first = { console: '', hash: '', calls: new Map<string, number>() }

  beforeAll(async () => {
    const host = await bootLinuxHost()
    const census = takeCensus(host.hypervisorEvents)
    linux = await (await createLinux(host, { domain: DOMAIN })).ready()
    census.stop()
    first.calls = census.counts
    first.console = linux.domain.console.text()
    first.hash = stateHash(linux.host, linux.domain)
  }, PATIENCE)
  afterAll(() => linux?.host.shutdown())

  test('it boots as on Xen, finds console, store, grants and events, and warns of nothing', () => {
    for (const line of [
      /Hypervisor detected: Xen PV/, /Xen version: 4\.17\.\d+ \(preserve-AD\)/, /xen:events: Using FIFO-based ABI/,
      /clocksource: xen: mask/, /installing Xen timer for CPU 0/, /Grant tables using version 1 layout/,
      /xen:balloon: Initialising balloon driver/, /x86\/mm: Checked W\+X mappings: passed/, /Run \/init as init process/,
    ]) expect(first.console).toMatch(line)
    expect(first.console).not.toMatch(/WARNING:|BUG:|Oops|Call Trace|soft lockup|rcu.*stall/)
    expect(linux.host.hypervisor.checkInvariants()).toEqual([])
  })

  test('its messages are those of the same kernel on real Xen, but for differences that are known', () => {
    const { missing, added } = compareDmesg(first.console, golden('linux-console-xen-4.17.txt'))
    const listed = (title: string, lines: readonly string[]): string => [title, ...lines.map((line) => `  ${line}`)].join('\n')
    console.log(listed('Only on real Xen:', missing), listed('\nOnly here:', added), '\nReasons: docs/differences-from-xen.md')
    expect(missing.filter((line) => ![...NOT_HERE, ...NEWER_KERNEL].some((known) => known.test(line)))).toEqual([])
    expect(added.filter((line) => ![...ONLY_HERE, ...NEWER_KERNEL].some((known) => known.test(line)))).toEqual([])
  })

  test('it makes the hypercalls that it makes on real Xen', () => {
    const onXen = readCensus(golden('linux-hypercalls-xen-4.17.txt'))
    console.log(`Hypercalls from creation to the shell; real Xen's from creation to power-off:\n${formatCensus(first.calls, onXen)}`)
    const names = [...onXen.keys()].filter((name) => !AT_POWER_OFF.includes(name))
    expect(names.filter((name) => !first.calls.has(name))).toEqual([])
    expect([...first.calls.keys()].filter((name) => !onXen.has(name))).toEqual([])
    for (const name of ['set_gdt', 'vm_assist/enable', 'callback_op', 'set_debugreg', 'memory_op/memory_map', 'event_channel_op/bind_ipi']) {
      expect([name, first.calls.get(name)]).toEqual([name, onXen.get(name)])
    }
    // Its kernel's base is set at each switch of tasks; the user's are written by instructions.
    const basesPerSwitch = (calls: ReadonlyMap<string, number>): number => calls.get('set_segment_base')! / calls.get('stack_switch')!
    expect([basesPerSwitch(first.calls) < 1.2, basesPerSwitch(onXen) < 1.2]).toEqual([true, true])
    // What follows the kernel's own size and not the speed of the machine.
    for (const name of ['mmu_update', 'mmuext_op', 'vcpu_op/is_up', 'update_va_mapping']) {
      const ratio = first.calls.get(name)! / onXen.get(name)!
      expect([name, ratio > 0.9 && ratio < 1.1]).toEqual([name, true])
    }
  })

  test('a command typed into the shell is answered', async () => {
    expect(await linux.run('uname -s -m')).toBe('Linux x86_64')
    expect(await linux.run('false', { status: 1 })).toBe('')
    expect(await linux.run('cat /sys/hypervisor/type /sys/hypervisor/version/major')).toBe('xen\n4')
    expect(await linux.run('cat /sys/hypervisor/uuid')).toBe(linux.domain.uuid)
  })

  test('/proc/cpuinfo shows the processor that CPUID offers, and no more', async () => {
    const text = await linux.run('cat /proc/cpuinfo')
    expect(text.match(/^processor/gm)).toHaveLength(1)
    const flags = new Set(/^flags\s*: (.*)$/m.exec(text)![1]!.split(' '))
    for (const flag of ['fpu', 'tsc', 'cx8', 'rdtscp', 'fsgsbase', 'fxsr', 'sse', 'sse2', 'syscall', 'nx', 'lm', 'hypervisor', 'xsave', 'avx', 'avx2', 'bmi1', 'bmi2', 'fma', 'f16c', 'movbe', 'abm', 'xsaveopt', 'xsavec', 'xgetbv1']) expect(flags).toContain(flag)
    for (const flag of ['avx512f', 'xsaves', 'aes', 'rtm', 'vmx', 'svm', 'pcid']) expect(flags).not.toContain(flag)
  })

  test('its balloon gives memory back and takes it again, up to maxmem and not beyond', async () => {
    const { domain } = linux
    const before = await linux.run('cat /proc/meminfo')
    for (const mebibytes of [104, 128, 152]) {
      await domain.setMemTarget(mebibytes, { timeout: 60 * SECOND })
      expect(domain.info().totalPages).toBe(mebibytes * 256)
      const text = await linux.run('cat /proc/meminfo')
      expect(kilobytes(text, 'MemTotal') - kilobytes(before, 'MemTotal')).toBe((mebibytes - 128) * 1024)
    }
    await expect(domain.setMemTarget(161)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect(linux.host.hypervisor.checkInvariants()).toEqual([])
  })

  test('signals arrive, are caught, and end what does not catch them', async () => {
    expect(await linux.run('sleep 100 & sleep 0.2; kill $!; wait $!; echo "status $?"')).toMatch(/status 143/)
    expect(await linux.run(`sh -c 'trap "echo caught" USR1; kill -USR1 $$; echo after'`)).toBe('caught\nafter')
    expect(await linux.run(`sh -c 'kill -SEGV $$'; echo "status $?"`)).toMatch(/status 139/)
    expect(await linux.run('timeout 1 sleep 50', { status: 143 })).toMatch(/^(Terminated)?$/)
  })

  test('pipes, files and compression carry what they are given unharmed', async () => {
    const commands = [
      'dd if=/dev/urandom of=/tmp/data bs=4k count=32 2>/dev/null',
      'gzip -c /tmp/data | cat | gunzip | cmp - /tmp/data',
      'sha256sum < /tmp/data > /tmp/sum',
      'cat /tmp/data | tee /tmp/copy | sha256sum | cmp - /tmp/sum',
      'tar cf - /tmp/copy 2>/dev/null | (mkdir -p /tmp/out && tar xf - -C /tmp/out)',
      'cmp /tmp/data /tmp/out/tmp/copy',
    ]
    expect(await linux.run(commands.join(' && '))).toBe('')
    expect(await linux.run('seq 1 2000 | sort -rn | uniq | wc -l')).toBe('2000')
  })

  test('a load of forks and mappings leaves no process and no page behind', async () => {
    const load = 'i=0; while [ $i -lt 15 ]; do (echo $i | cat > /dev/null) & i=$((i+1)); done; wait; echo forked'
    expect(await linux.run(`sh -c '${load}'`)).toBe('forked')
    const processes = Number(await linux.run('ls -d /proc/[0-9]* | wc -l'))
    expect(await linux.run(`sh -c '${load}'`)).toBe('forked')
    expect(Number(await linux.run('ls -d /proc/[0-9]* | wc -l'))).toBeLessThanOrEqual(processes + 2)
    // Anonymous memory: a shell variable of 4 MiB, made by doubling, in a child that then ends.
    const doubling = 'x=0123456789abcdef; i=0; while [ $i -lt 18 ]; do x=$x$x; i=$((i+1)); done; echo ${#x}'
    expect(await linux.run(`sh -c '${doubling}'`)).toBe('4194304')
    expect(linux.host.hypervisor.checkInvariants()).toEqual([])
  })

  test('user processes compute in floating point and in long integers', async () => {
    expect(await linux.run('echo "scale=20; 4*a(1)" | bc -l')).toBe('3.14159265358979323844')
    expect(await linux.run(`awk 'BEGIN { x = 1/3; printf "%.15f %.3e %d", x, x*1e20, 7.9 }'`)).toBe('0.333333333333333 3.333e+19 7')
    expect(await linux.run(`awk 'BEGIN { for (i = 1; i <= 1000; i++) s += 1/i; printf "%.12f", s }'`)).toBe('7.485470860550')
    // Two processes at once: each must find its own registers again.
    const sum = `awk 'BEGIN { for (i = 1; i <= 3000; i++) s += 0.1; printf "%.10f\\n", s }'`
    expect(await linux.run(`${sum} & ${sum}; wait`)).toMatch(/300\.0000000000[^]*300\.0000000000/)
  })

  test('time passes while nothing runs, and the clock agrees with the host', async () => {
    const before = linux.host.now()
    const [from, to] = (await linux.run('cut -d" " -f1 /proc/uptime; sleep 20; cut -d" " -f1 /proc/uptime')).split('\n').map(Number)
    expect(to! - from!).toBeGreaterThanOrEqual(20)
    expect(to! - from!).toBeLessThan(21)
    expect((linux.host.now() - before) / SECOND).toBeGreaterThan(20)
    // A day ahead of the host, as its description says.
    expect(await linux.run('date -u +%Y-%m-%d')).toBe('2005-10-25')
  })

  test('it hears a key of sysrq from XenStore, and a non-maskable interrupt', async () => {
    linux.domain.sysrq('h')
    await linux.domain.console.waitFor('sysrq: HELP', { timeout: 10 * SECOND })
    linux.domain.trigger('nmi')
    await linux.domain.console.waitFor(/NMI received for unknown reason/, { timeout: 10 * SECOND })
    expect(linux.host.store.tryRead(`/local/domain/${linux.domain.id}/control/sysrq`)).not.toBe('h')
  })

  test('asked to reboot it does so, and says so', async () => {
    expect(await linux.domain.reboot({ timeout: 60 * SECOND })).toBe('reboot')
    expect(linux.domain.console.text()).toMatch(/reboot: Restarting system/)
    await linux.host.settled()
    expect(linux.host.domains()).toEqual([])
    expect(linux.host.hypervisor.checkInvariants()).toEqual([])
  })

  test('a second run is the same run: console, memory and registers; a panic then counts as a crash', async () => {
    const again = await (await bootLinux({ domain: DOMAIN })).ready()
    try {
      expect(again.domain.console.text()).toBe(first.console)
      expect(stateHash(again.host, again.domain)).toBe(first.hash)
      await again.domain.console.write('echo c > /proc/sysrq-trigger\r')
      expect(await again.domain.waitForShutdown({ timeout: 60 * SECOND })).toBe('crash')
      expect(again.domain.console.text()).toMatch(/Kernel panic - not syncing: sysrq triggered crash/)
      await again.host.settled()
      expect(again.host.domains()).toEqual([])
      expect(again.host.hypervisor.checkInvariants()).toEqual([])
    } finally {
      await again.host.shutdown()
    }
  })
})
