/**
 * Whatever the compiling tier does, nothing of it reaches a guest: the same totals, times and hashes with the tier off and on, by
 * every number of samples, for every slice, with regions that are dropped by chance. For the integer program of the benchmarks, for
 * PV guests on several vCPUs, for the embedded kernel, and for Debian's Linux up to its shell.
 */
import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { Host } from '../../src/toolstack/index.ts'
import type { CompilerOptions } from '../../src/machine/index.ts'
import { loadFlatProgram } from '../bench/support/flat-machine.ts'
import { build } from '../bench/support/integer-program.ts'
import { BusyGuests } from '../support/busy-guests.ts'
import { whyMissing } from '../support/guests.ts'
import { LINUX_FILES, bootLinux, stateHash } from '../support/linux.ts'
import { registersOf } from '../support/lockstep.ts'
import { startMini } from '../support/mini.ts'

/** Settings that must all come to what the first one comes to. */
const SETTINGS: Readonly<Record<string, 'off' | CompilerOptions>> = {
  off: 'off',
  usual: {},
  'one sample': { samples: 1 },
  '8 samples': { samples: 8 },
  '100 samples': { samples: 100 },
  'slices of 20,000': { slice: 20_000 },
  'slices of 50,000': { slice: 50_000 },
  'slices of 400,000': { slice: 400_000, samples: 1 },
  'one sample, small slices': { samples: 1, slice: 2_000, batch: 1 },
  'small regions': { samples: 1, slice: 5_000, limit: 10 },
  'large regions, few modules': { samples: 1, slice: 5_000, limit: 400, modules: 5 },
  'regions dropped by chance': { samples: 1, slice: 5_000, drop: { seed: 1, oneIn: 5 } },
  'regions dropped by another chance': { samples: 2, slice: 7_001, drop: { seed: 2, oneIn: 3 } },
}
const others = Object.entries(SETTINGS).slice(1)

/** Work of the integer program: an eighth of its least in ordinary tests. */
const SCALE = 0.125

describe('the integer program on the machine alone', () => {
  const built = build('bare', SCALE)
  const path = 'path' in built ? built.path : undefined
  const run = (compiler: 'off' | CompilerOptions, runs = 1_000_000): Record<string, unknown> => {
    const program = loadFlatProgram(path!, { compiler })
    let output = ''
    const instructions = program.run((text) => { output += text }, runs)
    return { instructions, output, ...registersOf(program.processor) }
  }
  const reason = 'absent' in built ? ` (SKIPPED: ${built.absent})` : ''
  const expected = path === undefined ? {} : run('off')

  test.skipIf(path === undefined).each(others)(`comes to the same with %s${reason}`, (_, compiler) => {
    expect(run(compiler)).toEqual(expected)
  }, 60_000)

  test.skipIf(path === undefined).each([50_000, 333_333, 2_000_003])(`comes to the same in runs of %i${reason}`, (runs) => {
    expect(run({ samples: 1, slice: 3_000 }, runs)).toEqual(expected)
    expect(run('off', runs)).toEqual(expected)
  }, 60_000)
})

describe('PV guests on two vCPUs each', () => {
  const run = (compiler: 'off' | CompilerOptions): string => {
    const { host } = new BusyGuests({ compiler })
    const hashes = [0, 1, 2].map(() => {
      host.hypervisor.run({ instructions: 400_000 })
      return `${host.executed} ${host.hypervisor.stateHash()}`
    })
    return hashes.join('\n')
  }
  const expected = run('off')

  test.each(others)('come to the same with %s', (_, compiler) => {
    expect(run(compiler)).toBe(expected)
  }, 60_000)
})

describe('the embedded kernel', () => {
  const run = async (compiler: 'off' | CompilerOptions): Promise<string> => {
    const host = await Host.boot({ memory: 64, dom0Memory: 16, compiler })
    const domain = await startMini(host)
    const state = `${domain.info().cpuTime} ${domain.console.text()} ${host.hypervisor.stateHash()}`
    await host.shutdown()
    return state
  }

  test.each(others.slice(0, 8))('comes to the same with %s', async (_, compiler) => {
    expect(await run(compiler)).toBe(await run('off'))
  }, 60_000)
})

const missing = whyMissing(...LINUX_FILES)
/** Milliseconds for all boots of a test. */
const LONGEST = 2_400_000
/** An ordinary run boots Linux with those that compile most on one vCPU, and as users do and with those that drop most on two; a long one with all on both. */
const OFTEN: readonly (readonly string[])[] = [['one sample, small slices', 'small regions'], ['usual', 'regions dropped by chance']]
const isLong = process.env['FUZZ'] === 'long'
const booted = (vcpus: 1 | 2): typeof others => isLong ? others : others.filter(([name]) => OFTEN[vcpus - 1]!.includes(name))

describe.skipIf(missing !== undefined)(`Linux${missing ?? ''}`, () => {
  const boot = async (compiler: 'off' | CompilerOptions, vcpus: number): Promise<string> => {
    const linux = await bootLinux({ host: { compiler, cpus: vcpus }, domain: { memory: 128, vcpus } })
    await linux.ready()
    const { host, domain } = linux
    const hash = createHash('sha256').update(domain.console.text()).digest('hex').slice(0, 16)
    const state = `${domain.info().cpuTime} ${hash} ${host.hypervisor.stateHash()} ${stateHash(host, domain)}`
    await host.shutdown()
    return state
  }

  test('comes to its shell at the same time and in the same state, whatever is compiled', async () => {
    const expected = await boot('off', 1)
    for (const [name, compiler] of booted(1)) expect(`${name}: ${await boot(compiler, 1)}`).toBe(`${name}: ${expected}`)
  }, LONGEST)

  test('on two vCPUs as well', async () => {
    const expected = await boot('off', 2)
    for (const [name, compiler] of booted(2)) expect(`${name}: ${await boot(compiler, 2)}`).toBe(`${name}: ${expected}`)
  }, LONGEST)
})
