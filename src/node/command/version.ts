/** The version of the package that is running. */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** As its manifest says, which is above whatever file this has become a part of; `unknown` where there is none. */
export function packageVersion(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const path = join(folder, 'package.json')
    if (existsSync(path)) {
      const { name, version } = JSON.parse(readFileSync(path, 'utf8')) as { readonly name?: string; readonly version?: string }
      if (name === 'paravirt' && version !== undefined) return version
    }
    if (dirname(folder) === folder) return 'unknown'
  }
}
