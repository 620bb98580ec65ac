/**
 * The four live migrations of Clark et al. (NSDI 2005) as guests that write memory as those did, moved in virtual time over a modelled link of 1 Gbit/s: two hosts
 * on one clock that moves by what the link carries. Each guest rewrites a hot set and sweeps over a larger one at rates that follow the paper's figures of rounds; what
 * comes of it depends on when pages are sent, and so on our rounds and limits.
 */
import { Host, transportPair, type Domain, type HeldHost, type MigrationTransport } from '../../../src/toolstack/index.ts'
import { ELFNOTE } from '../../../src/abi/index.ts'
import { assemble } from '../../support/assembler.ts'
import { makeElf } from '../../support/elf-image.ts'

/** One of the paper's guests. Sizes in MiB, rates in MiB a second. */
export interface PaperProfile {
  readonly name: string
  readonly memory: number
  readonly hot: number
  readonly hotRate: number
  readonly sweep: number
  readonly sweepRate: number
  /** What the paper has: data over memory, where it says so, and downtime in milliseconds. */
  readonly factor: number | undefined
  readonly downtime: number
}

/** The profiles. */
export const PAPER_PROFILES: readonly PaperProfile[] = [
  { name: 'static web server', memory: 800, hot: 2, hotRate: 20, sweep: 128, sweepRate: 4, factor: 1.2, downtime: 165 },
  { name: 'SPECweb99', memory: 800, hot: 14, hotRate: 160, sweep: 400, sweepRate: 16, factor: 1.37, downtime: 210 },
  { name: 'Quake 3 server', memory: 64, hot: 0.5, hotRate: 8, sweep: 24, sweepRate: 3, factor: 1.25, downtime: 60 },
  { name: 'memory muncher', memory: 512, hot: 256, hotRate: 600, sweep: 300, sweepRate: 4, factor: undefined, downtime: 3500 },
]

/** What a migration came to, in virtual time. */
export interface PaperFigures {
  readonly factor: number
  /** Milliseconds. */
  readonly downtime: number
  readonly total: number
  readonly rounds: number
}

/** Bytes a second that TCP leaves of 1 Gbit/s. */
const BANDWIDTH = 117.5e6
/** Nanoseconds for a message to arrive. */
const LATENCY = 100_000
/** Instructions a second: the guests have little to do. */
const SPEED = 20e6
/** Ticks a second of a guest's. */
const TICKS = 100
const ENTRY = 0x10_0000
const MEMORY = 0x40_0000
const PAGES_PER_MIB = 256

/** A kernel that fills its memory and then writes as the profile says. */
function kernelOf({ memory, hot, hotRate, sweep, sweepRate }: PaperProfile): Uint8Array {
  const pages = (mebibytes: number): number => Math.max(1, Math.round(mebibytes * PAGES_PER_MIB))
  const [hotWrites, sweepWrites] = [pages(hotRate / TICKS), pages(sweepRate / TICKS)]
  const rest = Math.max(1, Math.floor((SPEED / TICKS - (hotWrites + sweepWrites) * 6) / 2))
  const endOf = (mebibytes: number): number => MEMORY + pages(mebibytes) * 4096
  const writes = (cursor: string, count: number, end: number): string => `
        mov $${count},%ecx
    1:  incl (${cursor})
        add $4096,${cursor}
        cmp $${end},${cursor}
        jb 2f
        mov $${MEMORY},${cursor}
    2:  dec %ecx
        jne 1b`
  const code = assemble(`
        mov $${MEMORY},%edi
        mov $${pages(memory - 8)},%ecx
    1:  mov %edi,(%edi)
        add $4096,%edi
        dec %ecx
        jne 1b
        mov $${MEMORY},%edi
        mov $${MEMORY},%esi
    9:${writes('%edi', hotWrites, endOf(hot))}${writes('%esi', sweepWrites, endOf(sweep))}
        mov $${rest},%ecx
    3:  dec %ecx
        jne 3b
        jmp 9b
  `, { origin: ENTRY, codeSize: 32 })
  return makeElf({
    entry: BigInt(ENTRY), segments: [{ address: ENTRY, bytes: code, flags: 7 }],
    notes: [{ type: ELFNOTE.PHYS32_ENTRY, value: new Uint8Array(new Uint32Array([ENTRY]).buffer) }],
  })
}

