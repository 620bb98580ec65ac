import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Bridge, CaptureWriter, captureBridge, parseMac } from '../../../../src/drivers/index.ts'
import { whyNoProgram } from '../../../support/programs.ts'

/** An ARP request from 10.0.0.1 for 10.0.0.2, padded to `length`. */
function arp(length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  bytes.set([...parseMac('ff:ff:ff:ff:ff:ff')!, ...parseMac('00:16:3e:00:00:01')!, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1])
  bytes.set([...parseMac('00:16:3e:00:00:01')!, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2], 22)
  return bytes
}

function capture(lengths: readonly number[], options = {}): Uint8Array {
  const blocks: Uint8Array[] = []
  const time = { now: 1_500_000_000 }
  const bridge = new Bridge({ now: () => time.now })
  const writer = new CaptureWriter((bytes) => blocks.push(bytes.slice()), options)
  const end = captureBridge(bridge, writer, () => time.now)
  const port = bridge.open()
  for (const length of lengths) {
    port.send(arp(length))
    time.now += 1_000_001
  }
  end()
  port.send(arp(60))
  expect(writer.count).toBe(lengths.length)
  return Buffer.concat(blocks)
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

describe('a capture in pcapng', () => {
  test('begins with a section and an Ethernet interface with nanoseconds, byte for byte', () => {
    expect(hex(capture([]))).toBe(
      // section header: type, length 28, byte order, version 1.0, length unknown
      '0a0d0d0a' + '1c000000' + '4d3c2b1a' + '0100' + '0000' + 'ffffffffffffffff' + '1c000000' +
      // interface: type 1, length 44, Ethernet, no limit, if_name "xenbr0", if_tsresol 9, end of options
      '01000000' + '2c000000' + '0100' + '0000' + '00000000' +
      '0200' + '0600' + '78656e627230' + '0000' + '0900' + '0100' + '09' + '000000' + '0000' + '0000' + '2c000000',
    )
  })

  test('holds each frame with its time, its length and padding', () => {
    const start = capture([]).length
    const packet = Buffer.from(capture([61], { epoch: 0x1_0000_0000n }).subarray(start))
    expect([packet.readUInt32LE(0), packet.readUInt32LE(4), packet.length]).toEqual([6, 96, 96])
    expect([packet.readUInt32LE(12), packet.readUInt32LE(16)]).toEqual([1, 1_500_000_000])
    expect([packet.readUInt32LE(20), packet.readUInt32LE(24)]).toEqual([61, 61])
    expect(Buffer.compare(packet.subarray(28, 89), arp(61))).toBe(0)
    expect(packet.readUInt32LE(92)).toBe(96)
  })

  test('cuts frames where it is told to and keeps their true length', () => {
    const start = capture([], { snapLength: 20 }).length
    const packet = Buffer.from(capture([60], { snapLength: 20 }).subarray(start))
    expect([packet.readUInt32LE(20), packet.readUInt32LE(24), packet.length]).toEqual([20, 60, 52])
  })

  const missing = whyNoProgram('tcpdump', '--version')
  test.skipIf(missing !== undefined)(`is read by tcpdump${missing ?? ''}`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'capture-'))
    const file = join(folder, 'a.pcapng')
    writeFileSync(file, capture([42, 60, 61, 1514], { epoch: 1_700_000_000_000_000_000n }))
    // As root, tcpdump wants to become a user that need not exist.
    const user = process.getuid?.() === 0 ? ['-Z', 'root'] : []
    const text = execFileSync('tcpdump', ['-nn', '-tt', '-e', '--nano', ...user, '-r', file], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    rmSync(folder, { recursive: true })
    const lines = text.trim().split('\n')
    expect(lines.length).toBe(4)
    expect(lines[0]).toMatch(/^1700000001\.500000000 00:16:3e:00:00:01 > ff:ff:ff:ff:ff:ff, ethertype ARP .*Request who-has 10\.0\.0\.2 tell 10\.0\.0\.1/)
    expect(lines.map((line) => Number(/length (\d+): Request/.exec(line)?.[1] ?? /length (\d+)/.exec(line)![1]))).toEqual([42, 60, 61, 1514])
  })
})
