/**
 * Saves a domain to a file, as `xl save` does, and restores it on another host, as `xl restore` does. The file is Xen's
 * own format: real xl can restore it, and files that real xl saved can be restored here.
 *
 *   npx tsx examples/save-restore.ts [FILE]
 */
import { createReadStream } from 'node:fs'
import { mkdtemp, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Host } from 'paravirt'
import { fileSink } from 'paravirt/node'

const file = process.argv[2] ?? join(await mkdtemp(join(tmpdir(), 'paravirt-')), 'sleeper.xl')

const first = await Host.boot({ memory: 64, dom0Memory: 16 })
const sleeper = await first.createDomain({ name: 'sleeper', memory: 16 })
await sleeper.console.waitFor('tick 3')
const saving = sleeper.save(fileSink(file))
saving.progress.on('pages', ({ pages, total }) => console.log(`${pages} of ${total} pages`))
await saving
await first.shutdown()
console.log(`saved to ${file}: ${(await stat(file)).size} bytes`)

const second = await Host.boot({ memory: 64, dom0Memory: 16, seed: 2 })
// A stream from elsewhere may name no disk or network of this host; this one is our own.
const restored = await second.restore(createReadStream(file), { trust: 'all' })
await restored.console.waitFor(/name: \w+\n/)
console.log(restored.console.text())
console.log(`it ended by ${await restored.shutdown()}`)
await second.shutdown()