/** The link: what is written takes its time, in which both hosts run. */
class Link {
  readonly ends: readonly [MigrationTransport, MigrationTransport]
  private readonly waiting: { readonly size: number; carried(): void }[] = []
  carried = 0

  constructor() {
    const { ends: [near, far] } = transportPair()
    const slow = ({ readable, writable }: MigrationTransport): MigrationTransport => {
      const inner = writable as { write(chunk: Uint8Array): Promise<void>; close(): void; abort(reason: unknown): void }
      return {
        readable,
        writable: {
          write: async (chunk: Uint8Array) => {
            await new Promise<void>((resolve) => this.waiting.push({ size: chunk.length, carried: resolve }))
            await inner.write(chunk)
          },
          close: () => inner.close(), abort: (reason: unknown) => inner.abort(reason),
        },
      }
    }
    this.ends = [slow(near), slow(far)]
  }

  /** Carries what waits; nanoseconds that it took. Undefined where nothing waits. */
  async carry(run: (nanoseconds: number) => Promise<void>): Promise<boolean> {
    const next = this.waiting.shift()
    if (next === undefined) return false
    this.carried += next.size
    await run((next.size / BANDWIDTH) * 1e9 + (next.size < 4096 ? LATENCY : 0))
    next.carried()
    return true
  }
}

const settle = async (): Promise<void> => { for (let i = 0; i < 3; i += 1) await new Promise((resolve) => setImmediate(resolve)) }

/** Two hosts on one clock. */
async function pair(profile: PaperProfile): Promise<{ readonly hosts: readonly [Host, Host]; readonly held: readonly HeldHost[]; readonly domain: Domain }> {
  const options = { memory: profile.memory + 96, dom0Memory: 16, instructionsPerSecond: SPEED }
  const hosts = [await Host.boot(options), await Host.boot(options)] as const
  const domain = await hosts[0].createDomain({ name: 'paper', type: 'pvh', memory: profile.memory, kernel: kernelOf(profile) })
  return { hosts, held: await Promise.all(hosts.map((host) => host.hold())), domain }
}

/** Moves one of the paper's guests. */
export async function migratePaper(profile: PaperProfile): Promise<PaperFigures> {
  const { hosts: [first, second], held, domain } = await pair(profile)
  let time = 0
  const starts = held.map(({ now }) => now)
  const run = async (nanoseconds: number): Promise<void> => {
    time += nanoseconds
    for (const [i, host] of held.entries()) await host.runTo(starts[i]! + time)
  }
  // It has filled its memory, and gone over its hot set.
  await run(1e9)
  const link = new Link()
  const begun = time
  let [stopped, running, isOver]: [number, number, boolean] = [0, 0, false]
  const receiving = second.receiveMigration(link.ends[1])
  receiving.progress.on('permission-given', () => { running = time })
  const sending = domain.migrate(link.ends[0])
  sending.progress.on('suspended', () => { stopped = time })
  sending.progress.on('running-there', () => { isOver = true })
  const both = Promise.all([sending, receiving])
  both.catch(() => { isOver = true })
  while (!isOver) {
    await settle()
    if (!await link.carry(run)) await run(10_000)
  }
  // What is left to do takes no time that anybody waits for.
  for (const host of held) host.release()
  const [{ rounds }] = await both
  await first.shutdown()
  await second.shutdown()
  return { factor: link.carried / (profile.memory * 2 ** 20), downtime: (running - stopped) / 1e6, total: (running - begun) / 1e6, rounds }
}
