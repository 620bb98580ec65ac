import { describe, expect, test } from 'vitest'
import { Replay, type ReplayData } from '../../../../src/testing/index.ts'
import { below, SeededRandom, XenError } from '../../../../src/util/index.ts'

const data: ReplayData = {
  name: 'transfer', moment: { memory: 'ab', seeds: 'cd' },
  run: { index: 3, strategy: 'random', seed: 4_000_000_000, horizon: 27_000_000, faults: [{ fault: 'disk-error', probability: 0.5 }], window: { from: 2, to: 9 } },
  trace: [[0, 1000, 1, 0, 64], [0, 2000, -1, -1, 500]],
  inputs: [[
    { sequence: 1, time: 900, ticks: 256, input: { source: 'console', domid: 1, bytes: Uint8Array.of(0, 13, 255) } },
    { sequence: 2, time: 950, ticks: 0, input: { source: 'call', call: 'pause', domid: 1 } },
  ]],
  start: 800, end: 5000, digest: '00112233', hashes: { memory: 'ef' },
  failure: { kind: 'property', message: 'always: money is kept', details: '{"missing":3}', time: 4000 },
}

const text = (): string => new TextDecoder().decode(new Replay(data).encode())
const change = (made: (record: Record<string, unknown>) => void): string => {
  const record = JSON.parse(text()) as Record<string, unknown>
  made(record)
  return JSON.stringify(record)
}
const codeOf = (file: string | Uint8Array): string => {
  try {
    Replay.read(file)
    return 'read'
  } catch (error) {
    return XenError.is(error) ? error.code : String(error)
  }
}

describe('a replay file', () => {
  test('says what was written, as text or bytes', () => {
    expect(Replay.read(text()).data).toEqual(data)
    expect(Replay.read(new Replay(data).encode()).data).toEqual(data)
    const bare = { ...data, moment: undefined, inputs: undefined }
    expect(Replay.read(new Replay(bare).encode()).data).toEqual(bare)
  })

  test('without inputs that cannot be written is written without them', () => {
    const [records] = data.inputs!
    const odd = { ...data, inputs: [[{ ...records![0]!, input: { source: 'call', call: 'create', config: { kernel: () => undefined }, options: {} } }]] }
    expect(Replay.read(new Replay(odd as ReplayData).encode()).data.inputs).toBeUndefined()
  })

  test('of another version is refused by its own code', () => {
    for (const version of [0, 1, 2, 4, 1e9]) expect(codeOf(change((record) => { record['version'] = version }))).toBe('NOT_SUPPORTED')
  })

  test.each<[string, (record: Record<string, unknown>) => void]>([
    ['another format', (record) => { record['format'] = 'xl' }],
    ['no version', (record) => { delete record['version'] }],
    ['a version that is no number', (record) => { record['version'] = '1' }],
    ['an unknown strategy', (record) => { (record['run'] as Record<string, unknown>)['strategy'] = 'brute' }],
    ['a seed out of range', (record) => { (record['run'] as Record<string, unknown>)['seed'] = 2 ** 32 }],
    ['no run', (record) => { record['run'] = [] }],
    ['a trace of texts', (record) => { record['trace'] = ['x'] }],
    ['an endless trace', (record) => { record['trace'] = Array.from({ length: 10_001 }, () => [0, 0, 0, 0, 0]) }],
    ['an input from nowhere', (record) => { record['inputs'] = [[{ sequence: 1, time: 1, ticks: 0, input: { source: 'moon' } }]] }],
    ['an input at no time', (record) => { record['inputs'] = [[{ sequence: 1, time: -1, ticks: 0, input: { source: 'run' } }]] }],
    ['bytes that are none', (record) => { record['inputs'] = [[{ sequence: 1, time: 1, ticks: 0, input: { source: 'console', domid: 1, bytes: { $bytes: '*' } } }]] }],
    ['hashes of numbers', (record) => { record['hashes'] = { memory: 1 } }],
    ['a moment that is a list', (record) => { record['moment'] = [] }],
    ['an unknown failure', (record) => { record['failure'] = { kind: 'sad', message: '', details: '', time: 0 } }],
  ])('with %s is refused', (_, made) => {
    expect(codeOf(change(made))).toBe('INVALID_STREAM')
  })

  test('that is cut, changed or none at all is refused or read, and never anything else', () => {
    const whole = text()
    const random = new SeededRandom(5)
    const codes = new Set<string>()
    for (let i = 0; i < 2000; i += 1) {
      const at = below(random, whole.length)
      const changed = i % 3 === 0 ? whole.slice(0, at) : whole.slice(0, at) + String.fromCharCode(32 + below(random, 95)) + whole.slice(at + 1)
      codes.add(codeOf(changed))
    }
    expect(['INVALID_STREAM', 'NOT_SUPPORTED', 'read']).toEqual(expect.arrayContaining([...codes]))
    expect(codes.size).toBeGreaterThan(1)
    for (const none of ['', '{}', '[]', 'null', '7', '['.repeat(100_000), 'x'.repeat(9 << 20)]) expect(codeOf(none)).toBe('INVALID_STREAM')
    expect(codeOf(Uint8Array.of(0xff, 0xfe, 0))).toBe('INVALID_STREAM')
  })
})
