/**
 * An editor at a domain: requests of the Debug Adapter Protocol, answered out of the same domain that gdb would have. A vCPU is a thread. There are no lines of source here: what is shown
 * is machine code with the names of functions. How messages come and go is the caller's.
 * Reference: Debug Adapter Protocol 1.68.
 */
import type { DebugProtocol } from '@vscode/debugprotocol'
import { Host, type DomainReference } from '../../toolstack/index.ts'
import { callable, checkOptions, XenError } from '../../util/index.ts'
import { monitor } from '../gdb/monitor.ts'
import { RecordedRun } from '../history/recorded-run.ts'
import { claimDomains } from '../inferior/claims.ts'
import { FreeGround } from '../inferior/free-ground.ts'
import type { Ground } from '../inferior/ground.ts'
import { HeldGround } from '../inferior/held-ground.ts'
import { Inferior } from '../inferior/inferior.ts'
import type { Stop } from '../inferior/stop.ts'
import { addressIn, addressText, argumentsOf, listOf, textOf, wholeOf, type DapArguments } from './dap-arguments.ts'
import { DapBreakpoints, type WantedPlace } from './dap-breakpoints.ts'
import { DapRunner } from './dap-runner.ts'
import { DapValues } from './dap-values.ts'

/** What an editor is to debug. */
export interface DebugTarget {
  readonly host: Host
  readonly domain: DomainReference
  /** A recorded run of the host: the editor can go back in it. */
  readonly run?: RecordedRun | undefined
}

/** What an adapter is made with. */
export interface DebugAdapterOptions {
  /** Makes what the editor asks for: its arguments are those of the launch configuration. */
  readonly launch: (configuration: Readonly<Record<string, unknown>>) => DebugTarget | Promise<DebugTarget>
  /** Sends the editor an event. */
  readonly event: (name: string, body: object) => void
}

/** One editor. */
export interface DebugAdapter {
  /** Answers a request: with the body of the response, or by rejecting with a `XenError`, whose message is for the user. */
  request(command: string, requestArguments?: unknown): Promise<object | undefined>
  /** The editor has gone: the guest goes on. */
  close(): void
}

const CAPABILITIES: DebugProtocol.Capabilities = {
  supportsConfigurationDoneRequest: true, supportsFunctionBreakpoints: true, supportsInstructionBreakpoints: true, supportsDataBreakpoints: true, supportsSteppingGranularity: true,
  supportsDisassembleRequest: true, supportsReadMemoryRequest: true, supportsWriteMemoryRequest: true, supportsSetVariable: true, supportsEvaluateForHovers: true,
  supportsTerminateRequest: true, supportTerminateDebuggee: true, supportsDelayedStackTraceLoading: true,
}

/** What there is once something was launched. */
interface Session {
  readonly target: DebugTarget
  readonly ground: Ground
  readonly inferior: Inferior
  readonly values: DapValues
  readonly breakpoints: DapBreakpoints
  readonly runner: DapRunner
  readonly stopOnEntry: boolean
  leave(): void
}

type Handler = (session: Session, given: DapArguments) => object | undefined | Promise<object | undefined>

const vcpuOf = ({ runner }: Session, given: DapArguments): number => runner.vcpuOf(wholeOf(given, 'threadId'))
/** What wants the guest to stand. */
const standing = (handler: Handler): Handler => (session, given) => {
  if (session.runner.isRunning) throw new XenError('INVALID_STATE', 'notStopped')
  return handler(session, given)
}

function placesOf(session: Session, wanted: readonly DapArguments[]): WantedPlace[] {
  return wanted.map((one) => {
    const name = textOf(one, 'name')
    const address = session.values.addressOf(name)
    return address === undefined ? { address, reason: `nobody knows a function ${name}` } : { address }
  })
}

function instructionsOf(wanted: readonly DapArguments[]): WantedPlace[] {
  return wanted.map((one) => {
    const address = addressIn(textOf(one, 'instructionReference'))
    return address === undefined ? { address, reason: 'no address' } : { address: BigInt.asUintN(64, address + BigInt(wholeOf(one, 'offset', 0))) }
  })
}

const DATA_LENGTH = 8

