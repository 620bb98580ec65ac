/**
 * A fleet of three hosts in this process: domains are spread over them, one host is emptied, one dies, and its domains run again.
 * With etcd: `tsx examples/fleet.ts http://127.0.0.1:2379`.
 */
import { etcdStore, Fleet, FleetAgent, hostMachine, memoryStore } from 'paravirt/fleet'
import { Host } from 'paravirt/toolstack'

const [endpoint] = process.argv.slice(2)
const store = endpoint === undefined ? memoryStore() : etcdStore({ endpoints: [endpoint], prefix: `example-${process.pid}/` })
const fleet = new Fleet({ store })
const done = new AbortController()

const members = await Promise.all(['anna', 'bert', 'cleo'].map(async (name) => {
  const host = await Host.boot({ memory: 96, dom0Memory: 16 })
  const agent = new FleetAgent({ store, name, machine: hostMachine(host) })
  agent.events.on('domain-started', ({ domain }) => console.log(`${domain} starts at ${name}`))
  await agent.start()
  return { name, host, agent }
}))

/** Waits until every domain runs at a host that is there. */
async function settled(): Promise<void> {
  for await (const _ of fleet.events({ from: 1, signal: done.signal })) {
    const { domains, owners, hosts } = await fleet.state()
    if ([...domains.keys()].every((name) => owners.get(name)?.member !== undefined && hosts.has(owners.get(name)!.host) && owners.get(name)!.to === undefined)) return
  }
}

for (const name of ['web', 'cache', 'queue', 'mail']) await fleet.define({ name, memory: 16 })
await settled()
console.log('can bear the loss of', (await fleet.bearableFailures()).filter(({ isBearable }) => isBearable).map(({ host }) => host).join(', '))

console.log('anna is emptied')
for (const { steps } of [await fleet.drain('anna')]) for (const step of steps) if (step.type === 'move') console.log(`${step.domain} moves to ${step.to}`)
await settled()

const { owners } = await fleet.state()
const dying = members.find(({ name }) => name === owners.get('web')?.host)!
console.log(`${dying.name} leaves`)
await fleet.undrain('anna')
await dying.agent.stop()
await settled()

done.abort()
for (const { agent, host } of members) {
  if (agent !== dying.agent) await agent.stop()
  await host.shutdown()
}
store.close()
