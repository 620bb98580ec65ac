/** The seam to the files that configurations name. The core has none; `paravirt/node` reads real ones. */
import { XenError } from '../../util/index.ts'

/** Reads files by name. */
export interface FileReader {
  /** All bytes of a file. Rejects with IO when it cannot be read. */
  read(path: string): Promise<Uint8Array>
}

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
        `there is no file ${path} on this host; give \`files\` to Host.boot, or the bytes themselves`,
        {
          details: { path },
        },
      )
    }
    return bytes
  }
}
