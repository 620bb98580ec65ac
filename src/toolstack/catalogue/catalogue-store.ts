/** Where the descriptions of defined domains are kept: in memory here, a folder of files in `paravirt/node`. */

/** One description as it is kept. */
export interface CatalogueEntry {
  /** What it is kept under: the name of a file. */
  readonly file: string
  readonly text: string
  /** Its place among those that are started with their host, as text: lower ones first; undefined for one that is not. */
  readonly autostart: string | undefined
}

/** Keeps descriptions. */
export interface CatalogueStore {
  /** All of them, in any order. */
  list(): Promise<readonly CatalogueEntry[]>
  /** Keeps a text, in the place of the one that was kept under this name. */
  write(file: string, text: string): Promise<void>
  /** Forgets one, and that it was to be started. */
  remove(file: string): Promise<void>
  /** Says when it is to be started; undefined: not with its host. */
  setAutostart(file: string, order: string | undefined): Promise<void>
  /** Calls `changed` when something may be different, until the returned function is called. Absent where nothing changes by itself. */
  watch?(changed: () => void): () => void
}

/** Keeps descriptions in memory. */
export class MemoryCatalogueStore implements CatalogueStore {
  private readonly entries = new Map<string, CatalogueEntry>()
  private readonly listeners = new Set<() => void>()

  async list(): Promise<readonly CatalogueEntry[]> {
    return [...this.entries.values()]
  }

  async write(file: string, text: string): Promise<void> {
    this.entries.set(file, { file, text, autostart: this.entries.get(file)?.autostart })
    this.tell()
  }

  async remove(file: string): Promise<void> {
    this.entries.delete(file)
    this.tell()
  }

  async setAutostart(file: string, order: string | undefined): Promise<void> {
    const entry = this.entries.get(file)
    if (entry !== undefined) this.entries.set(file, { ...entry, autostart: order })
    this.tell()
  }

  watch(changed: () => void): () => void {
    this.listeners.add(changed)
    return () => void this.listeners.delete(changed)
  }

  private tell(): void {
    for (const listener of this.listeners) listener()
  }
}
