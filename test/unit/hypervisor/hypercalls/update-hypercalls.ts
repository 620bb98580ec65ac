/** Writes docs/hypercalls.md anew. */
import { writeFileSync } from 'node:fs'
import { HYPERCALLS_FILE, hypercallsDocument } from './hypercalls-document.ts'

writeFileSync(HYPERCALLS_FILE, hypercallsDocument())
