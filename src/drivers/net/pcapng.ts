/**
 * Writes captures in pcapng, which Wireshark, tshark and tcpdump read: one section, one Ethernet interface with
 * timestamps in nanoseconds, one enhanced packet block for each frame.
 *
 *   block:  type u32 | total length u32 | body, padded to 4 bytes | total length u32
 *
 * Reference: IETF draft-ietf-opsawg-pcapng.
 */
import { ByteWriter, TWO_32, anything, checkOptions, text, whole } from '../../util/index.ts'
import type { Bridge } from './bridge.ts'
import { completeChecksum } from './frame.ts'

const SECTION_HEADER = 0x0a0d0d0a
const INTERFACE_DESCRIPTION = 1
const ENHANCED_PACKET = 6
const BYTE_ORDER_MAGIC = 0x1a2b3c4d
const LINKTYPE_ETHERNET = 1
const OPTION_END = 0
const OPTION_INTERFACE_NAME = 2
const OPTION_TIMESTAMP_RESOLUTION = 9
/** Timestamps count units of 10^-9 seconds. */
const NANOSECONDS = 9

/** Takes the bytes of a capture, one block at a time. */
export type CaptureSink = (bytes: Uint8Array) => void

/** How a capture is written. */
export interface CaptureOptions {
  /** Name of the interface in the capture. */
  readonly name?: string
  /** Bytes kept of each frame. Default: all. */
  readonly snapLength?: number
  /** Nanoseconds since 1970 at host time 0; makes the timestamps calendar time. Default 0n. */
  readonly epoch?: bigint
}

function block(type: number, body: Uint8Array): Uint8Array {
  const padded = Math.ceil(body.length / 4) * 4
  const writer = new ByteWriter(padded + 12)
  writer.u32(type).u32(padded + 12).bytes(body).pad(4).u32(padded + 12)
  return writer.finish()
}

function option(writer: ByteWriter, code: number, value: Uint8Array): void {
  writer.u16(code).u16(value.length).bytes(value).pad(4)
}

/** Writes frames into a capture. */
export class CaptureWriter {
  /** Frames written so far. */
  count = 0
  private readonly sink: CaptureSink
  private readonly snapLength: number
  private readonly epoch: bigint

  constructor(sink: CaptureSink, options: CaptureOptions = {}) {
    checkOptions('CaptureWriter', options, { name: text, snapLength: whole(0, 0xffff_ffff), epoch: anything })
    this.sink = sink
    this.snapLength = options.snapLength ?? 0
    this.epoch = options.epoch ?? 0n
    const section = new ByteWriter().u32(BYTE_ORDER_MAGIC).u16(1).u16(0).u64(0xffff_ffff_ffff_ffffn)
    sink(block(SECTION_HEADER, section.finish()))
    const description = new ByteWriter().u16(LINKTYPE_ETHERNET).u16(0).u32(this.snapLength)
    option(description, OPTION_INTERFACE_NAME, new TextEncoder().encode(options.name ?? 'xenbr0'))
    option(description, OPTION_TIMESTAMP_RESOLUTION, Uint8Array.of(NANOSECONDS))
    option(description, OPTION_END, new Uint8Array(0))
    sink(block(INTERFACE_DESCRIPTION, description.finish()))
  }

  /** Adds a frame that was seen at host time `time`, in nanoseconds. */
  write(frame: Uint8Array, time: number): void {
    const kept = this.snapLength === 0 ? frame : frame.subarray(0, this.snapLength)
    const stamp = this.epoch + BigInt(Math.floor(time))
    const body = new ByteWriter(kept.length + 20).u32(0)
      .u32(Number(stamp / BigInt(TWO_32))).u32(Number(stamp % BigInt(TWO_32)))
      .u32(kept.length).u32(frame.length).bytes(kept)
    this.sink(block(ENHANCED_PACKET, body.finish()))
    this.count += 1
  }
}

/** Writes every frame that enters a bridge into a capture, blank checksums completed; the returned function ends it. */
export function captureBridge(bridge: Bridge, writer: CaptureWriter, now: () => number): () => void {
  return bridge.tap(({ bytes, checksumBlank }) => {
    const whole = checksumBlank ? bytes.slice() : bytes
    if (checksumBlank) completeChecksum(whole)
    writer.write(whole, now())
  })
}
