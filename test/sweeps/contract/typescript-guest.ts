/**
 * The contract's guest in TypeScript: it answers the commands of test/guests/contract with the same words, so that one row serves
 * every kind. Devices are opened when a command first asks for them.
 */
import { FILE_ERRORS, FolderFrontend, parseMac, BlockFrontend, NetFrontend, type FileErrorName, type Nic } from '../../../src/drivers/index.ts'
import { FrontendBus, type GuestKernel, type GuestProgram, type Page } from '../../../src/guest/index.ts'
import { XenError, type DomId, type EventPort, type GrantRef } from '../../../src/util/index.ts'

const HALF = 2048
const HEADER = 14
const LEAST = 60
const BROADCAST = parseMac('ff:ff:ff:ff:ff:ff')!
const ETHERTYPE = [0x88, 0xb5]
/** xvda. */
const FIRST_DISK = 51712
/** The contract's folder. */
const FOLDER_TAG = 'shared'

type Command = (rest: string) => void | Promise<void>

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text)
const textAt = (bytes: Uint8Array, at: number): string => {
  const end = bytes.indexOf(0, at)
  return new TextDecoder().decode(bytes.subarray(at, end < 0 ? bytes.length : end))
}
const numbersOf = (text: string): number[] => text.split(' ').map(Number)
const codeOf = (error: unknown): string => (XenError.is(error) ? error.code : String(error))

/** The guest: what it has open, and its commands. */
class ContractGuest {
  private readonly kernel: GuestKernel
  private readonly bus: FrontendBus
  private readonly disks = new BlockFrontend()
  private readonly nics = new NetFrontend()
  private readonly folders = new FolderFrontend()
  private disksReady: Promise<void> | undefined
  private foldersReady: Promise<void> | undefined
  private nic: Nic | undefined
  private typed = ''
  private offered: EventPort | undefined
  private readonly commands: Readonly<Record<string, Command>> = {
    echo: (rest) => this.say(rest),
    read: (path) => this.read(path),
    write: (rest) => this.write(rest),
    ticks: (rest) => this.ticks(Number(rest)),
    offer: (rest) => this.offer(rest),
    peer: (rest) => this.peer(numbersOf(rest)),
    disk: (rest) => this.disk(rest),
    folder: (rest) => this.folder(rest),
    net: (rest) => this.net(rest),
    watchdog: (rest) => this.say(`watchdog: ${this.kernel.hypercalls.watchdog(0, Number(rest))}`),
    poweroff: () => this.kernel.shutdown('poweroff'),
    reboot: () => this.kernel.shutdown('reboot'),
    fault: () => { throw new Error('the contract asks for a fault') },
  }

  constructor(kernel: GuestKernel) {
    this.kernel = kernel
    this.bus = new FrontendBus(kernel)
    kernel.console!.onInput((bytes) => this.accept(new TextDecoder().decode(bytes)))
    kernel.control.saveState(() => ({}))
  }

  /** Says who it is; a loaded one goes on as it stood. */
  async start(): Promise<void> {
    const { kernel } = this
    if (kernel.isLoaded) return
    this.say(kernel.restoredState === undefined ? 'mini: starts' : 'mini: restored')
    const name = await kernel.store!.read('name')
    this.say(`domain ${kernel.domid}, name: ${name}`)
    this.prompt()
  }

  private say(line: string): void {
    this.kernel.console!.log(line)
  }

  private prompt(): void {
    this.kernel.console!.write('mini> ')
  }

  private accept(text: string): void {
    this.typed += text
    for (let end = this.typed.search(/[\r\n]/); end >= 0; end = this.typed.search(/[\r\n]/)) {
      const line = this.typed.slice(0, end)
      this.typed = this.typed.slice(end + 1)
      this.kernel.spawn(() => this.run(line))
      this.kernel.turn()
    }
  }

  private async run(line: string): Promise<void> {
    const [name = ''] = line.split(' ', 1)
    this.say(line)
    if (name !== '') await (this.commands[name] ?? (() => this.say(`${name}: unknown command, try help`)))(line.slice(name.length + 1))
    this.prompt()
  }

  private async read(path: string): Promise<void> {
    this.say(await this.kernel.store!.read(path).catch((error: unknown) => `read: ${codeOf(error)}`))
  }

  private async write(rest: string): Promise<void> {
    const at = rest.indexOf(' ')
    this.say(await this.kernel.store!.write(rest.slice(0, at), rest.slice(at + 1)).then(() => 'written', () => 'write: refused'))
  }

