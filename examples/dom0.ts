/**
 * Debian's unmodified Linux as dom0, with Xen's own tools: types what an administrator types, and prints what they answer.
 *
 *   npx paravirt guests dom0      Debian's packages, once
 *   npx tsx examples/dom0.ts
 */
import { embeddedKernel, Host } from 'paravirt'
import { optionalDecompressor } from 'paravirt/decompress'
import { debianDom0 } from 'paravirt/node'

const files = {
  'root/mini.elf': embeddedKernel('pv'),
  'root/hello.cfg': 'name = "hello"\nkernel = "/root/mini.elf"\nmemory = 32\nextra = "from xl"\n',
}
const host = await Host.boot({
  memory: '1G', cpus: 2, decompress: optionalDecompressor,
  dom0: { ...debianDom0({ files }), memory: 512 },
})
host.events.on('dom0-shutdown', ({ reason }) => console.log(`dom0 has ended: ${reason}`))
const { console: serial } = host
const prompt = /dom0# $/
await serial.waitFor('dom0: ready')
await serial.waitFor(prompt)
const from = serial.text().length

/** Types a line; resolves when the prompt is back, or another text has shown. */
async function type(line: string, until: string | RegExp = prompt): Promise<void> {
  await serial.write(`${line}\r`)
  await serial.waitFor('\n', { timeout: '10s' })
  await serial.waitFor(until, { timeout: '60s' })
}

await type('xl create hello.cfg')
await type('xl list')
await type('xentop -b -i 1')
await type('xl console hello', 'mini> ')
await type('mem', 'mini> ')
// Ctrl-] leaves the console, where nothing comes with it.
await serial.write('\u001d')
await serial.waitFor(prompt, { timeout: '60s' })
await type('xl mem-set hello 24')
await type('xl list')
// The host sees what xl does.
const seen = host.listDomains().map(({ id, memory }) => `domain ${id} has ${memory} MiB`)
await type('xl destroy hello')
await type('xl list')
console.log(serial.text().slice(from))
console.log(seen.join('\n'))
await serial.write('poweroff\r')
await host.until('dom0 to power off', () => false).catch(() => undefined)
await host.shutdown()
