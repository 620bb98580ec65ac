/**
 * Moves a running domain from one process to another over TCP.
 *
 *   npx tsx examples/live-migration.ts             starts the receiver beside itself and sends a domain there
 *   npx tsx examples/live-migration.ts receive     waits for one domain and prints its console until it ends
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { Host, type Domain } from 'paravirt'
import { connectMigration, listenMigration } from 'paravirt/node'

async function print(domain: Domain, who: string): Promise<void> {
  let line = ''
  for await (const bytes of domain.console) {
    const lines = `${line}${new TextDecoder().decode(bytes)}`.split('\r\n')
    line = lines.pop()!
    for (const text of lines) console.log(`${who}: ${text}`)
  }
}

/** The process that the domain moves to. */
async function receive(): Promise<void> {
  const host = await Host.boot({ memory: 64, dom0Memory: 16, seed: 2 })
  const listener = await listenMigration()
  console.log(`port ${listener.port}`)
  // Whatever comes may use no disk or network of this host: that would be listed as `trust`.
  const domain = await host.receiveMigration(await listener.accept())
  listener.close()
  const printed = print(domain, 'there')
  await domain.console.waitFor('mini: restored')
  await domain.console.waitFor(/name: \w+\n/)
  await domain.console.write('echo I live in another process now\r')
  await domain.console.waitFor('process now\n')
  console.log(`there: (asking domain ${domain.id} to power off: ${await domain.shutdown()})`)
  await printed
  await host.shutdown()
}

/** The process that the domain moves from. */
async function send(): Promise<void> {
  const receiver = spawn(process.execPath, [...process.execArgv, fileURLToPath(import.meta.url), 'receive'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = once(receiver, 'exit')
  const lines = createInterface({ input: receiver.stdout })
  const port = new Promise<number>((resolve) => {
    lines.on('line', (line) => {
      const match = /^port (\d+)$/.exec(line)
      if (match === null) console.log(line)
      else resolve(Number(match[1]))
    })
  })
  const host = await Host.boot({ memory: 64, dom0Memory: 16 })
  const domain = await host.createDomain({ name: 'wanderer', memory: 16 })
  void print(domain, 'here ')
  await domain.console.waitFor('tick 3')
  const migration = domain.migrate(await connectMigration({ port: await port }))
  migration.progress.on('round', ({ round, pages }) => console.log(`here : (round ${round}: ${pages} pages)`))
  migration.progress.on('suspended', () => console.log('here : (suspended)'))
  const { pages, finalPages } = await migration
  console.log(`here : (gone; ${pages} pages, ${finalPages} of them while it stood still)`)
  await host.shutdown()
  const [status] = await ended as [number | null]
  process.exitCode = status ?? 1
}

await (process.argv[2] === 'receive' ? receive() : send())
