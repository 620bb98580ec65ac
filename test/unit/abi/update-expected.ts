/**
 * Writes expected.json, expected-compat.json and operations.json anew from Xen's headers, after a layout, a constant or an
 * operation has been added: `npx tsx test/unit/abi/update-expected.ts`. Needs gcc and Debian's libxen-dev.
 */
import { writeFileSync } from 'node:fs'
import { askCompatCompiler } from './c-compat.ts'
import { askCompiler } from './c-program.ts'
import { askMacros, operationsOf } from './operations.ts'

function write(file: string, answers: Readonly<Record<string, unknown>>): void {
  const lines = Object.entries(answers).map(([key, value]) => `  ${JSON.stringify(key)}: ${JSON.stringify(value)}`)
  writeFileSync(new URL(file, import.meta.url), `{\n${lines.join(',\n')}\n}\n`)
}

write('./expected.json', askCompiler())
write('./expected-compat.json', askCompatCompiler())
write('./operations.json', operationsOf(askMacros()))
