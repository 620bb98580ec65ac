import { expect, test } from 'vitest'
import { Machine, mostMemoryBytes } from '../../../../src/machine/index.ts'
import { SeededRandom } from '../../../../src/util/index.ts'
import { MemoryFiles } from '../../../../src/toolstack/config/files.ts'
import { resolveHostOptions, type HostOptions } from '../../../../src/toolstack/boot/host-options.ts'
import { MOST_VCPUS, machineBytes, mostMebibytes } from '../../../../src/toolstack/boot/machine-size.ts'
import { randomMac } from '../../../../src/toolstack/device-kinds/nic/nic.ts'
import { randomOf, randomUuid, uuidBytes } from '../../../../src/toolstack/domains/random-names.ts'

test.each<[HostOptions, object]>([
  [
    {},
    {
      memory: 512,
      clock: 'virtual',
      seed: 1,
      instructionsPerSecond: 1e9,
      cpus: 1,
      bootTime: new Date('2005-10-24T12:00:00Z'),
    },
  ],
  [
    { memory: '1G', dom0Memory: '128M' },
    { memory: 1024, dom0Memory: 128 },
  ],
  [{ memory: 256 }, { memory: 256 }],
])('host options %j', (options, expected) => {
  expect(resolveHostOptions(options)).toMatchObject(expected)
})

test('a real-time host boots now', () => {
  expect(Math.abs(resolveHostOptions({ clock: 'realtime' }).bootTime.getTime() - Date.now())).toBeLessThan(5000)
})

test.each<[object, RegExp]>([
  [{ memroy: 1 }, /unknown host option memroy; did you mean memory/],
  [{ memory: 1 }, /memory must be at least 8/],
  [{ memory: '8T' }, /memory must be at most \d{4}: a machine has no more MiB than that, got 8388608/],
  [{ dom0Memory: 4096 }, /dom0Memory must be at most \d{4}: .*got 4096/],
  [{ memory: '128MB' }, /memory must be a whole number of MiB or a size such as "512M", got "128MB"/],
  [{ seed: 'x' }, /seed must be a whole number, got "x"/],
  [{ bootTime: new Date(NaN) }, /host option bootTime must be a Date/],
  [{ grubConf: 5 }, /host option grubConf must be a text/],
  [null as never, /the options of Host.boot must be an object, got null/],
  [[] as never, /the options of Host.boot must be an object/],
  [{ clock: 'slow' }, /clock must be/],
  [{ seed: -1 }, /seed must be at least 0/],
  [{ files: {} }, /files must have a method read/],
])('host options %j are refused', (options, message) => {
  expect(() => resolveHostOptions(options)).toThrow(message)
})

test('a host is told how much memory it can have, and can have as much', () => {
  const most = mostMebibytes()
  expect(resolveHostOptions({ memory: most })).toMatchObject({ memory: most })
  expect(() => resolveHostOptions({ memory: most + 1 })).toThrow(`memory must be at most ${most}:`)
  expect(machineBytes(most)).toBeLessThanOrEqual(mostMemoryBytes(MOST_VCPUS))
  expect(machineBytes(most + 1)).toBeGreaterThan(mostMemoryBytes(MOST_VCPUS))
  // Memory that nobody touches costs nothing.
  expect(new Machine({ memoryBytes: machineBytes(most) }).memory.endFrame).toBeLessThanOrEqual(2 ** 20)
  expect(() => new Machine({ memoryBytes: mostMemoryBytes() + 1 })).toThrow(`at most ${mostMemoryBytes()} bytes`)
})

test('files in memory are found by name', async () => {
  const files = new MemoryFiles({ '/k': new Uint8Array([1]) })
  expect(await files.read('/k')).toEqual(new Uint8Array([1]))
  await expect(files.read('/constructor')).rejects.toMatchObject({ code: 'IO', details: { path: '/constructor' } })
})

test('made-up names have the right form and follow the seed', () => {
  const uuid = randomUuid(new SeededRandom(5))
  expect(uuid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  expect(randomUuid(new SeededRandom(5))).toBe(uuid)
  expect(randomUuid(new SeededRandom(6))).not.toBe(uuid)
  expect(uuidBytes('00112233-4455-6677-8899-aabbccddeeff')).toEqual(Uint8Array.from({ length: 16 }, (_, i) => i * 17))
  expect(randomMac(new SeededRandom(1))).toMatch(/^00:16:3e(:[0-9a-f]{2}){3}$/)
})

test('chance that follows from a text is the same for that text, and another for every other', () => {
  const texts = Array.from({ length: 2000 }, (_, i) => `domain ${i}`)
  const uuids = texts.map((text) => randomUuid(randomOf(text)))
  expect(texts.map((text) => randomUuid(randomOf(text)))).toEqual(uuids)
  expect(new Set(uuids).size).toBe(texts.length)
  // All of it is used, not only the bytes of the first draw.
  for (const part of [0, 1, 3, 4]) expect(new Set(uuids.map((uuid) => uuid.split('-')[part])).size).toBeGreaterThan(1800)
})
