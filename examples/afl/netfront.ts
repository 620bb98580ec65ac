/** afl-fuzz against Linux's xen-netfront, from a moment of the booted kernel: see forkserver.c for the command. */
import { fuzzExecutor, netfrontTarget } from 'paravirt/debug'
import { debianGuests, folderCache } from 'paravirt/node'
import { linux } from 'paravirt/testing'
import { serveAfl } from './serve.ts'

const shell = await linux({ guests: debianGuests(), cache: folderCache(), memory: 128, modules: ['xen-netfront'] }).start()
const { host, domain } = shell
await domain.attachNic('')
await shell.run('while ! ifconfig eth0 10.0.0.1 up; do sleep 0.1; done; sleep 1')
await host.settled()
await serveAfl(await fuzzExecutor({ moment: await host.checkpoint(), target: 'linux', ...netfrontTarget() }))
await host.shutdown()