  private ticks(count: number, tick = 1): void {
    if (tick > count) return
    this.kernel.after('100ms', () => {
      this.say(`tick ${tick} at ${Math.floor(this.kernel.now() / 1e6)} ms`)
      this.ticks(count, tick + 1)
    }).keep()
  }

  private put({ bytes, frame }: Page, at: number, text: string): void {
    bytes.set(bytesOf(`${text}\0`), at)
    this.kernel.hypercalls.memory.markWritten(frame)
  }

  private offer(rest: string): void {
    const { events, frames, grants, domid } = this.kernel
    if (this.offered !== undefined) return
    const [remote = '', ...words] = rest.split(' ')
    const page = frames.allocate()
    this.put(page, 0, words.join(' '))
    this.put(page, HALF, '')
    const ref = grants.grant(Number(remote) as DomId, page.frame)
    const port = events.allocateUnbound(domid, Number(remote) as DomId, () => {
      this.say(`offer: answer: ${textAt(page.bytes, HALF)}`)
      events.close(port)
      this.offered = undefined
      this.kernel.endGrant(ref, () => frames.release(page))
    })
    this.offered = port
    this.say(`offer: peer ${domid} ${port} ${ref}`)
  }

  private peer([domain = 0, remote = 0, ref = 0]: readonly number[]): void {
    const { events, grants } = this.kernel
    try {
      const page = grants.map(domain as DomId, ref as GrantRef)
      const text = textAt(page.bytes, 0)
      this.say(`peer: domain ${domain} wrote: ${text}`)
      this.put(page, HALF, `mini has read ${text.length} characters`)
      try {
        const port = events.bindInterdomain(domain as DomId, remote as EventPort)
        events.notify(port)
        events.close(port)
        this.say('peer: answered, status 0')
      } catch (error) {
        this.say(`peer: cannot bind port ${remote} of domain ${domain} (${codeOf(error)})`)
      }
      grants.unmap(page)
    } catch (error) {
      this.say(`peer: cannot map grant ${ref} of domain ${domain} (${codeOf(error)})`)
    }
  }

  private async disk(rest: string): Promise<void> {
    const [what = '', sector = '', ...words] = rest.split(' ')
    this.disksReady ??= this.bus.register(this.disks)
    await this.disksReady
    const disk = await this.disks.disk(FIRST_DISK)
    const bytes = new Uint8Array(512)
    if (what === 'write') {
      bytes.set(bytesOf(words.join(' ')))
      await disk.write(Number(sector), bytes)
      this.say('disk: wrote, status 0')
    } else {
      this.say(`disk: status 0: ${textAt(await disk.read(Number(sector), 1), 0)}`)
    }
  }

  private async folder(rest: string): Promise<void> {
    const [what = '', name = '', ...words] = rest.split(' ')
    this.foldersReady ??= this.bus.register(this.folders)
    await this.foldersReady
    const folder = await this.folders.folder(FOLDER_TAG)
    const status = (error: unknown): string => String(XenError.is(error) ? FILE_ERRORS[error.details['errno'] as FileErrorName] : error)
    if (what === 'write') this.say(await folder.writeFile(name, bytesOf(words.join(' '))).then(() => 'folder: wrote, status 0', (error: unknown) => `folder: wrote, status ${status(error)}`))
    else this.say(await folder.readFile(name).then((bytes) => `folder: status 0: ${new TextDecoder().decode(bytes)}`, (error: unknown) => `folder: status ${status(error)}: `))
  }

  private async net(rest: string): Promise<void> {
    if (this.nic === undefined) {
      await this.bus.register(this.nics)
      this.nic = await this.nics.nic(0)
      this.kernel.spawn(() => this.listen(this.nic!))
    }
    if (!rest.startsWith('send ')) return this.say('net: open')
    const said = bytesOf(rest.slice('send '.length))
    const frame = new Uint8Array(Math.max(LEAST, HEADER + said.length + 1))
    frame.set([...BROADCAST, ...this.nic.mac, ...ETHERTYPE, ...said])
    this.nic.send(frame)
    this.say('net: sent')
  }

  private async listen(nic: Nic): Promise<void> {
    for await (const frame of nic) this.say(`net: got ${textAt(frame, HEADER)}`)
  }
}

/** The program of the contract's guest. */
export const contractProgram: GuestProgram = (kernel) => new ContractGuest(kernel).start()
