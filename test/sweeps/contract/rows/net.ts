import { expect } from 'vitest'
import { ask, isWell, type ContractRow } from '../cell.ts'

const HEADER = 14

/** A network interface. */
export const net: ContractRow = {
  name: 'net', holds: 'connects a front-end, sends frames to another guest of its kind and to user code, and receives theirs',
  run: async (cell) => {
    const host = await cell.boot()
    const domain = await cell.start(host, { nics: [''] })
    const other = await cell.start(host, { name: 'other', nics: [''] })
    const port = host.bridge().open()
    for (const guest of [domain, other]) await ask(guest, 'net open', 'net: open')
    await ask(domain, 'net send good morning', 'net: sent')
    await other.console.waitFor('net: got good morning')
    await ask(other, 'net send good evening', 'net: sent')
    await domain.console.waitFor('net: got good evening')
    const heard: string[] = []
    for await (const frame of port) {
      heard.push(new TextDecoder().decode(frame.subarray(HEADER, frame.indexOf(0, HEADER))))
      if (heard.length === 2) break
    }
    expect(heard).toEqual(['good morning', 'good evening'])
    const said = new TextEncoder().encode('from the host')
    for (let i = 0; i < 20; i += 1) port.send(Uint8Array.from([...new Array<number>(6).fill(255), 2, 0, 0, 0, 0, 9, 0x88, 0xb5, ...said, ...new Array<number>(40).fill(0)]))
    for (let i = 0; i < 20; i += 1) await domain.console.waitFor('net: got from the host')
    port.close()
    await isWell(host, domain)
  },
}
