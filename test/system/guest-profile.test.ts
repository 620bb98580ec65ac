/** Profiles by function, and the files that are made of them, read by another library's reader. */
import { Profile } from 'pprof-format'
import { expect, test } from 'vitest'
import { symbolElf } from '../../src/debug/symbol-elf.ts'
import { profile, type GuestProfile } from '../../src/debug/index.ts'
import { Host } from '../../src/toolstack/index.ts'

const SLICE = 500
/** As if each 64 bytes of mini's code were a function. */
const SYMBOLS = symbolElf(Array.from({ length: 1024 }, (_, i) => ({ address: -(2 ** 31) + 64 * i, name: `part_${i}`, size: 64 })))

async function busy(): Promise<{ host: Host; found: GuestProfile }> {
  const host = await Host.boot({ memory: 64, dom0Memory: 16, compiler: { samples: 1, slice: SLICE, batch: 1 } })
  const domain = await host.createDomain({ name: 'mini', memory: 8 }, { symbols: SYMBOLS })
  await domain.console.waitFor('tick 3')
  const found = profile(host)
  expect(found.domains[0]!.time).toBe(domain.info().cpuTime)
  return { host, found }
}

test('a profile names the functions of a kernel, with all samples, instructions and virtual time', async () => {
  const { host, found } = await busy()
  const [{ functions, samples, instructions, time, exits }] = found.domains as [(typeof found.domains)[number]]
  expect(functions.map(({ name }) => name)).not.toContain('(unknown)')
  expect(functions.every(({ image, owner }) => image === 'kernel' && owner === 'kernel')).toBe(true)
  const count = functions.reduce((sum, row) => sum + row.samples, 0)
  expect(count).toBe(samples.reduce((sum, { interpreted, compiled }) => sum + interpreted + compiled, 0))
  expect(instructions).toBe(count * SLICE)
  expect(functions.reduce((sum, row) => sum + row.time, 0)).toBeCloseTo(time, 3)
  expect(exits['syscall']).toBeGreaterThan(10)
  expect(found.toText(3)).toContain(`  ${functions[0]!.name}\n`)
  expect(found.toSpeedscope().profiles[0]!.endValue).toBe(instructions)
  expect(found.toSpeedscope().shared.frames.map(({ name }) => name)).toContain(functions[0]!.name)
  await host.shutdown()
})

test('pprof reads the same numbers out of its file', async () => {
  const { host, found } = await busy()
  const [domain] = found.domains as [(typeof found.domains)[number]]
  const read = Profile.decode(found.toPprof())
  const text = (index: number | bigint): string => read.stringTable.strings[Number(index)]!
  expect(read.sampleType.map(({ type, unit }) => [text(type), text(unit)])).toEqual([['samples', 'count'], ['instructions', 'count'], ['time', 'nanoseconds']])
  const byFunction = new Map<string, number>()
  for (const { locationId: [id], value, label } of read.sample) {
    const location = read.location.find((one) => one.id === id)!
    const named = read.function.find((one) => one.id === location.line[0]!.functionId)!
    expect(read.mapping.some((one) => one.id === location.mappingId && text(one.filename) === `${domain.name}/kernel`)).toBe(true)
    expect(label.map(({ key, str }) => [text(key), text(str)])[0]).toEqual(['domain', domain.name])
    byFunction.set(text(named.name), (byFunction.get(text(named.name)) ?? 0) + Number(value[1]))
  }
  expect([...byFunction].sort()).toEqual(domain.functions.map(({ name, instructions }) => [name, instructions]).sort())
  expect(Number(read.period)).toBe(SLICE)
  expect(text(read.defaultSampleType)).toBe('instructions')
  expect(read.comment.map(text)).toContain(`exits of ${domain.name}: syscall ${domain.exits['syscall']}`)
  await host.shutdown()
})

test('a profile since an earlier one has what came between, and a program whose file is given has names', async () => {
  const { host, found } = await busy()
  expect(profile(host, { since: found }).domains[0]).toMatchObject({ instructions: 0, time: 0, functions: [], exits: {} })
  const domain = host.domains()[0]!
  await domain.console.write('mem\r')
  await domain.console.waitFor(/disagree/)
  const [between] = profile(host, { domain: domain.id, since: found }).domains as [(typeof found.domains)[number]]
  const [all] = profile(host).domains as [(typeof found.domains)[number]]
  expect(between.instructions).toBeGreaterThan(0)
  expect(between.instructions + found.domains[0]!.instructions).toBe(all.instructions)
  // The same file as that of a program: kernels have the first say, so it is not asked for their addresses.
  expect(profile(host, { programs: [{ name: 'init', elf: SYMBOLS }] }).domains[0]!.functions).toEqual(all.functions)
  await host.shutdown()
  expect(profile(host).domains).toEqual([])
})

test('what cannot be profiled is refused', async () => {
  await using host = await Host.boot({ memory: 64, dom0Memory: 16 })
  const written = await host.createDomain({ name: 'written', memory: 4, kernel: async () => { await new Promise(() => {}) } })
  const refused = (code: string): unknown => expect.objectContaining({ code })
  expect(() => profile(host, { domain: written })).toThrow(refused('INVALID_STATE'))
  expect(() => profile(host, { domain: 'nobody' })).toThrow(refused('DOMAIN_NOT_FOUND'))
  expect(() => profile(host, { programs: [{ name: 'x', elf: new Uint8Array(9) }], domain: written })).toThrow(refused('INVALID_STATE'))
  expect(() => profile(host, { programs: [{ name: 'x' }] } as never)).toThrow(refused('INVALID_ARGUMENT'))
  expect(() => profile(host, { whatever: 1 } as never)).toThrow(refused('INVALID_ARGUMENT'))
  expect(() => profile(undefined as never)).toThrow(refused('INVALID_ARGUMENT'))
  expect(profile(host).toText()).toBe('\n')
})
