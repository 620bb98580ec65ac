/**
 * A hypervisor saved and loaded: the copy goes on as the original does, whatever the slices; and what a file may say of a
 * hypervisor is refused, or adds up. `FUZZ=n` runs longer: a million instructions and a hundred spoiled states for each n.
 */
import { describe, expect, test } from 'vitest'
import { SeededRandom, XenError, below, compareStates, part, type SavedTree } from '../../../src/util/index.ts'
import { type MemoryState, memoryShape } from '../../../src/machine/index.ts'
import { BusyGuests } from '../../support/busy-guests.ts'
import { SLEEPER, TestHost } from '../../support/hypervisor-host.ts'
import { MachineHost, type MachineHostOptions } from '../../support/machine-host.ts'

const FUZZ = Number(process.env['FUZZ'] ?? 0)
const INSTRUCTIONS = FUZZ === 0 ? 240_000 : FUZZ * 1_000_000
const SPOILED = FUZZ === 0 ? 15 : FUZZ * 100

interface Saved {
  readonly memory: MemoryState
  readonly tree: SavedTree
}

function save({ machine, hypervisor }: MachineHost): Saved {
  return structuredClone({ tree: hypervisor.save(), memory: machine.memory.save() })
}

function load({ memory, tree }: Saved, options: MachineHostOptions): MachineHost {
  const host = new MachineHost(undefined, { physicalCpus: 2, ...options })
  part({ name: 'memory', version: 1, shape: memoryShape }, host.machine.memory).load({ version: 1, state: memory })
  host.hypervisor.load(tree)
  return host
}

/** Which parts differ; none when the hosts are equal. */
function differences(one: MachineHost, other: MachineHost): string[] {
  const [first, second] = [one.hypervisor.stateHashes(), other.hypervisor.stateHashes()]
  return Object.keys(first).filter((name) => first[name] !== second[name])
}

describe.each<[string, MachineHostOptions]>([
  ['two CPUs, time by instructions', {}], ['two CPUs, time by work', { accounting: 'work' }], ['one CPU', { physicalCpus: 1 }],
  ['hypercalls that pause wherever they can', { portion: 1 }],
])('on a host of %s', (_, options) => {
  test.each([1993, 80_000])('a loaded copy goes on as the original, in slices of %i instructions', (slice) => {
    const busy = new BusyGuests(options)
    busy.host.hypervisor.run({ instructions: INSTRUCTIONS })
    const copy = load(save(busy.host), options)
    expect(differences(busy.host, copy)).toEqual([])
    for (let done = 0; done < INSTRUCTIONS; done += INSTRUCTIONS / 2) {
      for (let run = 0; run < INSTRUCTIONS / 2; run += slice) for (const host of [busy.host, copy]) host.hypervisor.run({ instructions: slice })
      expect(differences(busy.host, copy)).toEqual([])
      expect([...busy.host.problems(), ...copy.problems()]).toEqual([])
    }
    expect(copy.hypervisor.readConsole()).toBe(busy.host.hypervisor.readConsole())
  }, 600_000)
})

test('two guests do all that there is to save', () => {
  const busy = new BusyGuests()
  busy.host.hypervisor.run({ instructions: 3_000_000 })
  const { shared, maps, ...own } = busy.progress()
  for (const [name, count] of Object.entries({ ...own, shared, maps })) expect([name, count! > 0n]).toEqual([name, true])
  expect(busy.host.problems()).toEqual([])
})

test('saving changes nothing', () => {
  const { host } = new BusyGuests()
  host.hypervisor.run({ instructions: 200_000 })
  expect(compareStates(host.hypervisor.save(), host.hypervisor.save(), 1000)).toEqual([])
})

describe('a hypervisor is not saved or loaded', () => {
  test('while it runs', () => {
    const { host: { hypervisor } } = new BusyGuests()
    const codes: unknown[] = []
    hypervisor.events.on('hypercall', () => {
      try {
        hypervisor.save()
      } catch (error) {
        codes.push(XenError.is(error) && error.code)
      }
    })
    hypervisor.run({ instructions: 300_000 })
    expect(new Set(codes)).toEqual(new Set(['BUSY']))
    expect(() => hypervisor.save()).not.toThrow()
  })

  test('while a domain is taken apart', () => {
    const { host: { hypervisor }, guests } = new BusyGuests({ portion: 1 })
    expect(hypervisor.save().version).toBe(4)
    const { domid } = guests[0]!
    while (!hypervisor.dismantleDomain(domid)) {
      expect(() => hypervisor.save()).toThrow(expect.objectContaining({ code: 'BUSY', details: { domid } }))
    }
    expect(() => hypervisor.save()).not.toThrow()
  })

  test('over domains that it has', () => {
    const busy = new BusyGuests()
    expect(() => busy.host.hypervisor.load(busy.host.hypervisor.save())).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }))
  })

  test.each<[string, MachineHostOptions, string]>([
    ['with another number of CPUs', { physicalCpus: 3 }, 'hypervisor.scheduler'], ['with other memory', { memoryBytes: 16 << 20 }, 'memory'],
  ])('%s', (_, options, name) => {
    const saved = save(new BusyGuests().host)
    expect(() => load(saved, options)).toThrow(expect.objectContaining({ code: 'INVALID_STATE', details: expect.objectContaining({ part: name }) as unknown }))
  })
})

