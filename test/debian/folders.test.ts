/**
 * Debian's Linux mounts folders of ours by its own 9p and 9pnet_xen: a folder of this machine, and a tree in memory. What it makes of them is judged by
 * this machine's own file system and by hashes on both sides, and what it cannot reach by a secret that lies beside the folder.
 */
import { createHash } from 'node:crypto'
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { MemoryFileStore } from '../../src/drivers/index.ts'
import { debianGuests, HostFolderStore } from '../../src/node/index.ts'
import { linux, LinuxShell } from '../../src/testing/index.ts'
import type { Host, Moment } from '../../src/toolstack/index.ts'
import { bootLinux, type LinuxGuest } from '../support/linux.ts'
import { GUESTS_FOLDER, whyMissing } from '../support/guests.ts'

const missing = whyMissing('linux', 'linuxModules', 'busybox')
const BOOT = 300_000
const MODULES = ['netfs', 'fscache', '9pnet', '9pnet_xen', '9p'] as const
const md5 = (bytes: Uint8Array): string => createHash('md5').update(bytes).digest('hex')
const mount = (tag: string, place: string, options = ''): string => `mkdir -p ${place} && mount -t 9p -o trans=xen,version=9p2000.L${options} ${tag} ${place}`

/** A Linux with its modules loaded. */
async function start(host: Parameters<typeof bootLinux>[0] = {}): Promise<LinuxGuest> {
  const guests = debianGuests(GUESTS_FOLDER)
  const shell = await bootLinux({ ...host, files: Object.fromEntries(MODULES.map((name) => [`m/${name}.ko`, guests.module(name)])) })
  await shell.ready()
  await shell.run(MODULES.map((name) => `insmod /m/${name}.ko`).join(' && '))
  return shell
}

