/** Writes the documents anew that are made of the library's own tables. */
import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { DOCUMENTS } from './documents.ts'

for (const [place, make] of Object.entries(DOCUMENTS)) writeFileSync(join(resolve(import.meta.dirname, '../..'), place), make())
