/**
 * A page with Debian's Linux in a terminal, and a second host that it moves to, live, over a link that can be cut. The hosts are in
 * workers; this thread only draws.
 *
 *   npx tsx examples/browser/make-moment.ts examples/browser/public/debian.moment
 *   npx vite examples/browser
 */
import { Terminal } from '@xterm/xterm'
import '@xterm/xterm/css/xterm.css'
import { transportPair, type RemoteDomain, type RemoteHost } from 'paravirt'
import { connectTerminal, connectWorker, type TerminalConnection } from 'paravirt/browser'

/** Where the domain is, and where it could go. */
interface Place {
  readonly name: string
  readonly host: RemoteHost
  readonly terminal: Terminal
}

const found = (id: string): HTMLElement => document.getElementById(id)!
const [migrateButton, cutButton] = [found('migrate') as HTMLButtonElement, found('cut') as HTMLButtonElement]
const tell = (text: string): void => { found('status').textContent = text }

/** Lets the page draw, and hear its user: no task of its thread is to be long. */
const breathe = (): Promise<void> => new Promise((resolve) => { setTimeout(resolve) })

async function place(name: string): Promise<Place> {
  // The worker has the most to do: it begins first.
  const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module', name })
  await breathe()
  const terminal = new Terminal({ cols: 80, rows: 24, fontSize: 13 })
  await breathe()
  terminal.open(found(name))
  return { name, host: await connectWorker(worker), terminal }
}

/** A terminal has the domain of one place. */
function show({ terminal }: Place, domain: RemoteDomain): TerminalConnection {
  terminal.focus()
  return connectTerminal(domain.console, terminal)
}

async function migrate(from: Place, to: Place, domain: RemoteDomain): Promise<RemoteDomain | undefined> {
  const { ends: [near, far], cut } = transportPair()
  cutButton.disabled = false
  cutButton.onclick = cut
  const arriving = to.host.receiveMigration(far)
  const leaving = domain.migrate(near)
  leaving.progress.onAny((event) => { if (event.type === 'round') tell(`round ${event.round}: ${event.pages} pages`) })
  const [sent, received] = await Promise.allSettled([leaving, arriving])
  cutButton.disabled = true
  if (sent.status === 'fulfilled' && received.status === 'fulfilled') return received.value
  tell(`it stays on host ${from.name}: ${String(sent.status === 'rejected' ? sent.reason : (received as PromiseRejectedResult).reason)}`)
  return undefined
}

let [here, there] = await Promise.all([place('a'), place('b')])
let domain = await here.host.domain('linux')
let connection = show(here, domain)
tell(`on host ${here.name}`)
migrateButton.disabled = false
migrateButton.onclick = async () => {
  migrateButton.disabled = true
  const moved = await migrate(here, there, domain)
  if (moved !== undefined) {
    connection.close();
    [here, there] = [there, here]
    domain = moved
    connection = show(here, domain)
    tell(`on host ${here.name}`)
  }
  migrateButton.disabled = false
}
