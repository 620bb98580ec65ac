/** Frames as faults see them, and what they make of them: none, one or two, at once or later, with a bit flipped. */
import { completeChecksum, formatMac, type FrameFacts, type NetFrame, type NetServices } from '../../drivers/index.ts'
import type { FrameOpportunity, NetEffect } from './fault-row.ts'

/** What faults are told of a frame. */
export const opportunityOf = ({ bridge, port, frame: { bytes } }: FrameFacts): FrameOpportunity =>
  ({ bridge, port, destination: formatMac(bytes.subarray(0, 6)), source: formatMac(bytes.subarray(6, 12)), length: bytes.length })

/** A frame of its own: its bytes stay, and its checksum is whole, so that a flipped bit is found. */
function copyOf({ bytes, checksumBlank }: NetFrame, flip: number | undefined): NetFrame {
  const copy = bytes.slice()
  if (checksumBlank) completeChecksum(copy)
  if (flip !== undefined) copy[flip >>> 3]! ^= 1 << (flip & 7)
  return { bytes: copy, checksumBlank: false, validated: false }
}

/** Lets a frame in as an effect says. */
export function forwarded(frame: NetFrame, effect: NetEffect | undefined, { forward, services }: { readonly forward: (frame: NetFrame) => void; readonly services: NetServices }): void {
  if (effect === undefined) return forward(frame)
  const copy = copyOf(frame, effect.flip)
  for (const delay of effect.delays) {
    if (delay === 0) forward(copy)
    else services.after(delay, () => forward(copy))
  }
}
