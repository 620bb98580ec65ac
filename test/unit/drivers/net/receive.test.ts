import { expect, test } from 'vitest'
import { NetifRxRequest, NetifRxResponse, Sring } from '../../../../src/abi/index.ts'
import { RECEIVE_QUEUE_BYTES, RECEIVE_QUEUE_LIMIT, ReceiveServer, Staging, noStatistics } from '../../../../src/drivers/index.ts'
import type { NetFrame } from '../../../../src/drivers/index.ts'
import { framesOf } from '../../../../src/drivers/net/staging.ts'
import type { DomId } from '../../../../src/util/index.ts'
import { FakeHypervisor } from '../../../../src/testing/index.ts'

/** A receive ring whose guest puts pages up only when it is told to. */
async function receiving() {
  const hub = new FakeHypervisor(2048)
  const back = hub.createDomain(0, () => undefined, { pages: 256 })
  const front = hub.createDomain(1, () => undefined, { pages: 256 })
  await hub.settle()
  const ring = front.kernel.frames.allocate()
  Sring.reqEvent.set(hub.view, ring.base, 1)
  Sring.rspEvent.set(hub.view, ring.base, 1)
  const statistics = noStatistics()
  const staging = new Staging(back.kernel)
  const server = new ReceiveServer(
    { grants: back.kernel.hypercalls, domid: 1 as DomId, staging, statistics }, ring.base,
    { features: { scatter: true, checksumBlank: false, checksumBlankIpv6: false, large: false, largeIpv6: false }, notify: () => undefined },
  )
  const pages: { readonly bytes: Uint8Array }[] = []
  const putUp = (count: number): void => {
    for (let i = 0; i < count; i += 1) {
      const page = front.kernel.frames.allocate()
      const index = Sring.reqProd.get(hub.view, ring.base)
      const at = ring.base + 64 + (index % 256) * NetifRxRequest.size
      NetifRxRequest.id.set(hub.view, at, index)
      NetifRxRequest.gref.set(hub.view, at, front.kernel.grants.grant(0 as DomId, page.frame))
      Sring.reqProd.set(hub.view, ring.base, index + 1)
      pages.push(page)
    }
  }
  const status = (index: number): number => NetifRxResponse.status.get(hub.view, ring.base + 64 + index * NetifRxResponse.size)
  return { server, staging, statistics, putUp, pages, status }
}

const plain = (size: number): NetFrame => ({ bytes: new Uint8Array(size).fill(1), checksumBlank: false, validated: false })

test('a frame that waits keeps its bytes when the page that brought it is used again', async () => {
  const { server, staging, putUp, pages, status, statistics } = await receiving()
  const page = staging.transmit[0]!
  const frame = framesOf(staging)[0]!
  for (const [size, value] of [[100, 0x11], [200, 0x22], [200, 0x33]] as const) {
    page.bytes.fill(value)
    frame.resize(size)
    server.deliver(frame)
    server.serve()
  }
  page.bytes.fill(0xff)
  putUp(1)
  server.serve()
  putUp(2)
  server.serve()
  expect([0, 1, 2].map(status)).toEqual([100, 200, 200])
  expect(pages.map(({ bytes }) => [bytes[0], bytes[99]])).toEqual([[0x11, 0x11], [0x22, 0x22], [0x33, 0x33]])
  expect(statistics).toMatchObject({ framesOut: 3, bytesOut: 500, dropped: 0 })
})

test('what waits is bounded in frames, and there is room again when some have gone', async () => {
  const { server, statistics, putUp } = await receiving()
  for (let i = 0; i < RECEIVE_QUEUE_LIMIT + 10; i += 1) server.deliver(plain(60))
  expect(statistics.dropped).toBe(10)
  putUp(5)
  server.serve()
  for (let i = 0; i < 6; i += 1) server.deliver(plain(60))
  expect(statistics).toMatchObject({ framesOut: 5, dropped: 11 })
})

test('what waits is bounded in bytes, and there is room again when some have gone', async () => {
  const { server, statistics, putUp } = await receiving()
  const fit = Math.floor(RECEIVE_QUEUE_BYTES / 65_535)
  for (let i = 0; i < fit + 3; i += 1) server.deliver(plain(65_535))
  server.serve()
  expect(statistics).toMatchObject({ framesOut: 0, dropped: 3 })
  putUp(16)
  server.serve()
  server.deliver(plain(65_535))
  server.deliver(plain(65_535))
  expect(statistics).toMatchObject({ framesOut: 1, bytesOut: 65_535, dropped: 4 })
})
