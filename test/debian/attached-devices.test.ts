/** Devices that come to Debian's Linux while it runs: a channel as a console of its own name, a screen with its keyboard. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { debianGuests, folderCache } from '../../src/node/index.ts'
import { Host } from '../../src/index.ts'
import { linux, LinuxShell } from '../../src/testing/index.ts'
import { GUESTS_FOLDER, whyMissing } from '../support/guests.ts'
import { LINUX_FILES } from '../support/linux.ts'

const noLinux = whyMissing(...LINUX_FILES)

const folder = mkdtempSync(join(tmpdir(), 'paravirt-devices-'))
afterAll(() => rmSync(folder, { recursive: true }))
/** Booted once. */
const debian = noLinux === undefined ? linux({ guests: debianGuests(GUESTS_FOLDER), cache: folderCache(folder), memory: 192, modules: ['evdev'] }) : undefined

test.skipIf(noLinux !== undefined)(`Debian's Linux has a channel as /dev/hvc1, with a state of its own on each branch${noLinux ?? ''}`, { timeout: 600_000 }, async () => {
  for (const word of ['one', 'two']) {
    const shell = await debian!.start()
    const { domain } = shell
    await domain.attachDevice('console', 'connection=pty,name=org.example.agent')
    const channel = domain.channel('org.example.agent')
    await shell.run('mount -t devtmpfs dev /dev 2>/dev/null; until [ "$(cat /sys/bus/xen/devices/console-1/state 2>/dev/null)" = Connected ]; do sleep 0.1; done; exec 3<>/dev/hvc1; stty raw -echo <&3')
    await shell.run(`echo guest says ${word} >&3`)
    await channel.waitFor(`guest says ${word}`, { timeout: '5s' })
    await channel.write(`host says ${word}\n`)
    expect(await shell.run('head -n 1 <&3; cat /sys/bus/xen/devices/console-1/modalias')).toBe(`host says ${word}\nxen:console`)
    expect(channel.text()).toBe(`guest says ${word}\n`)
    expect(domain.devices()).toMatchObject([{ kind: 'console', backendStateName: 'Connected', frontendStateName: 'Connected' }])
    await domain.detachDevice('console', 1)
    expect(await shell.run('ls /sys/bus/xen/devices')).not.toContain('console-1')
    await shell.host.shutdown()
  }
})

test.skipIf(noLinux !== undefined)(`Debian's Linux draws on a screen, byte for byte, and hears its keyboard and pointer${noLinux ?? ''}`, { timeout: 600_000 }, async () => {
  const shell = await debian!.start()
  const { domain, host } = shell
  await domain.attachDevice('vkbd', {})
  await domain.attachDevice('vfb', 'vnc=0')
  await shell.run('mount -t devtmpfs dev /dev 2>/dev/null; until [ -c /dev/fb0 ] && [ -c /dev/input/event1 ]; do sleep 0.1; done')
  const screen = domain.screen()
  expect(screen.size).toEqual({ width: 800, height: 600 })
  // The text console writes there by itself: a word in its first row is more than its ground.
  await shell.run('echo 0 > /sys/class/graphics/fbcon/cursor_blink; printf "\\033c\\033[?25l" > /dev/tty1; sleep 0.3')
  const blank = screen.picture()
  expect(new Set(blank.pixels)).toEqual(new Set([0, 255]))
  await shell.run('echo Debian > /dev/tty1; sleep 0.3')
  const inked = (picture: typeof blank): number[] => [...picture.pixels].flatMap((byte, at) => (at % 4 === 0 && byte > 0 ? [at / 4] : []))
  const places = inked(screen.picture())
  expect(places.length).toBeGreaterThan(50)
  // Six characters of 8 x 16.
  expect([Math.max(...places.map((at) => at % 800)) < 48, Math.max(...places.map((at) => Math.floor(at / 800))) < 16]).toEqual([true, true])
  expect(screen.statistics!.updates).toBeGreaterThan(1)
  // Bytes that nobody here has made, as they stand in a program's file.
  await shell.run('head -c 1920000 /bin/busybox > /dev/fb0; sleep 0.3')
  const busybox = debianGuests(GUESTS_FOLDER).busybox
  const { pixels } = screen.picture()
  const wrong = Array.from({ length: 480_000 }, (_, at) => at).filter((at) => [0, 1, 2].some((of) => pixels[at * 4 + of] !== busybox[at * 4 + 2 - of]))
  expect(wrong).toEqual([])
  // What is typed comes out of the text console, with the keyboard's layout and its Shift.
  await shell.run('head -n 1 < /dev/tty1 > /typed & dd if=/dev/input/event1 of=/moved bs=24 count=7 2>/dev/null & sleep 0.2')
  screen.type('Hello, World_42\n')
  expect(await shell.run('until [ -s /typed ]; do sleep 0.1; done; cat /typed')).toBe('Hello, World_42')
  screen.click(123, 45)
  // Events of 24 bytes: type, code and value stand behind the time.
  const moved = (await shell.run('until [ $(stat -c %s /moved) -ge 168 ]; do sleep 0.1; done; od -An -v -t u2 -w24 /moved')).trim().split('\n').map((line) => line.trim().split(/\s+/).slice(8, 11).join(' '))
  expect(moved).toEqual(['3 0 123', '3 1 45', '0 0 0', '1 272 1', '0 0 0', '1 272 0', '0 0 0'])
  // A moment has the screen as it stands, and a branch goes on by itself.
  const then = Buffer.from(screen.picture().pixels)
  const moment = await host.checkpoint()
  const branch = await moment.branch()
  const twin = branch.domain('linux').screen()
  expect(Buffer.compare(Buffer.from(twin.picture().pixels), then)).toBe(0)
  await shell.run('head -c 1920000 /dev/zero > /dev/fb0; sleep 0.2')
  expect([new Set(screen.picture().pixels), Buffer.compare(Buffer.from(twin.picture().pixels), then)]).toEqual([new Set([0, 255]), 0])
  await branch.shutdown()
  // Saved and restored, it connects both anew.
  await shell.run('head -c 1920000 /bin/busybox > /dev/fb0; sleep 0.2')
  const pieces: Uint8Array[] = []
  await domain.save({ write: (bytes) => void pieces.push(bytes.slice()) })
  await host.shutdown()
  const target = await Host.boot({ memory: 256, dom0Memory: 16 })
  const back = await target.restore(new Uint8Array(Buffer.concat(pieces)))
  await target.until('both to be connected', () => back.devices().length === 2 && back.devices().every(({ frontendState, backendState }) => frontendState === 4 && backendState === 4))
  // What Linux says of its freezing it draws into the upper half.
  const rows = { x: 0, y: 300, width: 800, height: 300 }
  const seen = back.screen().picture(rows).pixels
  expect(Array.from({ length: 240_000 }, (_, at) => at).filter((at) => [0, 1, 2].some((of) => seen[at * 4 + of] !== busybox[(at + 240_000) * 4 + 2 - of]))).toEqual([])
  const again = new LinuxShell(target, back, { terminal: 'wide' })
  await again.run('(head -n 1 < /dev/tty1 > /more &); sleep 0.2')
  back.screen().type('Still there\n')
  expect(await again.run('until [ -s /more ]; do sleep 0.1; done; cat /more')).toBe('Still there')
  for (const kind of ['vfb', 'vkbd'] as const) await back.detachDevice(kind, 0, { force: true })
  expect(target.hypervisor.checkInvariants()).toEqual([])
  await target.shutdown()
})
