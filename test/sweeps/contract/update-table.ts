/** Writes docs/guest-kinds.md anew. */
import { writeFileSync } from 'node:fs'
import { TABLE_FILE, formatTable } from './table.ts'

writeFileSync(TABLE_FILE, formatTable())
