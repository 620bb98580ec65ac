/**
 * Boots Debian's Linux to its shell and writes the moment to a file for the page to fetch. `npx paravirt guests` fetches what it needs.
 *
 *   npx tsx examples/browser/make-moment.ts FILE
 */
import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { debianGuests, fileSink, folderCache } from 'paravirt/node'
import { linux } from 'paravirt/testing'

const file = process.argv[2] ?? 'examples/browser/public/debian.moment'
const moment = await linux({ guests: debianGuests(process.env['GUESTS']), cache: folderCache(), memory: 128 }).moment()
await mkdir(dirname(file), { recursive: true })
await moment.save(fileSink(file))
console.log(`${file}: ${moment.newPages} pages`)