test('what runs a guest in TypeScript comes from who loads it, and its domain, ports and timers are as they were', () => {
  const host = new TestHost()
  const domid = host.hypervisor.createDomain({ kind: 'typescript', createRunner: () => SLEEPER, maxPages: 16 })
  host.hypervisor.populatePhysmap(domid, 4, 0)
  host.hypervisor.startVcpu(domid, 0)
  host.hypervisor.port(domid).bindVirq(0, 0)
  host.hypervisor.port(domid).setTimer(5_000_000)
  host.hypervisor.unpauseDomain(domid)
  host.hypervisor.run({ instructions: 1000, until: 1000 })
  const tree = structuredClone(host.hypervisor.save())
  const fresh = (): TestHost => {
    const other = new TestHost()
    other.memory.bytes.set(host.memory.bytes)
    return other
  }
  expect(() => fresh().hypervisor.load(tree)).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }))
  const copy = fresh()
  const asked: number[] = []
  copy.hypervisor.load(tree, { createRunner: (id) => { asked.push(id); return () => SLEEPER } })
  expect(asked).toEqual([domid])
  expect(copy.hypervisor.stateHash()).toBe(host.hypervisor.stateHash())
  for (const { hypervisor } of [host, copy]) hypervisor.run({ until: 6_000_000 })
  expect(copy.hypervisor.stateHash()).toBe(host.hypervisor.stateHash())
})

/** Every place of a state that holds a value; of rows of numbers a few. */
function places(value: unknown, path: readonly (string | number)[] = []): (readonly (string | number)[])[] {
  if (ArrayBuffer.isView(value)) return [path, [...path, 0], [...path, 7], [...path, 1900], [...path, 1990]]
  if (typeof value !== 'object' || value === null) return [path]
  return [path, ...Object.entries(value).flatMap(([key, inner]) => places(inner, [...path, key]))]
}

const NONSENSE: readonly unknown[] = [
  undefined, null, true, false, -1, 0, 1, 2, 3, 7, 0.5, NaN, Infinity, -Infinity, 2 ** 31, 2 ** 32, 2 ** 53, 1e300, 12345n, -1n, '', 'x', [], [0], [[0, 0]], {},
  { version: 1 }, new Uint8Array(3), new Uint32Array(1), new Float64Array(2048), 0x7ff2, 0xffff, 1963, '__proto__',
]

describe('a saved state in which something is nonsense', () => {
  test.each([1, 2, 3])('is refused by the name of its part, or adds up and can be run (seed %i)', (seed) => {
    const random = new SeededRandom(seed)
    const busy = new BusyGuests()
    busy.host.hypervisor.run({ instructions: 150_000 })
    const saved = save(busy.host)
    const all = places(saved.tree)
    let [refused, accepted] = [0, 0]
    for (let i = 0; i < SPOILED; i += 1) {
      const path = all[below(random, all.length)]!
      const value = NONSENSE[below(random, NONSENSE.length)]
      if (path.length === 0) continue
      const spoiled = structuredClone(saved)
      const holder = path.slice(0, -1).reduce<Record<string | number, unknown>>((at, key) => at[key] as never, spoiled.tree as never)
      // A row of numbers takes what it can make of a value.
      if (ArrayBuffer.isView(holder) && typeof value !== 'number') continue
      holder[path.at(-1)!] = value
      try {
        const copy = load(spoiled, {})
        expect([path.join('.'), value, ...copy.problems()]).toEqual([path.join('.'), value])
        copy.hypervisor.run({ instructions: 20_000 })
        expect([path.join('.'), value, ...copy.problems()]).toEqual([path.join('.'), value])
        accepted += 1
      } catch (error) {
        if (!XenError.is(error, 'INVALID_STATE')) throw new Error(`${path.join('.')} = ${String(value)}`, { cause: error })
        expect(String(error.details['part'])).toMatch(/^hypervisor/)
        refused += 1
      }
    }
    expect(refused).toBeGreaterThan(accepted)
  }, 600_000)
})
