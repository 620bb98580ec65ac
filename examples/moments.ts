/**
 * A test's host, booted once: each round begins at the same moment, and what it does is taken back in place. A branch goes on
 * from there with memory of its own; a file keeps it for the next process.
 *
 *   npx tsx examples/moments.ts [FILE]
 */
import { createReadStream } from 'node:fs'
import { mkdtemp, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Host } from 'paravirt'
import { fileSink } from 'paravirt/node'

const host = await Host.boot({ memory: 64, dom0Memory: 16 })
await (await host.createDomain({ name: 'one', memory: 16 })).console.waitFor('mini> ')
const ready = await host.checkpoint({ label: 'ready' })

for (const word of ['first', 'second', 'third']) {
  // What was held of the host before is closed: it is asked anew.
  const { console: screen } = host.domain('one')
  await screen.write(`echo the ${word}\r`)
  await screen.waitFor(`\nthe ${word}\n`)
  console.log(`the ${word}, and of others: ${/\nthe /.test(screen.text().replace(`\nthe ${word}\n`, '')) ? 'something' : 'nothing'}`)
  await host.reset(ready)
}

const file = process.argv[2] ?? join(await mkdtemp(join(tmpdir(), 'paravirt-')), 'ready.moment')
await ready.save(fileSink(file))
console.log(`${(await stat(file)).size} bytes in ${file}`)
const later = await (await Host.loadMoment(createReadStream(file))).branch({ seed: 2 })
await later.domain('one').console.write('echo and on it goes\r')
await later.domain('one').console.waitFor('\nand on it goes\n')
console.log('and on it goes')
for (const each of [host, later]) await each.shutdown()
