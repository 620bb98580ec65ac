/** Commands about disks, network interfaces and channels, laid out as xl's. */
import { amount, find, type Session, type Verbs } from './session.ts'

const cell = (value: unknown): string => String(value ?? '-1')

async function disks(session: Session, ...names: string[]): Promise<void> {
  session.print('Vdev  BE  handle state evt-ch ring-ref BE-path                       \n')
  for (const name of names) {
    const domain = await find(session, name)
    for (const { kind, device, backend, frontendState, eventChannel, rings, backendPath } of await domain.devices()) {
      if (kind !== 'vbd') continue
      session.print(`${cell(device).padEnd(5)} ${cell(backend).padEnd(3)} ${cell(domain.id).padEnd(6)} ${cell(frontendState).padEnd(5)} ${cell(eventChannel).padEnd(6)} ${cell(rings[0]).padEnd(8)} ${backendPath}\n`)
    }
  }
}

async function interfaces(session: Session, ...names: string[]): Promise<void> {
  session.print('Idx BE Mac Addr.         handle state evt-ch   tx-/rx-ring-ref BE-path                       \n')
  for (const name of names) {
    for (const { kind, device, backend, facts, frontendState, eventChannel, rings, backendPath } of await (await find(session, name)).devices()) {
      if (kind !== 'vif') continue
      const ringCells = `${cell(rings[0])}/${cell(rings[1])}`
      session.print(`${cell(device).padEnd(3)} ${cell(backend).padEnd(2)} ${cell(facts['mac']).padEnd(17)} ${cell(device).padStart(5)} ${cell(frontendState).padStart(5)} ${cell(eventChannel).padStart(6)}   ${ringCells.padEnd(15)} ${backendPath}\n`)
    }
  }
}

async function channels(session: Session, ...names: string[]): Promise<void> {
  session.print('Idx BE state evt-ch ring-ref connection                               \n')
  for (const name of names) {
    for (const { kind, device, backend, facts, frontendState, eventChannel, rings } of await (await find(session, name)).devices()) {
      if (kind !== 'console') continue
      // libxl counts channels from 0, whose consoles begin at 1.
      session.print(`${cell(device - 1).padEnd(3)} ${cell(backend).padEnd(2)} ${cell(frontendState).padEnd(5)} ${cell(eventChannel).padEnd(6)} ${cell(rings[0]).padStart(8)} ${cell(facts['connection']).padEnd(10)} ${String(facts['path'] ?? '').padEnd(30)}\n`)
    }
  }
}

/** A disk as xm wrote it (`file:/u/fc4.img sda1 w`) or as xl does (`/u/fc4.img,raw,xvda,w`). */
const attachDisk = async (session: Session, name: string, ...words: string[]): Promise<void> =>
  (await find(session, name)).attachDisk(words.join(','), { signal: session.signal })

/** Commands about devices. */
export const DEVICE_VERBS: Verbs = {
  'block-attach': { words: 'DOMAIN DISK [VDEV MODE]', run: (session, name = '', ...words) => attachDisk(session, name, ...words) },
  'block-detach': { words: 'DOMAIN VDEV [--force]', run: async (session, name = '', vdev = '', force) =>
    (await find(session, name)).detachDisk(vdev, { signal: session.signal, force: force === '--force' }) },
  'cd-insert': { words: 'DOMAIN VDEV TARGET', run: async (session, name = '', vdev = '', target = '') =>
    (await find(session, name)).insertMedium(vdev, target, { signal: session.signal }) },
  'cd-eject': { words: 'DOMAIN VDEV', run: async (session, name = '', vdev = '') =>
    (await find(session, name)).ejectMedium(vdev, { signal: session.signal }) },
  'block-list': { words: 'DOMAIN ...', run: disks },
  'network-attach': { words: 'DOMAIN [KEY=VALUE ...]', run: async (session, name = '', ...words) =>
    (await find(session, name)).attachNic(words.join(','), { signal: session.signal }) },
  'network-detach': { words: 'DOMAIN INDEX', run: async (session, name = '', index = '') =>
    (await find(session, name)).detachNic(amount(index), { signal: session.signal }) },
  'channel-list': { words: 'DOMAIN ...', run: channels },
  'network-list': { words: 'DOMAIN ...', run: interfaces },
}
