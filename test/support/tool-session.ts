/**
 * A session with Xen's own tools in Linux as dom0: what they print and what they ask of the hypervisor, held against the same session on
 * real Xen. What differs becomes lines of a report, which a test compares with the one that is explained.
 */
import type { Dom0Shell } from './dom0.ts'
import { callName } from './hypercall-census.ts'
import { sequenceOf, type CapturedCommand } from './tool-capture.ts'
import { listDifferences, outputDifferences } from './tool-transcript.ts'

/** Calls that only tools make, and no kernel for itself. */
const BY_TOOLS = /^(?:domctl|sysctl)\/|^memory_op\/(?:claim_pages|set_memory_map|acquire_resource|maximum_ram_page|maximum_gpfn|machphys_mfn_list)$/

/** A command with what it is held against. */
export interface Expected {
  readonly command: string
  /** What it printed on real Xen; undefined where that was not recorded. */
  readonly output?: string | undefined
  readonly calls?: CapturedCommand | undefined
}

/** The session. */
export class ToolSession {
  readonly shell: Dom0Shell
  /** What differs, under the command: `- ` what only real Xen has, then `+ ` what only this host has. */
  readonly differences: string[] = []
  /** How many commands were held against real Xen's output and calls. */
  readonly compared = { outputs: 0, calls: 0 }

  constructor(shell: Dom0Shell) {
    this.shell = shell
  }

  /** Types a command and notes what differs; resolves with what it printed. */
  async type({ command, output, calls }: Expected): Promise<string> {
    const names: string[] = []
    const stop = this.shell.host.hypervisor.events.on('hypercall', ({ number, sub }) => {
      const name = callName(number, sub)
      if (BY_TOOLS.test(name)) names.push(name)
    })
    const answer = await this.shell.ask(command, { piped: true })
    stop()
    const printed = answer.output.trimEnd() + (answer.status === 0 ? '' : `\n[exit status ${answer.status}]`)
    const found: string[] = []
    if (output !== undefined) {
      this.compared.outputs += 1
      found.push(...outputDifferences(output, printed))
    }
    if (calls !== undefined) {
      this.compared.calls += 1
      found.push(...listDifferences(sequenceOf(calls.calls.map(({ name }) => name).filter((name) => BY_TOOLS.test(name))), sequenceOf(names)))
    }
    if (found.length > 0) this.differences.push(`dom0# ${command}`, ...found.filter((line) => line.startsWith('-')), ...found.filter((line) => line.startsWith('+')))
    return printed
  }
}
