/**
 * Writes expected.json anew from Xen's headers, after a layout or a constant has been added:
 * `npx tsx test/unit/abi/update-expected.ts`. Needs gcc and Debian's libxen-dev.
 */
import { writeFileSync } from 'node:fs'
import { askCompiler } from './c-program.ts'

const lines = Object.entries(askCompiler()).map(([key, value]) => `  ${JSON.stringify(key)}: ${JSON.stringify(value)}`)
writeFileSync(new URL('./expected.json', import.meta.url), `{\n${lines.join(',\n')}\n}\n`)
