#!/usr/bin/env node
/** The command `paravirt`: fetches Debian's guests, and looks at files of moments. */
import { createReadStream } from 'node:fs'
import { verifyMomentFile } from '../toolstack/index.ts'
import { thrownMessage } from '../util/index.ts'
import { fetchDebianGuests } from './debian-guests.ts'

const USAGE = `usage: paravirt guests [FOLDER]   fetches Debian's kernel and BusyBox (into .guests)
       paravirt verify FILE       looks at all of a moment's file`

/** Runs a command; the status to exit with. */
async function main([command, ...args]: readonly string[]): Promise<number> {
  const [first] = args
  if (command === 'guests' && args.length <= 1) {
    fetchDebianGuests((line) => console.log(line), first)
    return 0
  }
  if (command === 'verify' && first !== undefined && args.length === 1) {
    const { label, time, pages, parts } = await verifyMomentFile(createReadStream(first))
    for (const { path, version, hash } of parts) console.log(`${hash} ${path} ${version}`)
    console.log(`${label ?? '(no label)'}, at ${time} ns: ${pages} pages, ${parts.length} parts`)
    return 0
  }
  console.error(USAGE)
  return 2
}

main(process.argv.slice(2)).then((status) => { process.exitCode = status }, (error: unknown) => {
  console.error(thrownMessage(error))
  process.exitCode = 1
})
