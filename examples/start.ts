/**
 * Boots a host from examples/boot/grub.conf and runs one guest on it.
 *
 *   npm start                              the domain of examples/xen/fc4, on the embedded kernel
 *   npm start -- FILE [--until PATTERN]    any description file, its console connected to this terminal
 *
 * With --grub FILE the host is booted from another grub.conf, or from GRUB 2's grub.cfg. Where its `module` lines name files that are
 * there, they are dom0, whose console is then connected to this terminal: Linux with Xen's own tools, for instance.
 * With a FILE it ends when the domain ends (exit status 0 after a power-off, 1 otherwise), with status 0 as soon as the
 * console has shown PATTERN, or when Ctrl-] is typed.
 */
import { access, readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Host, XenError, embeddedKernel, formatDomainList, type Domain } from 'paravirt'
import { optionalDecompressor } from 'paravirt/decompress'
import { MemoryBlockStore } from 'paravirt/drivers'
import { nodeDisks, nodeFiles } from 'paravirt/node'
import { parseGrub, type DiskOpener } from 'paravirt/toolstack'

const HOST_MEMORY = '1G'
const GRUB_CONF = fileURLToPath(new URL('boot/grub.conf', import.meta.url))
const FC4 = fileURLToPath(new URL('xen/fc4', import.meta.url))
/** Ctrl-] leaves the console, as it does with `xl console`. */
const LEAVE = 0x1d

/** Bytes of the disk that stands in for an image that is not on this machine. */
const STAND_IN = 16 << 20

/** Opens disk images; one that is missing, as those of 2005 are, is stood in for by an empty disk. */
const openDisk: DiskOpener = (request) => {
  try {
    return nodeDisks()(request)
  } catch (error) {
    if (!XenError.is(error, 'IO')) throw error
    console.error(`warning: ${error.message}: an empty disk stands in for it`)
    return new MemoryBlockStore(STAND_IN)
  }
}

/** What was asked for on the command line. */
interface Arguments {
  readonly file: string | undefined
  readonly until: RegExp | undefined
  readonly grub: string
}

function parseArguments(words: readonly string[]): Arguments {
  let file: string | undefined
  let until: RegExp | undefined
  let grub = GRUB_CONF
  const rest = [...words]
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === '--until') {
      const pattern = rest.shift()
      if (pattern === undefined) throw new XenError('INVALID_ARGUMENT', '--until needs a pattern')
      until = new RegExp(pattern)
    } else if (word === '--grub') {
      const path = rest.shift()
      if (path === undefined) throw new XenError('INVALID_ARGUMENT', '--grub needs a file')
      grub = path
    } else if (word.startsWith('-') || file !== undefined) {
      throw new XenError(
        'INVALID_ARGUMENT',
        `unexpected argument ${word}; usage: npm start [-- [FILE [--until PATTERN]] [--grub FILE]]`,
      )
    } else file = word
  }
  return { file, until, grub }
}

async function show(host: Host): Promise<void> {
  await host.settled()
  process.stdout.write(`\n${formatDomainList(host.listDomains())}\n`)
}

async function boot(clock: 'virtual' | 'realtime', grub: string): Promise<Host> {
  const host = await Host.boot({
    memory: HOST_MEMORY,
    grubConf: new TextDecoder().decode(await nodeFiles().read(grub)),
    clock,
    files: nodeFiles(),
    decompress: optionalDecompressor,
    openDisk,
  })
  for (const warning of host.warnings) console.error(`warning: ${warning.message}`)
  host.events.on('warning', ({ warning }) => console.error(`warning: ${warning.message}`))
  return host
}

/** Prints a console until it closes. */
async function print(domain: Pick<Domain, 'console'>): Promise<void> {
  for await (const bytes of domain.console) process.stdout.write(bytes)
}

