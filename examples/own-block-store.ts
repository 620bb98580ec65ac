/**
 * A disk of one's own making: what a guest writes is encrypted sector by sector before it reaches a file, and each
 * access is told. Whatever has these six members can be a guest's disk; the guest, here a program in TypeScript, cannot
 * tell.
 *
 *   npx tsx examples/own-block-store.ts
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BlockFrontend, SECTOR_SIZE, type BlockStore } from 'paravirt/drivers'
import { FrontendBus } from 'paravirt/guest'
import { Host, type GuestProgram } from 'paravirt'
import { FileBlockStore } from 'paravirt/node'

/** AES-XTS, as dm-crypt uses it: each sector on its own, its number as the tweak. */
class EncryptedStore implements BlockStore {
  readonly size: number
  readonly readOnly: boolean
  private readonly inner: BlockStore
  private readonly key: Uint8Array

  constructor(inner: BlockStore, key: Uint8Array) {
    this.inner = inner
    this.key = key
    this.size = inner.size
    this.readOnly = inner.readOnly
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    console.log(`store: read ${target.length} bytes at ${offset}`)
    await this.inner.read(offset, target)
    target.set(this.convert(offset, target, createDecipheriv))
  }

  async write(offset: number, source: Uint8Array): Promise<void> {
    console.log(`store: write ${source.length} bytes at ${offset}`)
    await this.inner.write(offset, this.convert(offset, source, createCipheriv))
  }

  flush(): void | Promise<void> {
    console.log('store: flush')
    return this.inner.flush()
  }

  close(): void | Promise<void> {
    return this.inner.close()
  }

  /** Whole sectors are all that a guest can ask for. */
  private convert(
    offset: number, bytes: Uint8Array, make: typeof createCipheriv | typeof createDecipheriv,
  ): Uint8Array {
    const result = new Uint8Array(bytes.length)
    for (let at = 0; at < bytes.length; at += SECTOR_SIZE) {
      const tweak = Buffer.alloc(16)
      tweak.writeUIntLE((offset + at) / SECTOR_SIZE, 0, 6)
      result.set(make('aes-256-xts', this.key, tweak).update(bytes.subarray(at, at + SECTOR_SIZE)), at)
    }
    return result
  }
}

/** Says what is in the first sector of its disk, and leaves a line there for the next one. */
const diarist: GuestProgram = async (kernel) => {
  const disks = new BlockFrontend()
  await new FrontendBus(kernel).register(disks)
  const disk = await disks.disk('xvda')
  const text = new TextDecoder().decode(await disk.read(0, 1)).replaceAll('\0', '')
  kernel.console!.log(/^Dear diary/.test(text) ? `I read: ${text}` : 'I find nothing to read')
  const entry = new Uint8Array(SECTOR_SIZE)
  new TextEncoder().encodeInto(`Dear diary, I was domain ${kernel.domid}.`, entry)
  await disk.write(0, entry)
  await disk.flush()
  kernel.shutdown('poweroff')
}

const image = join(await mkdtemp(join(tmpdir(), 'paravirt-')), 'secret.img')
await writeFile(image, new Uint8Array(64 * 1024))
const key = randomBytes(64)
const host = await Host.boot({
  memory: 64, dom0Memory: 16,
  openDisk: ({ params, readOnly }) => new EncryptedStore(new FileBlockStore(params, { readOnly }), key),
})
for (const name of ['first', 'second']) {
  const domain = await host.createDomain({ name, memory: 8, kernel: diarist, disks: [`${image},raw,xvda,w`] })
  await domain.waitForShutdown()
  await host.settled()
  console.log(`${name}: ${domain.console.text().trim()}`)
}
await host.shutdown()
const written = await readFile(image)
console.log(`${image} begins with ${written.subarray(0, 16).toString('hex')}`)
