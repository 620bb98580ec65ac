/** Faults between clients and XenStore, and of the handshake of devices, which lives there. */
import { XENBUS_STATE } from '../../abi/index.ts'
import type { Host } from '../../toolstack/index.ts'
import { oneOf, text, XenError } from '../../util/index.ts'
import type { StoreRequestFacts } from '../../xenstore/index.ts'
import { atSeam, atTime, type FaultContext, type FaultParameter, type FaultRow } from './fault-row.ts'
import type { FaultParameters } from './fault-spec.ts'
import { lengthOfTime, optional, wholeNumber } from './parameters.ts'

const device: FaultParameter = { name: 'device', text: 'kind of devices, such as vbd or vif; any unless given', check: text, isOptional: true }
const half: FaultParameter = { name: 'half', text: 'whose state it is: front-end or back-end', check: oneOf('front-end', 'back-end'), otherwise: 'back-end' }

const STATE = /(?:^|\/)(device|backend)\/(\w+)\/(\d+)(?:\/(\d+))?\/state$/

/** The device whose state a request writes; undefined for another one. */
function stateWritten({ op, path, domid }: StoreRequestFacts): { readonly half: string; readonly kind: string; readonly frontend: number } | undefined {
  const found = op === 'write' && path !== undefined ? STATE.exec(path) : null
  if (found === null) return undefined
  const isBack = found[1] === 'backend'
  return { half: isBack ? 'back-end' : 'front-end', kind: found[2]!, frontend: isBack ? Number(found[3]) : domid }
}

function writesState(facts: StoreRequestFacts, parameters: FaultParameters, { domid }: FaultContext): boolean {
  const written = stateWritten(facts)
  return written !== undefined && written.half === parameters['half'] && (parameters['device'] === undefined || parameters['device'] === written.kind)
    && (domid === undefined || written.frontend === domid)
}

const stateText = ({ path, value }: StoreRequestFacts): string => `${path} = ${new TextDecoder().decode(value ?? new Uint8Array(0))}`

/** Paths of the devices of a domain, both halves. */
function devicesOf(host: Host, domid: number, kind: string | undefined): readonly { readonly front: string; readonly back: string; readonly kind: string }[] {
  const { store } = host
  const home = `/local/domain/${domid}/device`
  const kinds = store.exists(home) ? store.list(home).filter((each) => each !== 'suspend' && (kind === undefined || each === kind)) : []
  return kinds.flatMap((each) => store.list(`${home}/${each}`).flatMap((id) => {
    const front = `${home}/${each}/${id}`
    const back = store.tryRead(`${front}/backend`)
    return back === undefined ? [] : [{ front, back, kind: each }]
  }))
}

/** How often it is looked whether a front-end has closed, in nanoseconds, and how often at most. */
const LOOK = 1e6
const LOOKS = 1000

/** Once both halves are closed, they begin anew: as where a driver domain was started again. */
function beginAnew(host: Host, paths: { readonly front: string; readonly back: string }, { later }: FaultContext, looks = 0): void {
  const { front, back } = paths
  const { store } = host
  if (!store.exists(`${front}/state`) || looks > LOOKS) return
  const isClosed = [front, back].every((path) => store.tryRead(`${path}/state`) === String(XENBUS_STATE.Closed))
  if (!isClosed) return later(LOOK, () => beginAnew(host, paths, { later } as FaultContext, looks + 1))
  store.transaction((transaction) => {
    transaction.write(`${back}/online`, '1')
    transaction.write(`${back}/state`, String(XENBUS_STATE.Initialising))
    transaction.write(`${front}/state`, String(XENBUS_STATE.Initialising))
  })
}

/** Ends the back-ends of devices, as where their driver is gone. */
function closeBackends(host: Host, domid: number | undefined, kind: string | undefined): readonly { readonly front: string; readonly back: string }[] {
  const domids = domid === undefined ? host.domains().map(({ id }) => id as number) : [domid]
  const found = domids.flatMap((each) => devicesOf(host, each, kind))
  for (const { back } of found) {
    host.store.write(`${back}/online`, '0')
    host.store.write(`${back}/state`, String(XENBUS_STATE.Closing))
  }
  return found
}

