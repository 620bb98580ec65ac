/** The seam to the files that configurations name. The core has none; `paravirt/node` reads real ones. */
import { named, thrownMessage, XenError } from '../../util/index.ts'

/** Reads files by name. */
export interface FileReader {
  /** All bytes of a file. Rejects with IO when it cannot be read. */
  read(path: string): Promise<Uint8Array>
}

/** The same files; what a user's reader answers is looked at before it is used. */
export const checkedFiles = (files: FileReader): FileReader => ({
  async read(path) {
    let bytes: unknown
    try {
      bytes = await files.read(path)
    } catch (cause) {
      if (XenError.is(cause)) throw cause
      throw new XenError('IO', `file ${path} cannot be read: ${thrownMessage(cause)}`, { details: { path }, cause })
    }
    if (bytes instanceof Uint8Array) return bytes
    throw new XenError('INVALID_ARGUMENT', `the host's files answer for ${path} what is no Uint8Array`, { details: { option: 'files', path } })
  },
})

/** Files that are given as bytes, by name. */
export class MemoryFiles implements FileReader {
  private readonly contents: ReadonlyMap<string, Uint8Array>

  constructor(contents: Readonly<Record<string, Uint8Array>> = {}) {
    this.contents = new Map(Object.entries(contents))
  }

  async read(path: string): Promise<Uint8Array> {
    const bytes = this.contents.get(path)
    if (bytes === undefined) {
      throw new XenError(
        'IO',
        `there is no file ${named(path)} on this host; give \`files\` to Host.boot, or the bytes themselves`,
        {
          details: { path },
        },
      )
    }
    return bytes
  }
}
