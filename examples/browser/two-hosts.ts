/** What the page does with its hosts: their terminals, the domain, the way from one to the other. */
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
const breathe = (milliseconds = 0): Promise<void> => new Promise((resolve) => { setTimeout(resolve, milliseconds) })

const LETTERS = String.fromCharCode(...Array.from({ length: 94 }, (_, i) => 0x21 + i))
/** So many are measured in one frame. */
const AT_ONCE = 12

/** A terminal that knows its letters: it measures each when it is first drawn, and a screen full of new ones would hold the page for long. */
async function openTerminal(name: string): Promise<Terminal> {
  const terminal = new Terminal({ cols: 80, rows: 24, fontSize: 13 })
  await breathe()
  terminal.open(found(name))
  for (let at = 0; at < LETTERS.length && !document.hidden; at += AT_ONCE) {
    // They are concealed.
    terminal.write(`\r\x1b[8m${LETTERS.slice(at, at + AT_ONCE)}`)
    await breathe(20)
  }
  terminal.reset()
  return terminal
}

async function place(name: string, worker: Worker): Promise<Place> {
  const [host, terminal] = await Promise.all([connectWorker(worker), openTerminal(name)])
  return { name, host, terminal }
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

/** Shows the domain of the first host, and has a second one begun, which it can move to. */
export async function runPage(first: Worker, beginSecond: () => Worker): Promise<void> {
  let here = await place('a', first)
  let domain = await here.host.domain('linux')
  let connection = show(here, domain)
  let there = await place('b', beginSecond())
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
}
