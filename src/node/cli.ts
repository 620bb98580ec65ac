#!/usr/bin/env node
/** The command `paravirt` on this process. */
import { main } from './command/main.ts'

main(process.argv.slice(2), { out: (line) => console.log(line), error: (line) => console.error(line) })
  .then((status) => { process.exitCode = status })
