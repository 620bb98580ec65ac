import { describe, expect, test } from 'vitest'
import { MemoryBlockStore } from '../../../../src/drivers/index.ts'
import { runBootloader } from '../../../../src/toolstack/bootloader/bootloader.ts'
import { pygrub } from '../../../../src/toolstack/bootloader/pygrub.ts'
import { resolveDomainOptions } from '../../../../src/toolstack/config/domain-config.ts'
import { SeededRandom, fillRandom } from '../../../../src/util/index.ts'
import { extImage, partitionedDisk, whyNoImages, type ImageFile } from '../../../support/disk-images.ts'
import { runPygrub, whyNoPygrub } from '../../../support/pygrub.ts'

function noise(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length)
  fillRandom(new SeededRandom(seed), bytes)
  return bytes
}

const KERNEL = noise(150_000, 1)
const OTHER = noise(90_000, 2)
const INITRD = noise(70_001, 3)
const entry = (title: string, kernel: string): string => `menuentry '${title}' --class x {\n linux ${kernel} root=/dev/xvda1 ro\n initrd /boot/initrd.img\n}\n`
const BOOT: Readonly<Record<string, ImageFile>> = { 'boot/vmlinuz-1': KERNEL, 'boot/vmlinuz-2': OTHER, 'boot/initrd.img': INITRD }
const GRUB_CFG = `set default="0"\n${entry('One', '/boot/vmlinuz-1')}submenu 'More' {\n${entry('Two', '/boot/vmlinuz-2')}}\n`
const LEGACY = 'default=1\ntitle One\nkernel /boot/vmlinuz-1 a\ntitle Two\nroot (hd0,0)\nkernel (hd0,0)/boot/vmlinuz-2 b c\ninitrd /boot/initrd.img\n'

const small = (files: Readonly<Record<string, ImageFile>>, make = ['-t', 'ext4', '-b', '1024', '-O', '^has_journal']): Uint8Array => extImage({ kibibytes: 600, files, make })
const missing = whyNoImages() ?? whyNoPygrub()

describe.skipIf(missing !== undefined)(`pygrub beside Xen's own${missing ?? ''}`, { timeout: 60_000 }, () => {
  const boot = missing === undefined ? small({ ...BOOT, 'boot/grub/grub.cfg': GRUB_CFG }) : new Uint8Array()
  const DISKS: readonly (readonly [string, () => Uint8Array, readonly string[]])[] = [
    ['a whole disk', () => boot, []],
    ['ext2 with menu.lst', () => small({ ...BOOT, 'boot/grub/menu.lst': LEGACY }, ['-t', 'ext2', '-b', '1024']), []],
    ['grub.conf', () => small({ ...BOOT, 'boot/grub/grub.conf': LEGACY }), []],
    ['extlinux', () => small({ ...BOOT, 'extlinux.conf': 'default two\nlabel one\nkernel /boot/vmlinuz-1\nlabel two\nkernel /boot/vmlinuz-2\nappend ro initrd=/boot/initrd.img quiet\n' }), []],
    ['several files, of which one counts', () => small({ ...BOOT, 'boot/grub/menu.lst': LEGACY, 'extlinux.conf': 'label one\nkernel /boot/vmlinuz-1\n', 'boot/grub2/grub.cfg': GRUB_CFG }), []],
    ['a partition for /boot', () => small({ 'vmlinuz': KERNEL, 'initrd': INITRD, 'grub/grub.cfg': "menuentry 'A' x {\nlinux /vmlinuz x\ninitrd /initrd\n}\n" }), []],
    ['symbolic links on the way', () => small({ ...BOOT, 'vmlinuz': { link: 'boot/vmlinuz-1' }, 'boot/grub/real': entry('L', '/vmlinuz'), 'boot/grub/grub.cfg': { link: 'real' } }), []],
    ['MBR, second partition', () => partitionedDisk('dos', [{ start: 2048, contents: small({ a: 'b' }) }, { start: 4096, contents: boot, bootable: true }]), []],
    ['MBR, two that boot', () => partitionedDisk('dos', [{ start: 2048, contents: small({ ...BOOT, 'boot/grub/menu.lst': LEGACY }) }, { start: 4096, contents: boot, bootable: true }]), []],
    ['GPT behind a partition of something else', () => partitionedDisk('gpt', [{ start: 2048, contents: noise(100_000, 4), type: 'uefi' }, { start: 4096, contents: boot }]), []],
    ['GPT, first partition', () => partitionedDisk('gpt', [{ start: 2048, contents: boot }]), []],
    ['an entry by number', () => boot, ['--entry=1']],
    ['an entry by title', () => boot, ['--entry=Two']],
    ['an entry that is not there', () => boot, ['--entry=Seven']],
    ['words for the command line', () => boot, ['--args=quiet splash']],
    ['an offset', () => partitionedDisk('dos', [{ start: 2048, contents: small({ ...BOOT, 'boot/grub/menu.lst': LEGACY }) }, { start: 4096, contents: boot }]), [`--offset=${4096 * 512}`]],
    ['a kernel by name', () => boot, ['--kernel=/boot/vmlinuz-2', '--ramdisk=/boot/initrd.img', '--args=x y']],
    ['no file to boot by', () => small(BOOT), []],
    ['a kernel that is not there', () => small({ 'boot/grub/grub.cfg': GRUB_CFG }), []],
    ['an entry without a kernel', () => small({ ...BOOT, 'boot/grub/grub.cfg': "menuentry 'A' x {\nmultiboot2 /xen\n}\n" }), []],
    ['no entries', () => small({ ...BOOT, 'boot/grub/grub.cfg': '# nothing\n', 'boot/grub/menu.lst': LEGACY }), []],
    ['a file that pygrub gives up', () => small({ ...BOOT, 'boot/grub/grub.cfg': '}\n', 'boot/grub/menu.lst': LEGACY }), []],
    ['no file system', () => noise(51_200, 5), []],
  ]
  test('finds the same kernel, ramdisk and command line, or nothing', async () => {
    const runs = DISKS.map(([name, make, args]) => ({ name, image: make(), args }))
    const theirs = runPygrub(runs)
    const differs = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean => (a === undefined || b === undefined ? a !== b : Buffer.compare(a, b) !== 0)
    for (const [i, { name, image, args }] of runs.entries()) {
      const found = await pygrub(new MemoryBlockStore(image, { readOnly: true }), { args }).catch((error: unknown) => {
        expect(error).toMatchObject({ code: 'INVALID_IMAGE' })
        return undefined
      })
      const wanted = theirs[i]
      expect([name, found !== undefined, found?.commandLine]).toEqual([name, wanted !== undefined, wanted?.args])
      expect([name, differs(found?.kernel, wanted?.kernel), differs(found?.ramdisk?.bytes, wanted?.ramdisk)]).toEqual([name, false, false])
    }
    expect(theirs.filter((found) => found !== undefined)).toHaveLength(17)
  })
})

