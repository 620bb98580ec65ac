/** Debian's Linux as dom0 with Xen's own tools, at its shell: commands are typed at the host's console and answered. */
import { readFileSync } from 'node:fs'
import { CONSOLEIO, EVTCHNOP, GNTTABOP, HYPERVISOR, PHYSDEVOP, VCPUOP, XENMEM, XENVER } from '../../src/abi/index.ts'
import { optionalDecompressor } from '../../src/decompress/index.ts'
import { debianDom0 } from '../../src/node/index.ts'
import { Host, MemoryFiles, type Dom0Services } from '../../src/toolstack/index.ts'
import { GUESTS_FOLDER } from './guests.ts'

type HypercallName = keyof typeof HYPERVISOR

/** The shell's prompt, at the end of what is shown. */
const PROMPT = /dom0# $/
const MINI = new URL('../../examples/guests/mini/', import.meta.url)

/** Description files in its folder, and the kernels that they name. */
const FILES = {
  'root/mini.elf': readFileSync(new URL('mini.elf', MINI)),
  'root/a.cfg': 'name = "a"\nkernel = "/root/mini.elf"\nmemory = 32\nmaxmem = 64\nvcpus = 1\nextra = "hello"\n',
  'root/small.cfg': 'name = "small"\nkernel = "/root/mini.elf"\nmemory = 5\nmaxmem = 5\n',
  // Stands where ssh does for `xl migrate -s`: its input and output are the serial line.
  'root/line': '#!/bin/sh\ndd bs=4096 </dev/hvc0 2>/dev/null &\ntrap "kill $!" EXIT\ndd bs=4096 >/dev/hvc0 2>/dev/null\n',
}

/** What a command has printed, and how it ended. */
export interface Answer {
  readonly output: string
  readonly status: number
}

/** Hypercalls whose first argument names what is to be done. */
const OPERATIONS: Readonly<Partial<Record<HypercallName, Readonly<Record<string, number>>>>> = {
  memory_op: XENMEM, physdev_op: PHYSDEVOP, event_channel_op: EVTCHNOP, vcpu_op: VCPUOP, grant_table_op: GNTTABOP, console_io: CONSOLEIO, xen_version: XENVER,
}

/** Counts the hypercalls of a host by what they are about, those that are refused apart, until its kernel starts user space. */
function countCalls(host: Host): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  const names = new Map(Object.entries(HYPERVISOR).map(([name, number]) => [number as number, name as HypercallName]))
  let isOver = false
  // Linux writes sixteen bytes at a time.
  let seen = ''
  host.console.events.on('output', ({ bytes }) => {
    seen = (seen + new TextDecoder().decode(bytes)).slice(-64)
    isOver ||= seen.includes('Run /init')
  })
  host.hypervisorEvents.on('hypercall', ({ number, sub, result }) => {
    if (isOver) return
    const name = names.get(number)!
    const operation = Object.entries(OPERATIONS[name] ?? {}).find(([, value]) => value === sub)?.[0]
    const key = `${name}${operation === undefined ? '' : ` ${operation}`}${result < 0 && result > -4096 ? ` = ${result}` : ''}`
    counts.set(key, (counts.get(key) ?? 0) + 1)
  })
  return counts
}

/** How its host is booted. */
export interface Dom0ShellOptions {
  readonly memory?: number
  readonly dom0Memory?: number
  /** Xen's command line, where it is booted from a grub.conf. */
  readonly xen?: string
  readonly vcpus?: number
  readonly cpus?: number
  readonly files?: Readonly<Record<string, string | Uint8Array>>
  readonly services?: Dom0Services
}

/** A shell in dom0. */
export class Dom0Shell {
  readonly host: Host
  /** Hypercalls that the kernel has made before user space, see {@link countCalls}. */
  readonly calls: ReadonlyMap<string, number>
  private asked = 0

  constructor(host: Host) {
    this.host = host
    this.calls = countCalls(host)
  }

  /** Boots a host, up to the shell. */
  static async boot({ vcpus = 1, cpus = 2, memory = 1024, dom0Memory = 512, xen, files = FILES, services = 'dom0' }: Dom0ShellOptions = {}): Promise<Dom0Shell> {
    const dom0 = debianDom0({ folder: GUESTS_FOLDER, files, services })
    const options = { memory, cpus, decompress: optionalDecompressor }
    const host = xen === undefined
      ? await Host.boot({ ...options, dom0: { ...dom0, memory: dom0Memory, vcpus } })
      : await Host.bootFromGrub(`title Xen\nkernel /boot/xen.gz ${xen}\nmodule /boot/vmlinuz ${dom0.commandLine}\nmodule /boot/initrd\n`, {
        ...options, files: new MemoryFiles({ '/boot/vmlinuz': dom0.kernel, '/boot/initrd': dom0.ramdisk }),
      })
    const shell = new Dom0Shell(host)
    await host.console.expect({ ready: 'dom0: ready' }, { timeout: '60s', unless: { panic: /Kernel panic|Oops|BUG:/ } })
    await host.console.waitFor(PROMPT, { timeout: '10s' })
    await shell.run('stty cols 2000')
    return shell
  }

  /** Types one command; resolves when it has ended. A command that is `piped` buffers what it prints, as where output is recorded. */
  async ask(command: string, { piped = false }: { readonly piped?: boolean } = {}): Promise<Answer> {
    const { console } = this.host
    const word = `end-${++this.asked}`
    // What is typed is echoed: the word is spelled differently there.
    const [text, ended] = piped ? [`{ ${command}; } 2>&1 | cat`, '${PIPESTATUS[0]}'] : [command, '$?']
    await console.write(`${text}; echo "${word.slice(0, 1)}""${word.slice(1)}:${ended}"\r`)
    await console.waitFor('"\n', { timeout: '10s' })
    const [, output = '', status] = await console.waitFor(new RegExp(`([^]*?)${word}:(\\d+)\\n`), { timeout: '120s' })
    await console.waitFor(PROMPT, { timeout: '10s' })
    // The kernel speaks on the same console.
    return { output: output.replace(/^\[ *\d+\.\d+\] .*\n/gm, ''), status: Number(status) }
  }

  /** The same for a command that must succeed: its output. */
  async run(command: string): Promise<string> {
    const { output, status } = await this.ask(command)
    if (status !== 0) throw new Error(`${command} ended with ${status}:\n${output}`)
    return output
  }

  /** The same shell on a host that has begun where this one's was. */
  at(host: Host): Dom0Shell {
    const shell = new Dom0Shell(host)
    shell.asked = this.asked
    return shell
  }

  /** Ends its host, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.host.shutdown()
  }
}
