/**
 * Disks in qcow2 files of this machine, with what is below them. An image names the file below it, and whoever wrote the image chose the name: it is looked for beside the
 * image, or within the folder that all are confined to, and nowhere else.
 */
import { realpathSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { inflateRawSync } from 'node:zlib'
import { backingOf, QcowBlockStore, type BlockStore } from '../drivers/index.ts'
import { XenError } from '../util/index.ts'
import { confinedPath } from './confined-path.ts'
import { FileBlockStore } from './file-block-store.ts'
import { FileImage } from './file-image.ts'

/** Images that may stand on each other. */
const MOST_LAYERS = 32

/** How an image is opened. */
export interface QcowDiskOptions {
  readonly readOnly: boolean
  /** The folder that whatever is below must lie in; by default the image's own. */
  readonly folder?: string | undefined
}

/** Where a file is, behind links; one that is not there is told of by whoever opens it. */
function realPath(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return resolve(path)
  }
}

const inflate = (packed: Uint8Array, most: number): Uint8Array => {
  const bytes = inflateRawSync(packed, { maxOutputLength: most, finishFlush: 2 })
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length)
}

/** What is below an image; undefined where nothing is. */
async function openBelow(image: FileImage, { path, folder, above }: { readonly path: string; readonly folder: string; readonly above: readonly string[] }): Promise<BlockStore | undefined> {
  const backing = backingOf(image)
  if (backing === undefined) return undefined
  const { name, format } = backing
  const refuse = (why: string): XenError => new XenError('IO', `disk image ${path} stands on ${name}, ${why}`, { details: { path, backing: name, format } })
  if (format === undefined) throw refuse('whose format it does not say: `qemu-img rebase -u -F FORMAT` does')
  if (format !== 'raw' && format !== 'qcow2') throw refuse(`whose format ${format} is not known here`)
  if (/^[a-z0-9+.-]+:/i.test(name)) throw refuse('which is no file')
  const below = confinedPath(folder, resolve(dirname(path), name))
  if (above.includes(below)) throw refuse('which stands on it: they go round')
  if (above.length >= MOST_LAYERS) throw refuse(`which is the ${above.length + 1}th below each other`)
  return format === 'raw' ? new FileBlockStore(below, { readOnly: true }) : openLayer(below, { readOnly: true, folder, above: [...above, below] })
}

async function openLayer(path: string, { readOnly, folder, above }: { readonly readOnly: boolean; readonly folder: string; readonly above: readonly string[] }): Promise<BlockStore> {
  const file = new FileImage(path, { readOnly })
  let backing: BlockStore | undefined
  try {
    backing = await openBelow(file, { path, folder, above })
    return new QcowBlockStore(file, { readOnly, backing, inflate })
  } catch (error) {
    file.close()
    await backing?.close()
    throw error
  }
}

/** Opens a qcow2 file with all that is below it. Rejects with IO, PERMISSION_DENIED. */
export const openQcow = (path: string, { readOnly, folder }: QcowDiskOptions): Promise<BlockStore> => {
  const whole = realPath(path)
  return openLayer(whole, { readOnly, folder: folder ?? dirname(whole), above: [whole] })
}
