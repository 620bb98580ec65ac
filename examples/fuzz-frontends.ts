/**
 * Fuzzes a front-end of Debian's Linux against a lying back-end, from a moment of the booted kernel:
 *
 *   npx tsx examples/fuzz-frontends.ts [netfront|blkfront|xenbus] [SECONDS] [SEED]
 *
 * What goes wrong is printed with the least input that shows it; the same seed finds the same.
 */
import { MemoryBlockStore } from 'paravirt/drivers'
import { blkfrontTarget, fuzz, minimiseCorpus, netfrontTarget, xenbusTarget } from 'paravirt/debug'
import { debianGuests, folderCache } from 'paravirt/node'
import { linux } from 'paravirt/testing'

const [, , name = 'netfront', seconds = '10', seed = '1'] = process.argv
const shell = await linux({ guests: debianGuests(), cache: folderCache(), memory: 128, modules: ['xen-blkfront', 'xen-netfront'] }).start()
const { host, domain } = shell
await domain.attachDisk('phy:any,xvda,w', { store: new MemoryBlockStore(new Uint8Array(2 << 20)) })
await domain.attachNic('')
await shell.run('while ! test -b /dev/xvda; do sleep 0.1; done; while ! ifconfig eth0 10.0.0.1 up; do sleep 0.1; done; sleep 1')
if (name === 'blkfront') {
  // A disk of one request a second, and programs that wait for it.
  domain.setDiskLimits('xvda', { requestsPerSecond: 1 })
  await domain.console.write('for i in 1 2 3 4; do dd if=/dev/xvda of=/dev/null bs=4096 count=4 skip=$((i * 16)) iflag=direct & done\n')
  await domain.console.waitFor(/done/)
} else await host.settled()
const targets = { netfront: netfrontTarget(), blkfront: blkfrontTarget(), xenbus: xenbusTarget(`/local/domain/0/backend/vbd/${domain.id}/51712`) }
const target = targets[name as keyof typeof targets]
const options = { moment: await host.checkpoint(), target: 'linux', seed: Number(seed), ...target }
const { executions, elapsed, edges, corpus, findings } = await fuzz({ ...options, seconds: Number(seconds) })
console.log(`${executions} executions (${Math.round(executions / (elapsed / 1000))} a second), ${edges} edges, ${corpus.length} inputs kept, of which ${(await minimiseCorpus(options, corpus)).length} are needed`)
for (const { kind, text, input } of findings) console.log(`${kind}: ${Buffer.from(input).toString('hex')}\n${text}`)
if (findings.length === 0) console.log('nothing went wrong')
await host.shutdown()
