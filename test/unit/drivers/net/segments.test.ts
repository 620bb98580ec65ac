/** Frames that stand for several segments: what a bridge makes of them for ports that do not take them, judged by a checker written from the RFCs and by tcpdump. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Bridge, CaptureWriter, type NetFrame } from '../../../../src/drivers/index.ts'
import { blankTcp, readTcp, type TcpFrame } from '../../../support/tcp-frames.ts'
import { whyNoProgram } from '../../../support/programs.ts'

const bytesOf = (length: number): Uint8Array => Uint8Array.from({ length }, (_, at) => at * 31 + (at >> 8))
const idle = { deliver: () => undefined, flush: () => undefined }

/** What a port for user code gets of a large frame on a bridge of this size. */
function segmentsOf(frame: NetFrame, mtu = 1500): readonly Uint8Array[] {
  const bridge = new Bridge({ now: () => 0, mtu })
  const found: Uint8Array[] = []
  bridge.open({ onFrame: (bytes) => { found.push(bytes) } })
  bridge.attach(idle).send(frame)
  return found
}

const large = (options: TcpFrame, segmentSize: number): NetFrame => ({ bytes: blankTcp(options), checksumBlank: true, validated: true, segmentSize })

const KINDS: readonly (readonly [string, Omit<TcpFrame, 'data'>, number])[] = [
  ['over IPv4', {}, 1460], ['over IPv4 with options', { options: 12 }, 1448], ['over IPv6', { version: 6 }, 1440], ['over IPv6 with options', { version: 6, options: 32 }, 1408],
  ['over IPv4 with a VLAN tag', { isTagged: true }, 1460], ['over IPv6 with a VLAN tag', { version: 6, isTagged: true }, 1440], ['in small segments', {}, 67],
]

describe('a large frame', () => {
  test.each(KINDS)('%s becomes segments that are right each and hold the data together', (_, options, segmentSize) => {
    const data = bytesOf(60_001)
    const found = segmentsOf(large({ ...options, data, sequence: 0xffff_fff0, flags: 0x99 }, segmentSize)).map(readTcp)
    expect(found).toHaveLength(Math.ceil(data.length / segmentSize))
    expect(found.flatMap(({ wrong }) => wrong)).toEqual([])
    expect(Buffer.compare(Buffer.concat(found.map((one) => one.data)), data)).toBe(0)
    expect(Math.max(...found.map(({ size }) => size))).toBeLessThanOrEqual(1500)
    found.forEach(({ sequence }, at) => expect(sequence).toBe((0xffff_fff0 + at * segmentSize) >>> 0))
    // CWR (80) on the first, FIN and PSH (9) on the last, ACK (10) on all.
    expect(found.map(({ flags }) => flags)).toEqual(found.map((_one, at) => (at === 0 ? 0x90 : at === found.length - 1 ? 0x19 : 0x10)))
    if (options.version !== 6) expect(found.map(({ id }) => id)).toEqual(found.map((_one, at) => 0x1234 + at))
  })

  test('has segments no larger than the bridge, whatever its sender says', () => {
    for (const mtu of [576, 1500, 9000]) {
      const found = segmentsOf(large({ data: bytesOf(30_000) }, 60_000), mtu).map(readTcp)
      expect([Math.max(...found.map(({ size }) => size)), found.flatMap(({ wrong }) => wrong)]).toEqual([mtu, []])
    }
  })

  test('goes as it is to a port that takes it, and taps hear of it as it came', () => {
    const bridge = new Bridge({ now: () => 0 })
    const whole: (number | undefined)[] = []
    const tapped: number[] = []
    bridge.tap(({ bytes }) => tapped.push(bytes.length))
    bridge.attach({ deliver: ({ segmentSize }) => { whole.push(segmentSize) }, flush: () => undefined, takesLarge: ({ bytes }) => bytes[12] === 8 })
    let cut = 0
    bridge.open({ onFrame: () => { cut += 1 } })
    const source = bridge.attach(idle)
    source.send(large({ data: bytesOf(14_600) }, 1460))
    expect([whole, cut, tapped]).toEqual([[1460], 10, [14_654]])
    source.send(large({ data: bytesOf(14_400), version: 6 }, 1440))
    expect([whole, cut]).toEqual([[1460, ...Array.from({ length: 10 }, () => undefined)], 20])
  })

  test('that is no TCP goes as it is', () => {
    const bytes = new Uint8Array(3000).fill(0xff)
    expect(segmentsOf({ bytes, checksumBlank: false, validated: false, segmentSize: 100 })).toEqual([bytes])
  })

  const missing = whyNoProgram('tcpdump', '--version')
  test.skipIf(missing !== undefined)(`has nothing that tcpdump finds wrong${missing ?? ''}`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'segments-'))
    const parts: Uint8Array[] = []
    const writer = new CaptureWriter((bytes) => parts.push(bytes.slice()), { name: 'xenbr0' })
    for (const [, options, segmentSize] of KINDS) for (const bytes of segmentsOf(large({ ...options, data: bytesOf(9999) }, segmentSize))) writer.write(bytes, 0)
    const file = join(folder, 'segments.pcapng')
    writeFileSync(file, Buffer.concat(parts))
    // As root, tcpdump wants to become a user that need not exist.
    const user = process.getuid?.() === 0 ? ['-Z', 'root'] : []
    const text = execFileSync('tcpdump', ['-nn', '-v', ...user, '-r', file], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    rmSync(folder, { recursive: true })
    expect(text.match(/\(correct\)/g)).toHaveLength(writer.count)
    expect(text).not.toMatch(/incorrect|bad cksum|bad-len|truncated/)
  })
})
