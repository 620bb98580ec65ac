/**
 * Boots Debian's Linux, types commands into its shell, takes memory from it, and has it power off, in virtual time: the
 * same run every time. `npm run guests -- linux busybox` fetches what it needs.
 *
 *   npx tsx examples/linux.ts [COMMAND ...]
 */
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { optionalDecompressor } from 'paravirt/decompress'
import { Host } from 'paravirt'
import { nodeFiles } from 'paravirt/node'

const DESCRIPTION = fileURLToPath(new URL('xen/debian', import.meta.url))
const PROMPT = /\/ # /

const words = process.argv.slice(2)
const commands = words.length > 0 ? words : ['uname -a', 'grep MemTotal /proc/meminfo', 'echo "scale=20; 4*a(1)" | bc -l']

const host = await Host.boot({ memory: 512, dom0Memory: 32, files: nodeFiles(), decompress: optionalDecompressor })
const domain = await host.createDomain(await readFile(DESCRIPTION, 'utf8'), { source: DESCRIPTION })
const printed = (async () => {
  for await (const bytes of domain.console) process.stdout.write(bytes)
})()

await domain.console.waitFor(PROMPT)
for (const command of commands) {
  await domain.console.write(`${command}\r`)
  await domain.console.waitFor(PROMPT)
}
await domain.setMemTarget(192)
await domain.console.write('grep MemTotal /proc/meminfo\r')
await domain.console.waitFor(PROMPT)
const reason = await domain.shutdown()
await printed
console.log(`\n${domain.name} ended by ${reason} after ${(host.now() / 1e9).toFixed(3)} s of its time`)
await host.shutdown()
