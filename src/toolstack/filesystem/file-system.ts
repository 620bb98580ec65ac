/** What a boot loader needs of a file system, whichever kind it is. */

/** A file system that can be read. */
export interface FileSystem {
  readonly kind: 'ext'
  /**
   * The contents of a file, at most `limit` bytes of it; undefined where nothing has that name. Rejects with
   * INVALID_IMAGE where the name is no file's or the image is damaged.
   */
  readFile(path: string, limit: number): Promise<Uint8Array | undefined>
  /** Whether a name is there, be it a file's or a folder's. */
  exists(path: string): Promise<boolean>
}
