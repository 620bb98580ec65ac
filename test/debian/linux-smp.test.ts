/**
 * Debian's Linux with several vCPUs: it brings all of them up, runs work on each, takes some down and up again when the
 * toolstack says so, and powers off when asked.
 */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { compareDmesg } from '../support/dmesg.ts'
import { whyMissing } from '../support/guests.ts'
import { NEWER_KERNEL, NOT_HERE, ONLY_HERE } from '../support/linux-differences.ts'
import { LINUX_FILES, SECOND, bootLinux, stateHash, type LinuxGuest } from '../support/linux.ts'

const missing = whyMissing(...LINUX_FILES)
const PATIENCE = 400_000

const onXen = readFileSync(new URL('../golden/linux-smp-console-xen-4.17.txt', import.meta.url), 'utf8')

/** Runs `work` with a guest of so many vCPUs on so many physical ones. */
async function withLinux(vcpus: number, cpus: number, work: (linux: LinuxGuest) => Promise<void>): Promise<void> {
  const linux = await bootLinux({ host: { cpus }, domain: { memory: 128, vcpus } })
  try {
    await linux.ready()
    await work(linux)
    expect(linux.host.hypervisor.checkInvariants()).toEqual([])
  } finally {
    await linux.host.shutdown()
  }
}

const online = (linux: LinuxGuest): Promise<string> => linux.run('cat /sys/devices/system/cpu/online')

describe.skipIf(missing !== undefined)(`Linux on several vCPUs${missing ?? ''}`, { timeout: PATIENCE }, () => {
  test('four come up on two physical CPUs as on real Xen, go down and up, and the guest powers off when asked', async () => {
    await withLinux(4, 2, async (linux) => {
      const { domain, host } = linux
      const { missing: lost, added } = compareDmesg(domain.console.text(), onXen)
      const unknown = (lines: readonly string[], known: readonly RegExp[]): readonly string[] =>
        lines.filter((line) => ![...known, ...NEWER_KERNEL].some((pattern) => pattern.test(line)))
      expect(unknown(lost, NOT_HERE)).toEqual([])
      expect(unknown(added, ONLY_HERE)).toEqual([])
      expect(await online(linux)).toBe('0-3')
      expect(domain.info().onlineVcpus).toBe(4)

      // Every CPU takes its share of work, and hears from the others.
      const work = 'i=0; while [ $i -lt 300 ]; do i=$((i+1)); done; grep -c . /proc/self/status > /dev/null'
      await linux.run(`for cpu in 0 1 2 3; do taskset -c $cpu sh -c '${work}' & done; wait`)
      const interrupts = await linux.run('cat /proc/interrupts')
      for (const name of ['timer0', 'timer1', 'timer2', 'timer3']) {
        expect(/:((?: +\d+)+) .* /.exec(interrupts.split('\n').find((line) => line.endsWith(name))!)![1]).toMatch(/[1-9]/)
      }

      const seen: number[] = []
      const lowering = domain.setVcpus(2, { wait: true, timeout: 30 * SECOND })
      lowering.progress.on('vcpus', ({ online: now }) => seen.push(now))
      await lowering
      expect([seen[0], seen.at(-1)]).toEqual([4, 2])
      expect(await online(linux)).toBe('0-1')
      expect([0, 1, 2, 3].map((vcpu) => host.hypervisor.vcpuInfo(domain.id, vcpu).online)).toEqual([true, true, false, false])
      await domain.setVcpus(4)
      expect(await linux.run('sleep 1; cat /sys/devices/system/cpu/present')).toBe('0-3')
      // It is the guest that brings added ones up.
      await linux.run('for cpu in 2 3; do echo 1 > /sys/devices/system/cpu/cpu$cpu/online; done')
      expect(await online(linux)).toBe('0-3')
      expect(domain.info().onlineVcpus).toBe(4)
      await expect(domain.setVcpus(5)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })

      expect(await domain.shutdown({ timeout: 60 * SECOND })).toBe('poweroff')
      await host.settled()
      expect(host.domains()).toEqual([])
    })
  })

  test('two runs of four vCPUs on two physical CPUs are the same run', async () => {
    const runs: { console: string; hash: string; host: string; time: number }[] = []
    for (let i = 0; i < 2; i += 1) {
      await withLinux(4, 2, async ({ host, domain }) => {
        const hash = stateHash(host, domain)
        runs.push({ console: domain.console.text(), hash, host: host.hypervisor.stateHash(), time: host.now() })
      })
    }
    expect(runs[0]!.console).toContain('smp: Brought up 1 node, 4 CPUs')
    expect(runs[1]).toEqual(runs[0])
  })

  test.each([[2, 1], [8, 1]])('%i come up on %i physical CPU and all run', async (vcpus, cpus) => {
    await withLinux(vcpus, cpus, async (linux) => {
      expect(linux.domain.console.text()).toContain(`smp: Brought up 1 node, ${vcpus} CPUs`)
      expect(await linux.run('nproc')).toBe(String(vcpus))
      const ran = await linux.run(`for cpu in $(seq 0 ${vcpus - 1}); do taskset -c $cpu sh -c 'cut -d" " -f39 /proc/self/stat'; done`)
      expect(ran.split('\n').map(Number)).toEqual(Array.from({ length: vcpus }, (_, cpu) => cpu))
    })
  })
})
