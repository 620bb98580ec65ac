/** A process with a primary host, for tests that kill it: `protected-process.ts PORT` protects the embedded kernel by whoever listens there, and tells of each epoch that is acknowledged. */
import { connectMigration } from '../../src/node/index.ts'
import { Host } from '../../src/toolstack/index.ts'

const host = await Host.boot({ memory: 32, dom0Memory: 8 })
const domain = await host.createDomain({ name: 'mini', memory: 8 })
await domain.console.waitFor('tick 3')
await domain.console.write('hot 64\r')
await domain.console.waitFor('hot: 16 pages')
const protection = domain.protect(await connectMigration({ port: Number(process.argv[2]) }), { interval: '25ms' })
protection.progress.on('acknowledged', ({ epoch }) => void process.send?.({ epoch }))
await protection
