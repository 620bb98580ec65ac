/**
 * What the two sides of `xl migrate` say to each other around the stream, byte for byte:
 *
 *   receiver: BANNER | sender: the stream | receiver: READY | sender: PERMISSION | receiver: REPORT, one byte
 *
 * Until PERMISSION only the sender may run the domain, from then on only the receiver; when the report is a failure the
 * receiver, having destroyed its copy, gives the permission back.
 * Reference: a capture of xl migrate-receive of Xen 4.17.
 */
import { ByteReader, XenError } from '../../util/index.ts'

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text)

/** The messages; all but the first end with a zero byte. */
export const MESSAGE = /* @__PURE__ */ Object.freeze({
  BANNER: ascii('xl migration receiver ready, send binary domain data.\n'),
  READY: ascii('domain received, ready to unpause\0'),
  PERMISSION: ascii('domain is yours, you are cleared to unpause\0'),
  REPORT: ascii('my copy unpause results are as follows\0'),
})

/** Status behind REPORT: the domain runs, or it does not. */
export const STATUS = { RUNNING: 0, FAILED: 0xff } as const

/** What reads exact numbers of bytes. */
export interface MessageSource {
  readBytes(size: number, what: string): Promise<Uint8Array>
}

/** Waits for one message. Throws INVALID_STREAM when something else comes. */
export async function expectMessage(source: MessageSource, name: keyof typeof MESSAGE): Promise<void> {
  const wanted = MESSAGE[name]
  const got = await source.readBytes(wanted.length, `the message ${name}`)
  if (got.every((byte, i) => byte === wanted[i])) return
  throw new XenError('INVALID_STREAM', `the other host says something else than ${name}`, {
    details: { expected: name, received: new TextDecoder('latin1').decode(got) },
  })
}

/** Waits for the report; the status behind it. */
export async function expectReport(source: MessageSource): Promise<number> {
  await expectMessage(source, 'REPORT')
  return new ByteReader(await source.readBytes(1, 'the status'), 'status').u8()
}