/** `ADDRESS:LENGTH` out of what can be watched: a number, a symbol, each with a length behind a comma. */
function dataOf({ values }: Session, given: DapArguments): DebugProtocol.DataBreakpointInfoResponse['body'] {
  const name = textOf(given, 'name')
  const [what = '', length = String(DATA_LENGTH)] = name.split(',')
  const address = values.addressOf(what)
  if (address === undefined) return { dataId: null, description: `${name} has no address` }
  return { dataId: `${addressText(address)}:${Number(length) || DATA_LENGTH}`, description: `${length.trim()} bytes at ${addressText(address)}`, accessTypes: ['read', 'write', 'readWrite'], canPersist: true }
}

function watched(one: DapArguments): Parameters<DapBreakpoints['watch']>[0][number] {
  const [at = '', size = ''] = textOf(one, 'dataId').split(':')
  const address = addressIn(at)
  const length = Number(size)
  if (address === undefined || !Number.isInteger(length) || length < 1 || length > 4096) return undefined
  const kind = textOf(one, 'accessType', 'write')
  return { kind: kind === 'read' ? 'read' : kind === 'readWrite' ? 'access' : 'write', address, length }
}

async function evaluate(session: Session, given: DapArguments): Promise<object> {
  const { values, runner, ground, inferior } = session
  const expression = textOf(given, 'expression')
  const frameId = given['frameId'] === undefined ? undefined : wholeOf(given, 'frameId')
  const found = values.evaluate(expression, frameId, runner.vcpu)
  if (found !== undefined) return found
  if (textOf(given, 'context', '') !== 'repl') throw new XenError('INVALID_ARGUMENT', `${expression} is no register, address or symbol`)
  return { result: (await monitor({ ground, domain: inferior.domain, moved: () => inferior.moved(), vcpu: runner.vcpu }, expression)).trimEnd(), variablesReference: 0 }
}

/** Requests by name. What is not here is refused. */
const HANDLERS: Readonly<Record<string, Handler>> = {
  configurationDone: ({ runner, stopOnEntry }) => (stopOnEntry ? runner.stand() : runner.start()),
  setBreakpoints: (_, given) => ({ breakpoints: listOf(given, 'breakpoints').map(() => ({ verified: false, reason: 'failed', message: 'there are no lines: stop at functions, or at instructions in the disassembly' })) }),
  setExceptionBreakpoints: () => ({}),
  setFunctionBreakpoints: (session, given) => session.runner.changing(() => ({ breakpoints: session.breakpoints.set('function', placesOf(session, listOf(given, 'breakpoints'))) })),
  setInstructionBreakpoints: (session, given) => session.runner.changing(() => ({ breakpoints: session.breakpoints.set('instruction', instructionsOf(listOf(given, 'breakpoints'))) })),
  dataBreakpointInfo: (session, given) => dataOf(session, given),
  setDataBreakpoints: (session, given) => session.runner.changing(() => ({ breakpoints: session.breakpoints.watch(listOf(given, 'breakpoints').map(watched)) })),
  threads: ({ runner }) => ({ threads: runner.threads() }),
  stackTrace: standing((session, given) => session.values.stackTrace(vcpuOf(session, given), given)),
  scopes: standing(({ values }, given) => values.scopesOf(given)),
  variables: standing(({ values }, given) => values.variables(given)),
  setVariable: standing(({ values }, given) => values.setVariable(given)),
  readMemory: standing(({ values }, given) => values.readMemory(given)),
  writeMemory: standing(({ values }, given) => values.writeMemory(given)),
  disassemble: standing(({ values }, given) => values.disassemble(given)),
  evaluate: standing(evaluate),
  continue: standing(({ runner }) => {
    runner.start()
    return { allThreadsContinued: true }
  }),
  stepIn: standing((session, given) => session.runner.step('in', vcpuOf(session, given))),
  next: standing((session, given) => session.runner.step('over', vcpuOf(session, given))),
  stepOut: standing((session, given) => session.runner.step('out', vcpuOf(session, given))),
  stepBack: standing((session, given) => session.runner.back(vcpuOf(session, given))),
  reverseContinue: standing(({ runner }) => runner.back(undefined)),
  pause: ({ runner }) => runner.pause(),
}

/** How a stop is told. */
function told({ breakpoints, target, inferior }: Session, stop: Exclude<Stop, { readonly type: 'ended' }>): Omit<DebugProtocol.StoppedEvent['body'], 'threadId'> {
  const { ids, kind } = breakpoints.hit(stop)
  switch (stop.type) {
    case 'breakpoint': return { reason: kind === 'function' ? 'function breakpoint' : kind === 'instruction' ? 'instruction breakpoint' : 'step', hitBreakpointIds: [...ids] }
    case 'watchpoint': return { reason: 'data breakpoint', hitBreakpointIds: [...ids] }
    case 'step': return { reason: 'step' }
    case 'beginning': return { reason: 'entry', description: 'at the beginning of what was recorded' }
    case 'crashed': return { reason: 'exception', description: 'it has crashed', text: inferior.domain?.crash?.message ?? `domain ${String(target.domain)} has crashed` }
    case 'interrupt':
    case 'paused': return { reason: 'pause' }
  }
}

