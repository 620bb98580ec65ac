/** Writes docs/options.md anew. */
import { writeFileSync } from 'node:fs'
import { OPTIONS_FILE, optionsDocument } from './options-document.ts'

writeFileSync(OPTIONS_FILE, optionsDocument())
