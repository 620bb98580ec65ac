import { describe, expect, test } from 'vitest'
import { XenconsInterface } from '../../../src/abi/io/console.ts'
import { XenstoreDomainInterface } from '../../../src/abi/io/xs-wire.ts'
import { BytePipe, CONSOLE_PIPE, XENSTORE_PIPE, mirror } from '../../../src/rings/index.ts'
import { SeededRandom, below } from '../../../src/util/index.ts'

const BASE = 4096

/** Guest and host side of one page whose counters begin at `start`. */
function pipes(layout: typeof CONSOLE_PIPE, start = 0) {
  const view = new DataView(new ArrayBuffer(3 * 4096))
  for (const half of [layout.input, layout.output]) {
    half.produced.set(view, BASE, start)
    half.consumed.set(view, BASE, start)
  }
  return { view, guest: new BytePipe(view, BASE, layout), host: new BytePipe(view, BASE, mirror(layout)) }
}

test('the console carries 2048 bytes out of the guest and 1024 into it', () => {
  const { guest, host } = pipes(CONSOLE_PIPE)
  expect([guest.output.size, guest.input.size]).toEqual([2048, 1024])
  expect([host.output.size, host.input.size]).toEqual([1024, 2048])
})

test('bytes lie where the ABI puts them', () => {
  const { view, guest, host } = pipes(XENSTORE_PIPE)
  guest.output.write(Uint8Array.of(1, 2, 3))
  host.output.write(Uint8Array.of(4))
  expect(view.getUint8(BASE + 2)).toBe(3)
  expect(view.getUint8(BASE + 1024)).toBe(4)
  expect(XenstoreDomainInterface.reqProd.get(view, BASE)).toBe(3)
  expect(XenstoreDomainInterface.rspProd.get(view, BASE)).toBe(1)
})

describe.each([0, 1000, 0x7fffffff, 0xfffffff0])('with counters that begin at %i', (start) => {
  test('what one side writes the other reads, across every wrap', () => {
    const { guest, host } = pipes(CONSOLE_PIPE, start)
    const random = new SeededRandom(start)
    let sent = 0
    let received = 0
    while (received < 20_000) {
      const chunk = Uint8Array.from({ length: below(random, 1500) }, (_, i) => (sent + i) & 0xff)
      sent += guest.output.write(chunk) ?? NaN
      const target = new Uint8Array(below(random, 1500))
      const count = host.input.read(target) ?? NaN
      for (let i = 0; i < count; i += 1) expect(target[i]).toBe((received + i) & 0xff)
      received += count
    }
    expect(sent).toBeGreaterThanOrEqual(received)
  })

  test('a full ring takes what fits, and the rest later', () => {
    const { guest, host } = pipes(XENSTORE_PIPE, start)
    const message = new Uint8Array(1500).fill(7)
    expect(guest.output.write(message)).toBe(1024)
    expect(guest.output.write(message, 1024)).toBe(0)
    expect(host.input.read(new Uint8Array(100))).toBe(100)
    expect(guest.output.free()).toBe(100)
    expect(guest.output.write(message, 1024, 1050)).toBe(26)
  })

  test('peeking takes nothing', () => {
    const { guest, host } = pipes(XENSTORE_PIPE, start)
    guest.output.write(Uint8Array.of(1, 2, 3))
    const seen = new Uint8Array(3)
    expect(host.input.peek(seen)).toBe(3)
    expect(host.input.queued()).toBe(3)
    expect(host.input.advance(2)).toBe(2)
    expect(host.input.advance(9)).toBe(1)
    expect(host.input.queued()).toBe(0)
  })

  test.each([2049, 0x80000000, 0xffffffff])('indexes %i apart are refused on every call', (distance) => {
    const { view, host, guest } = pipes(CONSOLE_PIPE, start)
    XenconsInterface.outProd.set(view, BASE, (start + distance) >>> 0)
    XenconsInterface.inProd.set(view, BASE, (start + distance) >>> 0)
    expect(host.input.queued()).toBeUndefined()
    expect(host.input.peek(new Uint8Array(9))).toBeUndefined()
    expect(host.input.read(new Uint8Array(9))).toBeUndefined()
    expect(host.input.advance(1)).toBeUndefined()
    expect(host.output.write(Uint8Array.of(1))).toBeUndefined()
    expect(guest.input.read(new Uint8Array(9))).toBeUndefined()
  })
})