class Adapter implements DebugAdapter {
  private readonly options: DebugAdapterOptions
  private session: Session | undefined
  private isOver = false

  constructor(options: DebugAdapterOptions) {
    this.options = options
  }

  async request(command: string, requestArguments?: unknown): Promise<object | undefined> {
    if (this.isOver) throw new XenError('CLOSED', 'the session has ended')
    const given = argumentsOf(requestArguments)
    switch (command) {
      case 'initialize': return CAPABILITIES
      case 'launch':
      case 'attach': return this.launch(given)
      case 'disconnect': return this.disconnect(given['terminateDebuggee'] === true)
      case 'terminate': return this.disconnect(true)
    }
    const handler = Object.hasOwn(HANDLERS, command) ? HANDLERS[command] : undefined
    if (handler === undefined) throw new XenError('NOT_SUPPORTED', `there is no request ${command} here`)
    if (this.session === undefined) throw new XenError('INVALID_STATE', 'nothing was launched')
    return handler(this.session, given)
  }

  close(): void {
    if (this.isOver) return
    this.isOver = true
    this.session?.leave()
  }

  private async launch(given: DapArguments): Promise<undefined> {
    if (this.session !== undefined) throw new XenError('INVALID_STATE', 'something was launched already')
    const target = await this.options.launch(given)
    const session = this.begin(target, given['stopOnEntry'] !== false)
    this.session = session
    await session.ground.ready
    const { event } = this.options
    const capabilities: DebugProtocol.Capabilities = { supportsStepBack: session.ground.goesBack }
    event('capabilities', { capabilities })
    event('initialized', {})
  }

  private begin(target: DebugTarget, stopOnEntry: boolean): Session {
    const { host, run } = target
    if (!(host instanceof Host)) throw new XenError('INVALID_ARGUMENT', 'launch must give a host')
    if (run !== undefined && !(run instanceof RecordedRun && run.host === host)) throw new XenError('INVALID_ARGUMENT', 'run must be a recorded run of this host')
    const claim = claimDomains(host, 'debugAdapter', target.domain)
    const ground: Ground = run === undefined ? new FreeGround(host) : new HeldGround(run)
    const inferior = new Inferior(claim.domids[0]!, ground)
    ground.take(inferior)
    const values = new DapValues(inferior, ground)
    const breakpoints = new DapBreakpoints(inferior)
    const runner = new DapRunner({ ground, inferior, values, breakpoints, event: this.options.event, told: (stop) => told(session, stop) })
    const release = host.expectInput()
    const decoder = new TextDecoder()
    const output = inferior.domain?.console.events.on('output', ({ bytes }) => this.options.event('output', { category: 'stdout', output: decoder.decode(bytes, { stream: true }) }))
    const leave = (): void => {
      runner.end()
      output?.()
      inferior.clear()
      ground.leave(inferior)
      ground.release()
      claim.leave(inferior.domid)
      release()
    }
    const session: Session = { target, ground, inferior, values, breakpoints, runner, stopOnEntry, leave }
    return session
  }

  private async disconnect(isEnd: boolean): Promise<undefined> {
    const { session } = this
    this.close()
    if (isEnd) await session?.target.host.domains().find(({ id }) => id === session.inferior.domid)?.destroy().catch(() => undefined)
    this.options.event('terminated', {})
  }
}

/**
 * An editor's side of debugging: requests of the Debug Adapter Protocol about one domain, which `launch` makes or finds. Stack, threads, disassembly, memory, registers, breakpoints, steps;
 * with a recorded run also back. Throws INVALID_ARGUMENT. `serveDebugAdapter` of `paravirt/node` speaks the protocol over streams.
 *
 * @example
 * const adapter = debugAdapter({ launch: () => ({ host, domain: 'web' }), event: (name, body) => send(name, body) })
 * await adapter.request('launch', {})
 */
export function debugAdapter(options: DebugAdapterOptions): DebugAdapter {
  checkOptions('debugAdapter', options, { launch: callable, event: callable })
  return new Adapter(options)
}
