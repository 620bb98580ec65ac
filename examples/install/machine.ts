/** What the installer's machine and the installed system's have in common. */
import type { Domain } from 'paravirt'

/** A guest and its disk. */
export interface Machine {
  /** The kind of guest. */
  readonly type: 'pv' | 'pvh'
  /** The file that is its disk. */
  readonly disk: string
  /** Hears what its console says. */
  readonly print?: ((text: string) => void) | undefined
}

/** Prints what a console says, until its domain is gone. */
export async function printConsole(domain: Domain, print: (text: string) => void): Promise<void> {
  const decoder = new TextDecoder()
  for await (const bytes of domain.console) print(decoder.decode(bytes, { stream: true }))
}
