/**
 * A process with a primary host that is killed or stopped: `primary-process.ts JSON` starts a guest that answers requests, joins its bridge with the standby's, has the guest protected
 * by whoever listens, and gets its signal as soon as so many answers have left. Were they not held back, the last of them would have left before its epoch.
 * The arbiter is whoever has started it.
 */
import { bridgeTunnel, connectMigration } from '../../../src/node/index.ts'
import type { Arbiter, ProtectionEnd } from '../../../src/toolstack/index.ts'
import { answeredBy } from './request-server.ts'
import { bootServedHost, LINUX_KINDS, SHORT_KINDS } from './served-kinds.ts'

/** What the process is started with. */
export interface PrimaryOptions {
  /** The guest, by its name in the table. */
  readonly kind: string
  /** Where the standby listens, and its end of the tunnel. */
  readonly port: number
  readonly tunnel: number
  /** Requests that are answered while it is protected. */
  readonly answers: number
  readonly signal: 'SIGKILL' | 'SIGSTOP'
}

/** What it says: its end of the tunnel; that it asks the arbiter, which is answered by a boolean; how the protection has ended. */
export type PrimaryMessage = { readonly tunnel: number } | { readonly claims: true } | { readonly end: ProtectionEnd }

// Whoever has started it is gone.
process.on('disconnect', () => process.exit())

const { kind: name, port, tunnel: there, answers, signal } = JSON.parse(process.argv[2]!) as PrimaryOptions
const kind = [...SHORT_KINDS, ...LINUX_KINDS].find((one) => one.name === name)!

// An epoch is long enough for many requests.
const { host } = await bootServedHost(kind, { seed: 1, clock: 'realtime' })
const domain = await kind.start(host)
const bridge = host.bridge()
const tunnel = await bridgeTunnel(bridge)
tunnel.join({ host: '127.0.0.1', port: there })
const say = (message: PrimaryMessage): void => void process.send!(message)
say({ tunnel: tunnel.port })
const arbiter: Arbiter = {
  claim: () => new Promise((resolve) => {
    process.once('message', (isGranted: boolean) => resolve(isGranted))
    say({ claims: true })
  }),
}
const protection = domain.protect(await connectMigration({ port }), { interval: '25ms', arbiter })
await protection.progress.once('protected')
const answered = new Set<number>()
const untap = bridge.tap(({ bytes }) => {
  const number = answeredBy(bytes)
  if (number !== undefined) answered.add(number)
  if (answered.size < answers) return
  untap()
  // The last one is to leave by the tunnel.
  setImmediate(() => process.kill(process.pid, signal))
})
say({ end: (await protection).end })
