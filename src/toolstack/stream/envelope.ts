/**
 * What stands around the image of a saved domain, in the order in which it stands: the xl header with the configuration,
 * the header of the libxl container and the record that announces the image; behind the image the container's end.
 * Reference: xen/docs/specs/libxl-migration-stream.pandoc.
 */
import { XenError } from '../../util/index.ts'
import type { SaveStreamReader } from './reader.ts'
import type { SaveStreamWriter } from './writer.ts'

/** Writes what comes before the image. */
export async function writeHead(writer: SaveStreamWriter, config: string): Promise<void> {
  await writer.writeXlHeader(config)
  await writer.writeContainerHeader()
  await writer.writeContainerRecord({ type: 'libxc-context' })
}

/** Writes what comes behind the image; resolves when the sink has taken everything. */
export async function writeTail(writer: SaveStreamWriter): Promise<void> {
  await writer.writeContainerRecord({ type: 'end' })
  await writer.flush()
}

const bad = (what: string, reader: SaveStreamReader): XenError =>
  new XenError('INVALID_STREAM', what, { details: { offset: reader.offset } })

/** Reads what comes before the image: the configuration. Throws INVALID_STREAM. */
export async function readHead(reader: SaveStreamReader): Promise<string> {
  const { config } = await reader.readXlHeader()
  await reader.readContainerHeader()
  const first = await reader.readContainerRecord()
  if (first.type !== 'libxc-context') throw bad(`the container begins with ${first.type}, not with the image`, reader)
  return config
}

/** Reads what comes behind the image. Throws INVALID_STREAM. */
export async function readTail(reader: SaveStreamReader): Promise<void> {
  for (;;) {
    const record = await reader.readContainerRecord()
    if (record.type === 'end') return
    // What an emulator has to say does not concern a PV domain; optional records may be skipped.
    if (record.type !== 'emulator-xenstore' && record.type !== 'emulator-context' && record.type !== 'unknown') {
      throw bad(`record ${record.type} follows the image`, reader)
    }
  }
}