/** `npm start`: everything from the host's boot to the guest's power-off. */
async function tour(grub: string): Promise<number> {
  const host = await boot('virtual', grub)
  await show(host)
  console.log('dom0 is to have 512 MiB (xm mem-set 0 512)')
  await host.setMemTarget(0, 512)
  console.log('creating the domain of examples/xen/fc4, on the embedded kernel (xm create fc4)\n')
  const domain = await host.createDomain(await readFile(FC4, 'utf8'), {
    source: 'examples/xen/fc4',
    kernel: embeddedKernel(),
  })
  const printed = print(domain)
  await domain.console.waitFor('mini> ')
  await domain.console.write('mem\r')
  await domain.console.waitFor('mini> ')
  await show(host)
  console.log('shutting it down (xm shutdown fc4)')
  await domain.shutdown()
  await printed
  await show(host)
  await host.shutdown()
  return 0
}

/** Types what comes from the terminal into the console. */
function connectTerminal(domain: Pick<Domain, 'console'>, leave: () => void): () => void {
  const { stdin } = process
  const type = (data: Buffer): void => {
    if (data.includes(LEAVE)) return leave()
    // A guest that is gone, or does not read, loses what was typed.
    domain.console.write(data).catch((error: unknown) => {
      if (!XenError.is(error)) throw error
    })
  }
  if (stdin.isTTY) stdin.setRawMode(true)
  stdin.on('data', type)
  return () => {
    stdin.off('data', type)
    if (stdin.isTTY) stdin.setRawMode(false)
    stdin.pause()
  }
}

/** True where the entry that is booted names a kernel for dom0 that is there. */
async function hasOwnDom0(grub: string): Promise<boolean> {
  const { dom0 } = parseGrub(new TextDecoder().decode(await nodeFiles().read(grub)))
  return dom0 !== undefined && access(dom0.path).then(() => true, () => false)
}

/** `npm start -- --grub FILE` with a dom0 of one's own: its console, connected to this terminal, until it ends. */
async function runDom0({ grub, until }: Arguments): Promise<number> {
  const host = await boot('realtime', grub)
  const left = new AbortController()
  const disconnect = connectTerminal(host, () => left.abort())
  const ended = new Promise<number>((resolve) => {
    host.events.on('dom0-shutdown', ({ reason }) => {
      console.error(`\ndom0 has ended: ${reason}`)
      resolve(reason === 'poweroff' ? 0 : 1)
    })
    left.signal.addEventListener('abort', () => resolve(0))
  })
  void print(host)
  try {
    return await Promise.race([ended, ...(until === undefined ? [] : [host.console.waitFor(until).then(() => 0)])])
  } finally {
    disconnect()
    await host.shutdown()
  }
}

/** `npm start -- FILE`: one guest, connected to this terminal. */
async function run(file: string, { until, grub }: Arguments): Promise<number> {
  const host = await boot('realtime', grub)
  const text = new TextDecoder().decode(await nodeFiles().read(file))
  const isTour = resolve(file) === FC4
  const domain = await host.createDomain(text, { source: file, ...(isTour ? { kernel: embeddedKernel() } : {}) })
  // An idle guest leaves nothing to wait for but the terminal, which may be closed.
  const alive = setInterval(() => undefined, 1 << 30)
  const left = new AbortController()
  const disconnect = connectTerminal(domain, () => left.abort())
  const printed = print(domain)
  const ended = async (): Promise<number> => {
    const reason = await domain.waitForShutdown({ signal: left.signal })
    await host.settled()
    await Promise.race([printed, host.settled()])
    console.error(`\ndomain ${domain.name} ended: ${reason}`)
    return reason === 'poweroff' ? 0 : 1
  }
  const shown = async (pattern: RegExp): Promise<number> => {
    await domain.console.waitFor(pattern)
    return 0
  }
  try {
    return await Promise.race([ended(), ...(until === undefined ? [] : [shown(until)])])
  } catch (error) {
    if (left.signal.aborted) return 0
    throw error
  } finally {
    disconnect()
    clearInterval(alive)
    await host.shutdown()
  }
}

try {
  const given = parseArguments(process.argv.slice(2))
  if (given.file !== undefined) process.exitCode = await run(given.file, given)
  else process.exitCode = await hasOwnDom0(given.grub) ? await runDom0(given) : await tour(given.grub)
} catch (error) {
  if (!XenError.is(error)) throw error
  console.error(`error: ${error.message}`)
  process.exitCode = 1
}
