import { describe, expect, test } from 'vitest'
import { MESSAGE, expectMessage, expectReport } from '../../../../src/toolstack/migrate/handshake.ts'
import { transportPair } from '../../../../src/toolstack/migrate/transport.ts'
import { ByteSource, SaveStreamReader, openOutput } from '../../../../src/toolstack/stream/index.ts'

const bytes = (...values: number[]): Uint8Array => new Uint8Array(values)

describe('a pipe between two hosts', () => {
  test('carries bytes both ways; a write is done when the other side has taken them', async () => {
    const { ends: [left, right] } = transportPair()
    let done = false
    const write = openOutput(left.writable).write(bytes(1, 2)).then(() => { done = true })
    await Promise.resolve()
    expect(done).toBe(false)
    expect([...(await new ByteSource(right.readable).read(2, 'two'))]).toEqual([1, 2])
    await write
    const back = openOutput(right.writable).write(bytes(3))
    expect([...(await new ByteSource(left.readable).read(1, 'one'))]).toEqual([3])
    await back
  })

  test('that is cut delivers nothing that was not taken, and says so on both sides', async () => {
    const { ends: [left, right], cut } = transportPair()
    const write = openOutput(left.writable).write(bytes(1))
    cut()
    await expect(write).rejects.toMatchObject({ code: 'CLOSED' })
    await expect(new ByteSource(right.readable).read(1, 'one')).rejects.toMatchObject({ code: 'INVALID_STREAM' })
    await expect(openOutput(right.writable).write(bytes(1))).rejects.toMatchObject({ code: 'CLOSED' })
  })

  test('that one side has ended is read to its end', async () => {
    const { ends: [left, right] } = transportPair()
    const output = openOutput(left.writable)
    const write = output.write(bytes(9))
    await output.close()
    const source = new ByteSource(right.readable)
    expect([...(await source.read(1, 'one'))]).toEqual([9])
    await write
    await expect(source.read(1, 'more')).rejects.toMatchObject({ code: 'INVALID_STREAM' })
  })
})

describe('the handshake', () => {
  test('is spelled as the capture from real Xen has it', () => {
    const text = Object.values(MESSAGE).map((message) => new TextDecoder().decode(message)).join('')
    expect(text).toBe('xl migration receiver ready, send binary domain data.\ndomain received, ready to unpause\0'
      + 'domain is yours, you are cleared to unpause\0my copy unpause results are as follows\0')
  })

  test('reads a report with its status, and refuses anything else', async () => {
    const failed = new SaveStreamReader(new Uint8Array([...MESSAGE.REPORT, 0xff, ...MESSAGE.PERMISSION]))
    expect(await expectReport(failed)).toBe(0xff)
    await expectMessage(failed, 'PERMISSION')
    await expect(expectMessage(new SaveStreamReader(MESSAGE.REPORT), 'READY')).rejects.toMatchObject({
      code: 'INVALID_STREAM', details: { expected: 'READY', received: 'my copy unpause results are as fol' },
    })
  })
})
