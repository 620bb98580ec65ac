import { describe, expect, test } from 'vitest'
import { VcpuGuestContext } from '../../src/abi/index.ts'
import { Host, XenError } from '../../src/index.ts'
import { type MiniKind, buildMini } from '../support/build-mini.ts'
import { fuzzStreams, partsOf, smallDomain } from './streams.ts'

/** Damaged files of all kinds together; FUZZ_STREAMS asks for more or fewer. */
const COUNT = Number(process.env['FUZZ_STREAMS'] ?? (process.env['FUZZ'] === 'long' ? 50_000 : 600))

/** Kinds of guests, and their parts of all files. */
const KINDS: readonly (readonly [MiniKind, number])[] = [['pv64', 1 / 2], ['pv32', 1 / 4], ['pvh', 1 / 4]]

for (const [kind, part] of KINDS) {
  const { reason } = buildMini(kind)
  describe.skipIf(reason !== undefined)(`a damaged saved domain, ${kind}${reason ?? ''}`, () => {
    test('is refused with an error that says where, or restored, and leaves nothing behind', { timeout: 1_800_000 }, async () => {
      const count = Math.ceil(COUNT * part)
      const { refused, restored, started } = await fuzzStreams(kind, count)
      expect(refused['INVALID_STREAM']).toBeGreaterThan(count / 4)
      expect(restored).toBeGreaterThan(count / 10)
      expect(started).toBeGreaterThan(count / 200)
    })
  })
}

const [PAGE_DATA, P2M_FRAMES, VCPU_BASIC] = [1, 3, 4] as const

/** Records of a file by their types: where their bodies begin. */
function bodies(file: Uint8Array): { readonly of: (type: number) => readonly number[]; readonly view: DataView } {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  // Two headers, the record that announces the image, and the image's header.
  const records = partsOf(file).slice(4)
  return { view, of: (type) => records.filter(({ start }) => view.getUint32(start, true) === type).map(({ body }) => body) }
}

/** Pages of the lowest tables that a stream holds. */
function lowestTables({ of, view }: ReturnType<typeof bodies>): readonly number[] {
  return of(PAGE_DATA).flatMap((body) => {
    const count = view.getUint32(body, true)
    return Array.from({ length: count }, (_, i) => body + 8 + i * 8).filter((at) => view.getUint32(at + 4, true) >>> 28 === 1).map((at) => view.getUint32(at, true))
  })
}

const LIES: readonly (readonly [what: string, tell: (stream: ReturnType<typeof bodies>, table: number) => void])[] = [
  ['its list of frames', ({ of, view }, table) => view.setBigUint64(of(P2M_FRAMES)[0]! + 8, BigInt(table), true)],
  ['start_info', ({ of, view }, table) => view.setBigUint64(of(VCPU_BASIC)[0]! + 8 + VcpuGuestContext.userRegs.offset + VcpuGuestContext.userRegs.layout.rdx.offset, BigInt(table), true)],
]

describe.skipIf(buildMini('pv64').reason !== undefined)('a domain that was sent while it ran', () => {
  test.each(LIES)('and says that a page table which was checked before is %s, gets no table that nobody has checked', async (_, tell) => {
    const { moved } = await smallDomain('pv64')
    const tables = new Set(lowestTables(bodies(moved)))
    expect(tables.size).toBeGreaterThan(1)
    const host = await Host.boot({ memory: 16, dom0Memory: 4 })
    for (const table of tables) {
      const file = moved.slice()
      tell(bodies(file), table)
      const domain = await host.restore(file, { paused: true }).catch((error: unknown) => {
        expect(XenError.is(error, 'INVALID_STREAM')).toBe(true)
      })
      expect(host.hypervisor.checkInvariants()).toEqual([])
      await domain?.destroy()
    }
    await host.shutdown()
  })
})
