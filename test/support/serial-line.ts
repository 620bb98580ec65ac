/**
 * A serial line between two hosts with Linux as dom0: what one writes to its console the other is typed, byte by byte, and the other way
 * round. Each side's shell makes its console raw, says so, and waits for one byte before it begins to speak, and for another before it
 * speaks to people again.
 */
import type { Host } from '../../src/toolstack/index.ts'
import type { Dom0Shell } from './dom0.ts'

/** Virtual time in which both go on before what they have said is heard, and in which commands end that have nothing more to say. */
const [STEP, LAST_STEP] = [5_000_000, 2_000_000_000] as const

/** Linux takes this byte on its console for the beginning of a SysRq, and two of them for one. */
const SYSRQ = 0x0f

/** What has been said and not been typed at the other side yet. */
class Direction {
  private waiting: Uint8Array[] = []
  private readonly to: Host
  readonly cut: () => void

  constructor(from: Host, to: Host) {
    this.to = to
    this.cut = from.console.events.on('output', ({ bytes }) => { this.waiting.push(Uint8Array.from([...bytes].flatMap((byte) => (byte === SYSRQ ? [byte, byte] : [byte])))) })
  }

  /** Types as much as there is room for. */
  async move(): Promise<void> {
    const all = Buffer.concat(this.waiting)
    const count = Math.min(all.length, this.to.hypervisor.consoleRoom())
    this.waiting = count === all.length ? [] : [all.subarray(count)]
    if (count > 0) await this.to.console.write(all.subarray(0, count))
  }
}

/** Both go on for a while. */
const goOn = (hosts: readonly Host[], time: number): Promise<unknown> => Promise.all(hosts.map((host) => {
  const end = host.now() + time
  return host.until('a while', () => host.now() >= end)
}))

/** A command that is to speak over the line; the shell is on the console. */
const raw = (command: string): string => `stty raw -echo; echo "line:"'up'; dd bs=1 count=1 of=/dev/null 2>/dev/null; ${command}; dd bs=1 count=1 of=/dev/null 2>/dev/null; stty sane; echo "line:"'down'\r`

/** Runs a command on each side, whose input and output are the line, until something is so on both hosts together. */
export async function overSerialLine(
  [one, other]: readonly [one: Dom0Shell, other: Dom0Shell], [first, second]: readonly [first: string, second: string], isDone: () => boolean,
): Promise<void> {
  const [here, there] = [one.host, other.host]
  await Promise.all([[here, first] as const, [there, second] as const].map(async ([{ console }, command]) => {
    await console.write(raw(command))
    await console.waitFor('line:up\n', { timeout: '20s' })
  }))
  const directions = [new Direction(here, there), new Direction(there, here)]
  try {
    // Whoever listens begins, as its partner's first words would be lost on it.
    for (const { console } of [there, here]) await console.write('g')
    while (!isDone()) {
      await goOn([here, there], STEP)
      for (const direction of directions) await direction.move()
    }
  } finally {
    for (const direction of directions) direction.cut()
  }
  await goOn([here, there], LAST_STEP)
  await Promise.all([here, there].map(async ({ console }) => {
    await console.write('g')
    await console.waitFor('line:down\n', { timeout: '20s' })
    await console.waitFor(/dom0# $/, { timeout: '10s' })
  }))
}