describe.skipIf(missing !== undefined)(`Debian's Linux${missing ?? ''}`, { timeout: BOOT }, () => {
  const top = mkdtempSync(join(tmpdir(), 'paravirt-folder-'))
  const shared = join(top, 'shared')
  const scratch = new MemoryFileStore({ 'from/the/host': 'made by a test\n' })
  let shell: LinuxGuest
  beforeAll(async () => {
    mkdirSync(join(shared, 'sub'), { recursive: true })
    writeFileSync(join(top, 'secret'), 'nobody may read this\n')
    writeFileSync(join(shared, 'motd'), 'hello from outside\n')
    symlinkSync('../secret', join(shared, 'out'))
    symlinkSync('..', join(shared, 'up'))
    shell = await start({
      host: { openFolder: ({ path }) => (path === 'memory' ? scratch : new HostFolderStore(path, { readOnly: path.endsWith('/sub') })) },
      domain: { folders: [{ tag: 'shared', path: shared }, { tag: 'scratch', path: 'memory' }, { tag: 'fixed', path: join(shared, 'sub') }] },
    })
    for (const [tag, place] of [['shared', '/mnt'], ['scratch', '/scratch'], ['fixed', '/fixed']] as const) await shell.run(mount(tag, place))
  }, BOOT)
  afterAll(async () => {
    await shell?.host.shutdown()
    rmSync(top, { recursive: true })
  })

  test('sees a folder of this machine as it is, and this machine what it writes there', async () => {
    expect(await shell.run('cat /mnt/motd')).toBe('hello from outside')
    expect((await shell.run('ls -a /mnt')).split(/\s+/).sort()).toEqual(['.', '..', 'motd', 'out', 'sub', 'up'])
    await shell.run('echo from the guest >/mnt/written && echo more >>/mnt/written && mkdir /mnt/new && chmod 640 /mnt/written')
    expect(readFileSync(join(shared, 'written'), 'utf8')).toBe('from the guest\nmore\n')
    expect(statSync(join(shared, 'written')).mode & 0o777).toBe(0o640)
    await shell.run('mv /mnt/written /mnt/new/moved && ln -s moved /mnt/new/link && ln /mnt/new/moved /mnt/new/hard && touch -d @1000000000 /mnt/new/moved')
    expect([readlinkSync(join(shared, 'new/link')), lstatSync(join(shared, 'new/hard')).nlink, statSync(join(shared, 'new/moved')).mtimeMs]).toEqual(['moved', 2, 1e12])
    expect(await shell.run('cat /mnt/new/link')).toBe('from the guest\nmore')
    await shell.run('cp -r /mnt/new /mnt/copy && rm /mnt/new/link && truncate -s 4 /mnt/new/hard')
    expect(readdirSync(join(shared, 'copy')).sort()).toEqual(['hard', 'link', 'moved'])
    expect(readFileSync(join(shared, 'new/moved'), 'utf8')).toBe('from')
    await shell.run('rm -r /mnt/new /mnt/copy')
    expect(existsSync(join(shared, 'new'))).toBe(false)
  })

  test.each([['/mnt', 'this machine'], ['/scratch', 'memory']])('moves 8 MiB to and from %s, in %s, with the same hash, and says how much room there is', async (place) => {
    const written = await shell.run(`dd if=/dev/urandom of=/tmp/r bs=64k count=128 2>/dev/null && dd if=/tmp/r of=${place}/r bs=96k 2>/dev/null && md5sum </tmp/r`)
    expect(await shell.run(`echo 3 >/proc/sys/vm/drop_caches; md5sum <${place}/r`)).toBe(written)
    const bytes = place === '/mnt' ? readFileSync(join(shared, 'r')) : scratch.contents(['r'])
    expect(written).toContain(md5(bytes))
    expect(await shell.run(`df -m ${place} | tail -1`)).toMatch(new RegExp(`\\d+ +\\d+ +\\d+ +\\d+% ${place}`))
    await shell.run(`rm ${place}/r /tmp/r`)
  })

  test('works on many files as a checkout does: made, listed, changed, compared, packed, removed', async () => {
    await shell.run('mkdir /mnt/tree; for d in $(seq 6); do mkdir /mnt/tree/$d; for f in $(seq 15); do echo "$d of $f" >/mnt/tree/$d/$f; done; done')
    expect(readdirSync(join(shared, 'tree')).flatMap((folder) => readdirSync(join(shared, 'tree', folder))).length).toBe(90)
    expect(await shell.run('cat $(find /mnt/tree -type f) | wc -l')).toBe('90')
    await shell.run('tar cf /scratch/tree.tar -C /mnt tree && mkdir /scratch/x && tar xf /scratch/tree.tar -C /scratch/x && diff -r /mnt/tree /scratch/x/tree')
    await shell.run('sed -i s/of/out-of/ /mnt/tree/5/13')
    expect(readFileSync(join(shared, 'tree/5/13'), 'utf8')).toBe('5 out-of 13\n')
    await shell.run('rm -r /mnt/tree /scratch/x /scratch/tree.tar')
    expect(await shell.run('find /scratch | sort')).toBe('/scratch\n/scratch/from\n/scratch/from/the\n/scratch/from/the/host')
  })

  test('goes on with a file whose name was taken away while it is open', async () => {
    await shell.run('exec 5>/scratch/open; echo kept >&5; rm /scratch/open; echo more >&5')
    expect([await shell.run('ls /scratch'), scratch.save().nodes.map(({ bytes }) => bytes?.length)]).toEqual(['from', expect.arrayContaining([10])])
    await shell.run('exec 5>&-')
    expect(scratch.save().nodes.map(({ bytes }) => bytes?.length)).not.toContain(10)
  })

  test('cannot leave the folder: not by dots, not by links, not by devices, and not by what is read-only', async () => {
    expect(await shell.run('cat /mnt/../../../secret 2>&1', { status: 1 })).toContain('No such file')
    // Links lead where they lead in the guest's own tree.
    expect(await shell.run('cat /mnt/out 2>&1', { status: 1 })).toContain('No such file')
    expect(await shell.run('ls /mnt/up/')).not.toContain('secret')
    await shell.run('ln -s /etc/passwd /mnt/absolute && ln -s ../../secret /mnt/sub/relative')
    expect(await shell.run('cat /mnt/absolute /mnt/sub/relative 2>&1', { status: 1 })).not.toContain('nobody may')
    expect(readlinkSync(join(shared, 'absolute'))).toBe('/etc/passwd')
    expect(await shell.run('mknod /mnt/device c 1 1 2>&1', { status: 1 })).toContain('Operation not permitted')
    expect(await shell.run('mkfifo /mnt/pipe 2>&1', { status: 1 })).toContain('Operation not permitted')
    await shell.run('cp /bin/busybox /mnt/own && chmod 4755 /mnt/own')
    expect(statSync(join(shared, 'own')).mode & 0o7777).toBe(0o755)
    expect(await shell.run('echo no >/fixed/new 2>&1', { status: 1 })).toContain('Read-only file system')
    expect(await shell.run('chown 1000 /mnt/own 2>&1', { status: 1 })).toContain('Operation not permitted')
    expect(readFileSync(join(top, 'secret'), 'utf8')).toBe('nobody may read this\n')
    await shell.run('rm /mnt/own /mnt/absolute /mnt/sub/relative')
  })

  test('keeps its host from being saved as it stands by a mounted folder of this machine, which is named, and goes on', async () => {
    await shell.run('exec 6>/mnt/open; echo before >&6')
    await expect(shell.host.checkpoint()).rejects.toMatchObject({ code: 'BUSY', message: expect.stringMatching(/the folder (?:shared|fixed) of domain 1/) as string })
    await shell.run('echo behind >&6; exec 6>&-; sync')
    expect(readFileSync(join(shared, 'open'), 'utf8')).toBe('before\nbehind\n')
    await shell.run('rm /mnt/open')
  })

  test('is counted, and lets a folder go and takes another while it runs', async () => {
    const { domain } = shell
    const [first] = domain.devices().filter(({ kind }) => kind === '9pfs')
    expect(first).toMatchObject({ name: 'shared', backendStateName: 'Connected', frontendStateName: 'Connected', facts: { path: shared } })
    expect(first!.statistics!['requests']).toBeGreaterThan(0)
    await shell.run('umount /fixed')
    await domain.detachDevice('9pfs', 'fixed')
    expect(domain.devices().map(({ name }) => name)).toEqual(['shared', 'scratch'])
    // Until Linux has seen it go.
    await shell.run('sleep 1')
    await domain.attachDevice('9pfs', { tag: 'again', path: 'memory' })
    expect(await shell.run(`for i in $(seq 20); do ${mount('again', '/again')} && break; sleep 0.1; done; ls /again`)).toBe('from')
    expect(await shell.run('cat /mnt/motd')).toBe('hello from outside')
    expect(shell.host.hypervisor.checkInvariants()).toEqual([])
  })
})

