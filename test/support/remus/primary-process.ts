/**
 * A process with a primary host that is killed: `primary-process.ts JSON` starts a guest that answers requests, joins its bridge with the standby's, has the guest protected
 * by whoever listens, and gets SIGKILL as soon as so many answers have left. Were they not held back, the last of them would have left before its epoch.
 */
import { bridgeTunnel, connectMigration } from '../../../src/node/index.ts'
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
}

/** What it says: its end of the tunnel. */
export interface PrimaryMessage {
  readonly tunnel: number
}

// Whoever has started it is gone.
process.on('disconnect', () => process.exit())

const { kind: name, port, tunnel: there, answers } = JSON.parse(process.argv[2]!) as PrimaryOptions
const kind = [...SHORT_KINDS, ...LINUX_KINDS].find((one) => one.name === name)!

// An epoch is long enough for many requests.
const { host } = await bootServedHost(kind, { seed: 1, clock: 'realtime' })
const domain = await kind.start(host)
const bridge = host.bridge()
const tunnel = await bridgeTunnel(bridge)
tunnel.join({ host: '127.0.0.1', port: there })
process.send!({ tunnel: tunnel.port } satisfies PrimaryMessage)
const protection = domain.protect(await connectMigration({ port }), { interval: '25ms' })
await protection.progress.once('protected')
const answered = new Set<number>()
bridge.tap(({ bytes }) => {
  const number = answeredBy(bytes)
  if (number !== undefined) answered.add(number)
  // The last one is to leave by the tunnel.
  if (answered.size === answers) setImmediate(() => process.kill(process.pid, 'SIGKILL'))
})
await protection
