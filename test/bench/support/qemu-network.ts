/**
 * The peer of the user-mode network's benchmark: the same Linux and BusyBox in QEMU's TCG, with virtio-net behind QEMU's own user-mode network. The guest
 * says on its serial line when a stream begins and ends.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { busyboxInitramfs } from '../../../src/testing/index.ts'
import { guestFile } from '../../support/guests.ts'
import { whyNoProgram } from '../../support/programs.ts'

/** Modules for virtio-net, in the order in which they are loaded. */
const MODULES = [
  'drivers/virtio/virtio_ring', 'drivers/virtio/virtio', 'drivers/virtio/virtio_pci_legacy_dev', 'drivers/virtio/virtio_pci_modern_dev', 'drivers/virtio/virtio_pci',
  'net/core/failover', 'drivers/net/net_failover', 'drivers/net/virtio_net',
] as const
/** Milliseconds after which it is given up. */
const PATIENCE = 600_000
const MIB = 1 << 20

/** What the guest does, and says in between. */
function script({ down, up }: { readonly down: string; readonly up: string }): string {
  const timed = (name: string, command: string): readonly string[] => [`echo "begin "${name}`, `echo "moved $(${command})"`, `echo "end "${name}`]
  return [
    ...MODULES.map((path) => `insmod /m/${path.split('/').at(-1)}.ko 2>/dev/null`),
    'until ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up 2>/dev/null; do sleep 0.1; done', 'sleep 1',
    ...timed('down', down), ...timed('down', down), ...timed('up', up), ...timed('up', up), 'echo "all d""one"', 'poweroff -f', '',
  ].join('\n')
}

/** MiB a second each way; undefined where there is no QEMU. Rejects when it does not come to its end. */
export async function peerOfQemu(commands: { readonly down: string; readonly up: string }, size: number): Promise<{ readonly down: number; readonly up: number } | undefined> {
  const program = 'qemu-system-x86_64'
  if (whyNoProgram(program, '--version') !== undefined) return undefined
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-network-'))
  const base = `${guestFile('linuxModules')!}/kernel`
  const files = Object.fromEntries(MODULES.map((path) => [`m/${path.split('/').at(-1)}.ko`, readFileSync(`${base}/${path}.ko`)]))
  const initrd = join(folder, 'initrd')
  writeFileSync(initrd, busyboxInitramfs({ busybox: readFileSync(guestFile('busybox')!), files, script: script(commands) }))
  const child = spawn(program, [
    '-accel', 'tcg', '-m', '256', '-nographic', '-no-reboot', '-kernel', guestFile('linux')!, '-initrd', initrd, '-append', 'console=ttyS0 panic=-1 rdinit=/init quiet',
    '-netdev', 'user,id=net', '-device', 'virtio-net-pci,netdev=net',
  ], { stdio: ['ignore', 'pipe', 'ignore'], timeout: PATIENCE })
  const best = { down: 0, up: 0 }
  const begun = { down: 0, up: 0 }
  try {
    await new Promise<void>((resolve, reject) => {
      let line = ''
      const hear = (said: string): void => {
        const [, what, way] = /^(begin|end) (down|up)$/.exec(said) ?? []
        if (said === 'all done') resolve()
        if (what === undefined) return
        const key = way as 'down' | 'up'
        if (what === 'begin') begun[key] = performance.now()
        else best[key] = Math.max(best[key], size / MIB / ((performance.now() - begun[key]) / 1000))
      }
      child.stdout.on('data', (bytes: Buffer) => {
        const lines = (line + bytes.toString('latin1').replaceAll('\r', '')).split('\n')
        line = lines.pop()!
        lines.forEach(hear)
      })
      child.on('error', reject)
      child.on('exit', () => reject(new Error('QEMU has ended before its guest was done')))
    })
    return best
  } finally {
    child.removeAllListeners('exit')
    child.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
}
