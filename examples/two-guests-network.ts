/**
 * Two guests on a bridge, and a third party that is none: code of the host's application at a port of the same bridge.
 * All that goes over the bridge is captured for Wireshark, tshark or tcpdump.
 *
 *   npx tsx examples/two-guests-network.ts [FILE.pcapng]
 */
import { createWriteStream } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CaptureWriter, NetFrontend, captureBridge, formatMac, parseMac } from 'paravirt/drivers'
import { FrontendBus } from 'paravirt/guest'
import { Host, type GuestProgram } from 'paravirt'

const BROADCAST = parseMac('ff:ff:ff:ff:ff:ff')!
const OWN = parseMac('02:00:00:00:00:01')!
/** Ethernet's type for local experiments. */
const ETHERTYPE = [0x88, 0xb5]
const HEADER = 14
/** The least that Ethernet carries. */
const SHORTEST = 60

/** A frame with a text in it: destination, source, type, and what is said. */
function frame(to: Uint8Array, from: Uint8Array, text: string): Uint8Array {
  const said = new TextEncoder().encode(text)
  const bytes = new Uint8Array(Math.max(SHORTEST, HEADER + said.length))
  bytes.set([...to, ...from, ...ETHERTYPE, ...said])
  return bytes
}

const sender = (bytes: Uint8Array): Uint8Array => bytes.slice(6, 12)
const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes.subarray(HEADER)).replaceAll('\0', '')

/** A guest that answers every question, and asks one of its own when it is told to. */
const talker: GuestProgram = async (kernel) => {
  const nics = new NetFrontend()
  await new FrontendBus(kernel).register(nics)
  const nic = await nics.nic(0)
  const name = await kernel.store!.read('name')
  kernel.console!.log('ready')
  if (kernel.boot.commandLine === 'ask') nic.send(frame(BROADCAST, nic.mac, 'who is there?'))
  for await (const bytes of nic) {
    kernel.console!.log(`${formatMac(sender(bytes))} says: ${textOf(bytes)}`)
    if (textOf(bytes).endsWith('?')) nic.send(frame(sender(bytes), nic.mac, `${name} is here`))
  }
}

const file = process.argv[2] ?? join(await mkdtemp(join(tmpdir(), 'paravirt-')), 'talk.pcapng')
const host = await Host.boot({ memory: 64, dom0Memory: 16 })
const bridge = host.bridge('xenbr0')
const capture = createWriteStream(file)
const writer = new CaptureWriter((bytes) => capture.write(bytes), { name: 'xenbr0' })
const endCapture = captureBridge(bridge, writer, () => host.now())

const bob = await host.createDomain({ name: 'bob', memory: 8, kernel: talker, nics: ['mac=00:16:3e:00:00:0b'] })
await bob.console.waitFor('ready')
const port = bridge.open()
const alice = await host.createDomain({
  name: 'alice', memory: 8, kernel: talker, nics: ['mac=00:16:3e:00:00:0a'], commandLine: 'ask',
})
await alice.console.waitFor('bob is here')

// The question came here too; the answer did not, for the bridge had learnt where alice is.
port.send(frame(BROADCAST, OWN, 'and who else?'))
const heard: string[] = []
for await (const bytes of port) {
  heard.push(`${formatMac(sender(bytes))} says: ${textOf(bytes)}`)
  if (heard.length === 3) break
}
port.close()
endCapture()

for (const domain of [alice, bob]) console.log(`${domain.name}:\n${domain.console.text().trim()}\n`)
console.log(`the application:\n${heard.join('\n')}\n`)
capture.end()
await once(capture, 'finish')
console.log(`${writer.count} frames are in ${file}`)
await host.shutdown()
