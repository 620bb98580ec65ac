/** A domain that `xl save` of Xen 4.17 wrote: examples/guests/mini with 4 MiB. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { type ImageRecord, SaveStreamReader, SaveStreamWriter, readHead, writeHead, writeTail } from '../../src/toolstack/stream/index.ts'

/** The same with some records of its image changed, left out (none returned) or added to. */
export async function alteredMini(change: (record: ImageRecord) => readonly ImageRecord[]): Promise<Uint8Array> {
  const reader = new SaveStreamReader([savedMini()])
  const chunks: Uint8Array[] = []
  const writer = new SaveStreamWriter({ write: (chunk) => void chunks.push(chunk.slice()) })
  await writeHead(writer, await readHead(reader))
  await reader.readImageHeader()
  await writer.writeImageHeader({ major: 4, minor: 17 }, 'pv')
  for (;;) {
    const record = await reader.readImageRecord()
    for (const one of change(record)) await writer.writeImageRecord(one)
    if (record.type === 'end') break
  }
  await writeTail(writer)
  return Buffer.concat(chunks)
}

/** The whole file. */
export const savedMini = (): Uint8Array =>
  new Uint8Array(
    gunzipSync(readFileSync(fileURLToPath(new URL('../golden/mini-saved-by-xen-4.17.xl.gz', import.meta.url)))),
  )
