/** What a description leaves of CPUID, by Linux's own list of it. */
import { expect, test } from 'vitest'
import { whyMissing } from '../support/guests.ts'
import { bootLinux, LINUX_FILES } from '../support/linux.ts'

const noLinux = whyMissing(...LINUX_FILES)

test.skipIf(noLinux !== undefined)(`Debian's Linux finds what its description leaves it${noLinux ?? ''}`, { timeout: 600_000 }, async () => {
  const guest = await (await bootLinux({ domain: { cpuid: 'host,avx=0,bmi2=0,rdrand=0' } })).ready()
  const flags = (await guest.run("grep -m 1 ^flags /proc/cpuinfo")).split(/\s+/)
  expect(['avx', 'avx2', 'fma', 'bmi2', 'rdrand'].filter((name) => flags.includes(name))).toEqual([])
  expect(['sse4_2', 'xsave', 'bmi1'].filter((name) => flags.includes(name))).toHaveLength(3)
  await guest.host.shutdown()
})
