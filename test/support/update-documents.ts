/** Writes the documents anew that are made of the library's own tables, and README's table of what a host offers. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { DOCUMENTS } from './documents.ts'
import { statusTable, withStatusTable } from './status-table.ts'

const ROOT = resolve(import.meta.dirname, '../..')
for (const [place, make] of Object.entries(DOCUMENTS)) writeFileSync(join(ROOT, place), make())
const readme = join(ROOT, 'README.md')
writeFileSync(readme, withStatusTable(readFileSync(readme, 'utf8'), await statusTable()))
