/** The fuzzer finds what was planted in a kernel, with its seed, and nothing of it reaches the host that the moment is of. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fuzz, fuzzExecutor, minimiseCorpus, runInput, type FuzzOptions } from '../../src/debug/index.ts'
import { Host, type Moment } from '../../src/toolstack/index.ts'
import { GUARD, plantedKernel, REQUEST } from '../support/planted-kernel.ts'

let host: Host
let moment: Moment<Host>
beforeAll(async () => {
  host = await Host.boot({ memory: 32, dom0Memory: 8 })
  await host.createDomain({ name: 'planted', memory: 4, kernel: plantedKernel(), actions: { crash: 'preserve' } })
  using held = await host.hold()
  await held.run(20_000)
  moment = await host.checkpoint()
})
afterAll(() => host.shutdown())

const number = (bytes: Uint8Array): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true)

const options = (changes: Partial<FuzzOptions> = {}): FuzzOptions => ({
  moment, target: 'planted', executions: 4000, seed: 7, every: 600,
  input: {
    most: 128, seeds: [new Uint8Array(8)], dictionary: [...'FUZ'].map((letter) => new TextEncoder().encode(letter)),
    inject: (bytes, { memory }) => {
      const request = new Uint8Array(4 + bytes.length)
      request.set(bytes, 4)
      new DataView(request.buffer).setUint32(0, Math.max(1, bytes.length), true)
      memory.write(REQUEST, request)
    },
  },
  until: ({ memory }) => number(memory.read(REQUEST, 4)) === 0,
  ...changes,
})
const invariant: FuzzOptions['invariant'] = ({ memory }) => (number(memory.read(GUARD, 4)) === 0 ? undefined : 'the word behind the buffer was written')

describe('a fuzzer', () => {
  test('finds the way through four comparisons to a crash, with its seed, and shrinks what leads there', { timeout: 60_000 }, async () => {
    const report = await fuzz(options({ stopAt: 1, executions: 20_000 }))
    const [found] = report.findings
    expect(found).toMatchObject({ kind: 'crash' })
    expect(new TextDecoder().decode(found!.input)).toBe('FUZZ')
    expect(found!.text).toContain('invalid opcode in kernel mode `ud2` at worked+')
    expect(report.corpus.length).toBeGreaterThan(4)
    const few = async (): Promise<unknown> => ({ ...await fuzz(options({ executions: 40 })), elapsed: 0 })
    expect(await few()).toEqual(await few())
    expect((await runInput(options(), found!.input)).findings).toMatchObject([{ kind: 'crash', signature: found!.signature }])
    expect((await runInput(options(), Uint8Array.of(1, 2, 3))).findings).toEqual([])
  })

  test('executes what others choose, one input at a time, the same however long nobody asked', async () => {
    const executor = await fuzzExecutor(options())
    const text = (letters: string): Uint8Array => new TextEncoder().encode(letters)
    // The guest asks for ever whether there is a request: it must not do so meanwhile.
    await new Promise((resolve) => setTimeout(resolve, 50))
    const { classes, findings } = await executor.execute(text('FUxx'))
    expect(findings).toEqual([])
    expect((await executor.execute(text('FUZZ'))).findings).toMatchObject([{ kind: 'crash' }])
    expect((await executor.execute(text('FUxx'))).classes).toEqual(classes)
    const executing = executor.execute(text('A'))
    await expect(executor.execute(text('B'))).rejects.toMatchObject({ code: 'BUSY' })
    await expect(executor.end()).rejects.toMatchObject({ code: 'BUSY' })
    expect((await executing).classes).not.toEqual(classes)
    await expect(executor.execute('A' as never)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await executor.end()
    await executor.end()
    await expect(executor.execute(text('A'))).rejects.toMatchObject({ code: 'CLOSED' })
  })

  test('keeps of a corpus what is needed to reach all that it reaches', { timeout: 60_000 }, async () => {
    const { corpus } = await fuzz(options({ executions: 1500 }))
    const twice = [...corpus, ...corpus.map((input) => Uint8Array.of(...input, 0, 0, 0))]
    const kept = await minimiseCorpus(options(), twice)
    expect(kept.length).toBeLessThan(twice.length / 2)
    const reached = async (inputs: readonly Uint8Array[]): Promise<ReadonlySet<string>> => {
      const found = new Set<string>()
      for (const input of inputs) (await runInput(options(), input)).classes.forEach((bits, edge) => { for (let bit = 1; bit < 256; bit <<= 1) if ((bits & bit) !== 0) found.add(`${edge} ${bit}`) })
      return found
    }
    const all = await reached(twice)
    expect(await reached(kept)).toEqual(all)
    expect((await minimiseCorpus(options(), kept)).length).toBeLessThanOrEqual(kept.length)
    await expect(minimiseCorpus(options(), [1] as never)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  test('finds what breaks an invariant, and where shared memory is read twice', { timeout: 60_000 }, async () => {
    const shared: FuzzOptions['shared'] = () => [{ address: REQUEST, length: 4 }]
    const seeds = [new Uint8Array(70).fill(6, 4, 5)]
    const { findings } = await fuzz({ ...options({ invariant, stopAt: 1, executions: 5000 }), input: { ...options().input, seeds, dictionary: [Uint8Array.of(7)] } })
    expect(findings).toMatchObject([{ kind: 'invariant', signature: 'the word behind the buffer was written' }])
    expect([findings[0]!.input.length, findings[0]!.input[4]]).toEqual([65, 7])
    // The length, from main and from the handler.
    const input = new Uint8Array(70).fill(7, 4, 5)
    const { findings: seen } = await runInput(options({ invariant, shared }), input)
    expect(seen.map(({ kind, signature }) => [kind, signature])).toEqual([
      ['invariant', 'the word behind the buffer was written'], ['double-fetch', expect.stringMatching(/^double fetch by main\+0x\w+ and length\+0x\w+$/)],
    ])
  })

  test('leaves the host as it was, and refuses what it cannot do', async () => {
    expect(host.domain('planted').crash).toBeUndefined()
    const refused = async (changes: Partial<FuzzOptions>, code: string): Promise<void> => expect(fuzz(options(changes))).rejects.toMatchObject({ code })
    await refused({ target: 'nobody' }, 'DOMAIN_NOT_FOUND')
    await refused({ executions: undefined }, 'INVALID_ARGUMENT')
    await refused({ executions: 0 }, 'INVALID_ARGUMENT')
    await refused({ input: {} as never }, 'INVALID_ARGUMENT')
    await refused({ moment: undefined as never }, 'INVALID_ARGUMENT')
    await refused({ signal: AbortSignal.abort() }, 'ABORTED')
    await expect(fuzz(options({ input: { inject: () => { throw new RangeError('mine') } } }))).rejects.toThrow('mine')
    const gone = await host.checkpoint()
    gone.dispose()
    await refused({ moment: gone }, 'CLOSED')
  })
})