describe.skipIf(missing !== undefined)(`a fixture with folders${missing ?? ''}`, { timeout: BOOT }, () => {
  const debian = missing === undefined ? linux({ guests: debianGuests(GUESTS_FOLDER), files: { '/mnt': { 'etc/motd': 'from a tree\n', run: { contents: '#!/bin/sh\necho it ran\n', mode: 0o755 } } } }) : undefined
  const started = (): Promise<LinuxShell> => debian!.start()

  test('has its tree mounted, and each start has one of its own', async () => {
    await using one = await started()
    expect(await one.run('cat /mnt/etc/motd; /mnt/run')).toBe('from a tree\nit ran')
    await one.run('echo changed >/mnt/etc/motd')
    await using other = await started()
    expect(await other.run('cat /mnt/etc/motd')).toBe('from a tree')
  })

  test('goes back to a moment with what was written since, in open files too', async () => {
    await using shell = await started()
    await shell.run('exec 7>>/mnt/log; echo before >&7')
    const moment: Moment<Host> = await shell.host.checkpoint()
    await shell.run('echo after >&7; mkdir /mnt/later')
    expect(await shell.run('cat /mnt/log; ls -1 /mnt')).toBe('before\nafter\netc\nlater\nlog\nrun')
    await shell.host.reset(moment)
    // A host that stands anew is asked anew.
    const again = new LinuxShell(shell.host, shell.host.domain('linux'), { terminal: 'wide' })
    expect(await again.run('echo again >&7; cat /mnt/log; ls -1 /mnt')).toBe('before\nagain\netc\nlog\nrun')
    await moment.dispose()
  })
})