/** The rows. */
export const STORE_FAULTS: readonly FaultRow[] = [
  atSeam('store', {
    name: 'store-conflict', family: 'XenStore', where: 'a transaction that is to be committed: it meets a conflict (EAGAIN)', parameters: [],
    peer: 'makes its transaction again, from the beginning', accepts: ({ commits }) => commits,
    act: ({ transaction }) => ({ effect: 'EAGAIN', text: `transaction ${transaction} met a conflict` }),
  }),
  atSeam('store', {
    name: 'store-quota', family: 'XenStore', where: 'a node that is to be made or written: the domain has no room for it (ENOSPC)',
    parameters: [{ name: 'path', text: 'what the path begins with, as the client writes it; any unless given', check: text, isOptional: true }],
    peer: 'takes the error; what it wanted to say stays unsaid, and what it had said stays',
    accepts: ({ op, path }, parameters) => (op === 'write' || op === 'mkdir') && (path ?? '').startsWith(String(parameters['path'] ?? '')),
    act: ({ path }) => ({ effect: 'ENOSPC', text: `${path} was refused: no room` }),
  }),
  atSeam('wait', {
    name: 'store-slow', family: 'XenStore', where: 'a message of a client: it is looked at later, and all behind it', parameters: [lengthOfTime('delay', 'how much later', 1e7)],
    peer: 'waits; nothing depends on how fast XenStore answers', act: (_facts, { delay }) => ({ effect: Number(delay), text: `XenStore let a message wait ${delay} ns` }),
  }),
  atTime({
    name: 'store-watch-storm', family: 'XenStore', where: "all watches of a domain's clients: they fire though nothing has changed", parameters: [wholeNumber('times', 'how often', { least: 1, most: 10_000, otherwise: 10 })],
    peer: 'looks at what it watches, finds nothing new, and goes on',
    act: ({ times }, { host, domid, later }) => {
      if (domid === undefined) throw new XenError('INVALID_ARGUMENT', 'store-watch-storm wants a domain')
      const server = host.dom0.server
      for (let time = 0; time < Number(times); time += 1) later(time * 1e5, () => server.fireWatches(domid))
      return `all watches of domain ${domid} fired ${times} times`
    },
  }),
  atSeam('store', {
    name: 'xenbus-stuck', family: 'Devices', where: "a device's state in XenStore: it is written and does not change", parameters: [device, half],
    peer: 'the other half waits where it is; attaching and detaching give up by their time-out, and nothing is left',
    accepts: writesState, act: (facts) => ({ effect: { ignored: true }, text: `${stateText(facts)} had no effect` }),
  }),
  atSeam('store', {
    name: 'xenbus-illegal', family: 'Devices', where: "a device's state in XenStore: another one is written", parameters: [device, half, { name: 'state', text: 'what is written', check: text, otherwise: '9' }],
    peer: 'takes a state that is none for Unknown, and one that comes too early for what it is; it neither crashes nor connects to nothing',
    accepts: writesState,
    act: (facts, { state }) => ({ effect: { value: new TextEncoder().encode(String(state)) }, text: `${stateText(facts)} was written as ${state}` }),
  }),
  atTime({
    name: 'back-end-restarted', family: 'Devices', where: "a domain's devices: their back-ends close, and begin anew once the front-ends have closed, too", parameters: [device],
    peer: 'the front-end lets its ring go, fails what was under way, closes, and connects again to what comes next',
    act: (parameters, context) => {
      const { host, domid } = context
      const found = closeBackends(host, domid, parameters['device'] as string | undefined)
      for (const paths of found) beginAnew(host, paths, context)
      return found.length === 0 ? undefined : `${found.map(({ back }) => back).join(', ')} were started again`
    },
  }),
  atTime({
    name: 'service-killed', family: 'Ends', where: 'a service of dom0: XenStore answers nobody for a while, or the back-ends of a kind of devices are gone',
    parameters: [{ name: 'service', text: 'xenstore, vbd or vif', check: oneOf('xenstore', 'vbd', 'vif') }, optional(lengthOfTime('for', 'how long XenStore is away; a second unless given'))],
    peer: 'waits for XenStore; closes a device whose back-end is gone, and fails what was under way',
    act: (parameters, { host, domid, stopStore }) => {
      const { service } = parameters
      if (service === 'xenstore') {
        const away = Number(parameters['for'] ?? 1e9)
        stopStore(away)
        return `XenStore answers nobody for ${away} ns`
      }
      const found = closeBackends(host, domid, String(service))
      return found.length === 0 ? undefined : `${found.map(({ back }) => back).join(', ')} are gone`
    },
  }),
]