const withoutTools = whyNoImages()
describe.skipIf(withoutTools !== undefined)(`a boot loader${withoutTools ?? ''}`, () => {
  const config = (over: object) => resolveDomainOptions({ name: 'x', bootloader: 'pygrub', disks: ['/disk,raw,xvda,w'], ...over })
  const bytes = withoutTools === undefined ? small({ ...BOOT, 'boot/grub/grub.cfg': GRUB_CFG }) : new Uint8Array()
  const image = () => new MemoryBlockStore(bytes, { readOnly: true })
  const run = (over: object) => runBootloader(config(over), { openDisk: image })

  test('gets what libxl would give it', async () => {
    expect(await run({ commandLine: 'extra', bootloaderArgs: ['-q', '--entry=1'] })).toMatchObject({ path: '/boot/vmlinuz-2', commandLine: 'root=/dev/xvda1 ro extra' })
    expect(await run({ kernel: '/boot/vmlinuz-1', commandLine: 'just this' })).toMatchObject({ path: '/boot/vmlinuz-1', commandLine: 'just this', ramdisk: undefined })
    expect(await run({ bootloader: '/usr/lib/xen/bin/pygrub', bootloaderArgs: ['--entry', 'Two', '--runas=5'] })).toMatchObject({ path: '/boot/vmlinuz-2' })
    expect(await run({ bootloader: undefined })).toBeUndefined()
  })

  test.each<[object, object]>([
    [{ bootloader: '/usr/bin/grub' }, { code: 'NOT_SUPPORTED', message: /boot loader `\/usr\/bin\/grub` is not supported, only pygrub/ }],
    [{ bootloader: 'mypygrub' }, { code: 'NOT_SUPPORTED' }],
    [{ disks: [] }, { code: 'INVALID_CONFIG', message: /needs a disk to read, and the domain's first one is not there/ }],
    [{ disks: [',hdc:cdrom,r'] }, { code: 'INVALID_CONFIG', message: /is empty/ }],
    [{ kernel: new Uint8Array(4) }, { code: 'INVALID_CONFIG', message: /kernel must be a path in the domain's own disk/ }],
    [{ bootloaderArgs: ['--verbose'] }, { code: 'INVALID_CONFIG', message: /pygrub has no argument `--verbose`/ }],
    [{ bootloaderArgs: ['--offset=x'] }, { code: 'INVALID_CONFIG', message: /offset `x` is no number/ }],
    [{ bootloaderArgs: ['--offset=512'] }, { code: 'INVALID_IMAGE', message: /at byte 512: disk image: there is no ext2, ext3 or ext4/ }],
    [{ bootloaderArgs: ['--offset=99999999999'] }, { code: 'INVALID_IMAGE' }],
    [{ kernel: '/boot' }, { code: 'INVALID_IMAGE', message: /path \/boot is no file/ }],
    [{ kernel: '/nothing' }, { code: 'INVALID_IMAGE', message: /kernel \/nothing .* is not there/ }],
  ])('%j is refused by name', async (over, expected) => {
    const { message, ...rest } = expected as { message?: RegExp }
    await expect(run(over)).rejects.toMatchObject({ ...rest, ...(message === undefined ? {} : { message: expect.stringMatching(message) }) })
  })

  test('lets the disk go whatever happens, and stops when it is told to', async () => {
    let closed = 0
    const openDisk = () => Object.assign(image(), { close: () => { closed += 1 } })
    await runBootloader(config({}), { openDisk })
    await expect(runBootloader(config({ kernel: '/nothing' }), { openDisk })).rejects.toThrow()
    await expect(runBootloader(config({}), { openDisk, signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' })
    expect(closed).toBe(3)
  })

  test('a damaged partition table leads nowhere else', async () => {
    const disk = partitionedDisk('gpt', [{ start: 2048, contents: bytes }])
    const random = new SeededRandom(8)
    for (let round = 0; round < 60; round += 1) {
      const damaged = disk.slice()
      for (let flips = 0; flips < 6; flips += 1) {
        const place = [446 + (random.next() % 66), 512 + (random.next() % 92), 1024 + (random.next() % 512)][random.next() % 3]!
        damaged[place] = random.next() & 0xff
      }
      await pygrub(new MemoryBlockStore(damaged, { readOnly: true }), { args: [] }).catch((error: unknown) => {
        expect(error).toMatchObject({ code: 'INVALID_IMAGE' })
      })
    }
  })
})
