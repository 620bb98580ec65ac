/** Moments of a host with Debian's Linux at work: brought back, branched, and written and read with another processor, it goes on alike. */
import { afterEach, expect, test } from 'vitest'
import { Host, NO_COMPRESSION } from '../../src/toolstack/index.ts'
import { insidesOf } from '../../src/toolstack/host/host.ts'
import { whyMissing } from '../support/guests.ts'
import { LINUX_FILES, bootLinux } from '../support/linux.ts'

const branches: Host[] = []
const halted: (() => void)[] = []
/** Halts a host until the test is over. */
const halt = async (host: Host): Promise<void> => void halted.push(await insidesOf(host).parts.loop.halt())
afterEach(async () => {
  for (const goOn of halted.splice(0)) goOn()
  for (const branch of branches.splice(0)) await branch.shutdown()
})

const noLinux = whyMissing(...LINUX_FILES)

test.skipIf(noLinux !== undefined)(`Linux on two vCPUs at work goes on alike where it was, brought back, in a branch, and compiled${noLinux ?? ''}`, { timeout: 900_000 }, async () => {
  const linux = await (await bootLinux({ host: { memory: 320 }, domain: { memory: 192, vcpus: 2, maxVcpus: 2 } })).ready()
  const { host } = linux
  branches.push(host)
  await linux.domain.console.write('(while :; do ls -lR /bin > /tmp/list; done) & while :; do md5sum /tmp/list; done\r')
  await host.until('it to work', () => /[0-9a-f]{32} {2}/.test(linux.domain.console.text()))
  const moment = await host.checkpoint()
  const target: Uint8Array[] = []
  await moment.save({ write: (chunk: Uint8Array) => void target.push(chunk.slice()) }, { compression: NO_COMPRESSION })
  const links = async (of: Host): Promise<unknown[]> => {
    await halt(of)
    const found = []
    for (let link = 0; link < 10; link += 1) {
      for (let i = 0; i < 3; i += 1) await insidesOf(of).parts.loop.step(1_000_000)
      found.push(await of.stateHash())
    }
    halted.pop()!()
    return found
  }
  await host.reset(moment)
  const first = await links(host)
  await host.reset(moment)
  expect(await links(host)).toEqual(first)
  const branch = await moment.branch()
  branches.push(branch)
  expect(await links(branch)).toEqual(first)
  const compiled = await (await Host.loadMoment(Buffer.concat(target), { compiler: {} })).branch()
  branches.push(compiled)
  expect(await links(compiled)).toEqual(first)
})
