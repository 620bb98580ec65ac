/** Which image a domain has: what writes the one that it is saved in, and what reads the one that it comes from. */
import type { ControlInterface } from '../../hypervisor/index.ts'
import type { DomId } from '../../util/index.ts'
import type { SaveStreamWriter } from '../stream/index.ts'
import { HvmImageWriter } from './hvm-image-writer.ts'
import type { ImageOptions, ImageWriter } from './image-writer.ts'
import { PvImageWriter } from './pv-image-writer.ts'

/** What writes a domain's image. Throws INVALID_STATE when the guest's memory cannot be told. */
export function imageWriter(control: ControlInterface, domid: DomId, writer: SaveStreamWriter, options: ImageOptions = {}): ImageWriter {
  return control.domainInfo(domid).translated ? new HvmImageWriter(control, domid, writer, options) : new PvImageWriter(control, domid, writer, options)
}
