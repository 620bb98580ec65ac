/**
 * A pool of hosts behind the XenAPI: what XAPI's clients list, create, start, plug and migrate is done by hosts of this library, and what
 * happens to their domains shows in the records. Each host is booted with the pool's storage, which is memory. Calls come by `call`, from
 * JSON-RPC or XML-RPC. Not here: how they come over HTTP.
 * Reference: xapi-project.github.io, class reference.
 */
import { MemoryBlockStore, type BlockStore } from '../drivers/index.ts'
import { Host, transportPair, type DiskDescription, type Domain, type DomainOptions, type HostOptions, type KernelSource } from '../toolstack/index.ts'
import { checkOptions, listOf, record, SeededRandom, text, XenError, type Check } from '../util/index.ts'
import { Database, NULL_REF, XapiFailure, type XapiRecord, type XapiValue } from './database.ts'
import { genericCall } from './generic.ts'

/** What a pool is made of. */
export interface XapiPoolOptions {
  /** Names of its hosts and what each is booted with; the first is the coordinator. Default: two hosts of 256 MiB. */
  readonly hosts?: readonly { readonly name: string; readonly options?: HostOptions | undefined }[] | undefined
  /** Templates that virtual machines are cloned of: what a domain of theirs is created with. Default: `mini`, the embedded kernel. */
  readonly templates?: Readonly<Record<string, Partial<DomainOptions<KernelSource>>>> | undefined
  /** Who may log in. Default: `root` with `password`. */
  readonly users?: Readonly<Record<string, string>> | undefined
}

/** Carries out one call; its arguments are those behind the session. */
type Method = (...given: never[]) => unknown

const CLASSES = ['pool', 'host', 'VM', 'VBD', 'VIF', 'VDI', 'SR', 'PBD', 'network', 'task', 'session']
/** Calls that a machine takes one at a time. */
const EXCLUSIVE: ReadonlySet<string> = new Set([
  'VM.start', 'VM.start_on', 'VM.clean_shutdown', 'VM.clean_reboot', 'VM.suspend', 'VM.resume', 'VM.resume_on', 'VM.pool_migrate', 'VM.destroy',
])
const MEBIBYTE = 2 ** 20
/** Longest that `event.from` waits, in seconds. */
const LONGEST_WAIT = 60

const isHosts: Check = (value) => listOf(record)(value)
const failureOf = (error: unknown): XapiFailure => {
  if (error instanceof XapiFailure) return error
  if (XenError.is(error, 'ABORTED')) return new XapiFailure('TASK_CANCELLED', error.message)
  if (XenError.is(error, 'OUT_OF_MEMORY')) return new XapiFailure('HOST_NOT_ENOUGH_FREE_MEMORY', error.message)
  if (XenError.is(error)) return new XapiFailure('INTERNAL_ERROR', error.code, error.message)
  return new XapiFailure('INTERNAL_ERROR', error instanceof Error ? error.message : String(error))
}

/** A simulated pool. */
export class XapiPool {
  /** Its hosts by their references. */
  readonly hosts: ReadonlyMap<string, Host>
  private readonly database: Database
  private readonly users: Readonly<Record<string, string>>
  private readonly templates: Readonly<Record<string, Partial<DomainOptions<KernelSource>>>>
  private readonly disks: Map<string, MemoryBlockStore>
  /** Saved memory of suspended machines, by their references. */
  private readonly saved = new Map<string, Uint8Array[]>()
  private readonly sessions = new Set<string>()
  /** What gives the calls of tasks up, by their references. */
  private readonly cancels = new Map<string, AbortController>()
  /** Machines that are being started, moved or stopped, and by which call: another one waits for its turn by itself. */
  private readonly underWay = new Map<string, string>()
  /** What gives the call up that is being begun; whoever begins something long takes it before waiting for anything. */
  private signal: AbortSignal | undefined
  private readonly methods: ReadonlyMap<string, Method>

  private constructor(database: Database, hosts: ReadonlyMap<string, Host>, more: Pick<XapiPool, never> & {
    readonly users: Readonly<Record<string, string>>; readonly templates: XapiPool['templates']; readonly disks: Map<string, MemoryBlockStore>
  }) {
    this.database = database
    this.hosts = hosts
    this.users = more.users
    this.templates = more.templates
    this.disks = more.disks
    this.methods = new Map(Object.entries(this.ownMethods()))
    for (const [ref, host] of hosts) this.follow(ref, host)
  }

  /** Boots the hosts of a pool. Throws INVALID_ARGUMENT, and what booting throws. */
  static async boot(options: XapiPoolOptions = {}): Promise<XapiPool> {
    checkOptions('XapiPool.boot', options, { hosts: isHosts, templates: record, users: record })
    const { hosts: wanted = [{ name: 'host-1' }, { name: 'host-2' }], templates = { mini: {} }, users = { root: 'password' } } = options
    const random = new SeededRandom(wanted.length + 0x78617069)
    const hex = (): string => random.next().toString(16).padStart(8, '0')
    const database = new Database(CLASSES, () => `${hex()}-${hex().slice(4)}-4${hex().slice(5)}-8${hex().slice(5)}-${hex()}${hex().slice(4)}`)
    const disks = new Map<string, MemoryBlockStore>()
    const hosts = new Map<string, Host>()
    for (const [index, { name, options: own = {} }] of wanted.entries()) {
      text(name)
      const host = await Host.boot({ memory: 256, dom0Memory: 16, idle: 'wait', seed: index + 1, ...own, openDisk: ({ params }) => shared(disks, params) })
      hosts.set(database.add('host', {
        name_label: name, name_description: '', hostname: name, address: `10.0.0.${index + 1}`, enabled: true, resident_VMs: [], other_config: {}, tags: [],
        software_version: { product_brand: 'paravirt', product_version: '4.17', xen: '4.17' }, memory_overhead: '0', PBDs: [], metrics: NULL_REF, license_params: {},
      }), host)
    }
    const pool = new XapiPool(database, hosts, { users, templates, disks })
    pool.fill()
    return pool
  }

  /** Ends all hosts. */
  async shutdown(): Promise<void> {
    this.database.wake()
    for (const host of this.hosts.values()) await host.shutdown()
  }

  /** The names of all calls. */
  listMethods(): readonly string[] {
    const generic = CLASSES.filter((name) => name !== 'session').flatMap((name) => ['get_all', 'get_all_records', 'get_record', 'get_by_uuid', 'get_by_name_label'].map((call) => `${name}.${call}`))
    return [...generic, ...this.methods.keys(), 'system.listMethods']
  }

  /** Carries out a call as a client makes it: the session first, where the call wants one. Rejects with an {@link XapiFailure}. */
  async call(name: string, parameters: readonly unknown[]): Promise<unknown> {
    try {
      if (name === 'system.listMethods') return this.listMethods()
      if (name === 'session.login_with_password') return this.login(String(parameters[0]), String(parameters[1]))
      const [session, ...given] = parameters
      if (typeof session !== 'string' || !this.sessions.has(session)) throw new XapiFailure('SESSION_INVALID', String(session))
      if (name === 'session.logout') return this.logout(session)
      if (name.startsWith('Async.')) return this.asTask(name.slice('Async.'.length), given)
      return await this.carryOut(name, given)
    } catch (error) {
      throw failureOf(error)
    }
  }

  private async carryOut(name: string, given: readonly unknown[], signal?: AbortSignal): Promise<unknown> {
    const own = this.methods.get(name) as ((...all: unknown[]) => unknown) | undefined
    if (own === undefined) return genericCall(this.database, name, given)
    const begin = (): unknown => {
      this.signal = signal
      try {
        return own(...given)
      } finally {
        this.signal = undefined
      }
    }
    return await (EXCLUSIVE.has(name) ? this.alone(name, String(given[0]), begin) : begin()) ?? ''
  }

  /** Does something with a machine that nobody else does something such with. */
  private async alone(name: string, vm: string, work: () => unknown): Promise<unknown> {
    const other = this.underWay.get(vm)
    if (other !== undefined) throw new XapiFailure('OTHER_OPERATION_IN_PROGRESS', 'VM', vm, other)
    this.underWay.set(vm, name)
    try {
      return await work()
    } finally {
      this.underWay.delete(vm)
    }
  }

  private login(user: string, password: string): string {
    if (!Object.hasOwn(this.users, user) || this.users[user] !== password) throw new XapiFailure('SESSION_AUTHENTICATION_FAILED', user, 'Authentication failure')
    const session = this.database.add('session', { this_host: this.coordinator, this_user: NULL_REF, is_local_superuser: true })
    this.sessions.add(session)
    return session
  }

  private logout(session: string): string {
    this.sessions.delete(session)
    this.database.remove('session', session)
    return ''
  }

  private get coordinator(): string {
    return [...this.hosts.keys()][0]!
  }

  /** Does a call later, under a task that tells how it goes. */
  private asTask(name: string, given: readonly unknown[]): string {
    if (!this.listMethods().includes(name)) throw new XapiFailure('MESSAGE_METHOD_UNKNOWN', name)
    const task = this.database.add('task', {
      name_label: `Async.${name}`, name_description: '', status: 'pending', progress: 0, result: '', error_info: [], created: new Date(0), finished: new Date(0),
      resident_on: this.coordinator, other_config: {}, allowed_operations: ['cancel'], current_operations: {}, type: '<none/>',
    })
    const cancel = new AbortController()
    this.cancels.set(task, cancel)
    const end = (fields: XapiRecord): void => {
      this.cancels.delete(task)
      if (this.database.all('task').has(task)) this.database.change('task', task, { progress: 1, allowed_operations: [], ...fields })
    }
    this.carryOut(name, given, cancel.signal).then(
      (value) => end({ status: 'success', result: value === '' ? '' : `<value>${String(value)}</value>` }),
      (error: unknown) => {
        const { description } = failureOf(error)
        const isCancelled = description[0] === 'TASK_CANCELLED'
        end({ status: isCancelled ? 'cancelled' : 'failure', error_info: isCancelled ? ['TASK_CANCELLED', task] : [...description] })
      })
    return task
  }

  /** What is there from the beginning. */
  private fill(): void {
    const { database } = this
    const sr = database.add('SR', { name_label: 'Local storage', name_description: 'memory', type: 'ext', content_type: 'user', shared: true, VDIs: [], PBDs: [], physical_size: '0', physical_utilisation: '0', virtual_allocation: '0', other_config: {}, sm_config: {}, tags: [] })
    for (const host of this.hosts.keys()) database.add('PBD', { host, SR: sr, currently_attached: true, device_config: {}, other_config: {} })
    database.add('network', { name_label: 'Pool-wide network associated with eth0', name_description: '', bridge: 'xenbr0', MTU: '1500', VIFs: [], PIFs: [], other_config: {}, tags: [], allowed_operations: [] })
    database.add('pool', { name_label: 'pool', name_description: '', master: this.coordinator, default_SR: sr, other_config: {}, tags: [], HAs: [] })
    for (const [name, options] of Object.entries(this.templates)) {
      database.add('VM', this.vmRecord({ name_label: name, is_a_template: true, other_config: { template: name }, memory_static_max: String((options.memory ?? 16) * MEBIBYTE), memory_dynamic_max: String((options.memory ?? 16) * MEBIBYTE) }))
    }
  }

  private vmRecord(fields: XapiRecord): XapiRecord {
    const memory = fields['memory_dynamic_max'] ?? String(16 * MEBIBYTE)
    return {
      name_label: 'VM', name_description: '', is_a_template: false, is_a_snapshot: false, is_control_domain: false, power_state: 'Halted', resident_on: NULL_REF,
      affinity: NULL_REF, domid: '-1', memory_static_max: memory, memory_dynamic_max: memory, memory_dynamic_min: memory, memory_static_min: memory,
      memory_target: memory, VCPUs_max: '1', VCPUs_at_startup: '1', VBDs: [], VIFs: [], VUSBs: [], consoles: [], other_config: {}, platform: {}, tags: [],
      allowed_operations: [], current_operations: {}, blocked_operations: {}, PV_args: '', PV_kernel: '', HVM_boot_policy: '', domain_type: 'pv',
      metrics: NULL_REF, guest_metrics: NULL_REF, snapshots: [], snapshot_of: NULL_REF, suspend_VDI: NULL_REF, ...fields,
    }
  }

  /** Shows in the records what happens to a host's domains. */
  private follow(ref: string, host: Host): void {
    const find = (domid: number): string | undefined => [...this.database.all('VM')].find(([, vm]) => vm['resident_on'] === ref && vm['domid'] === String(domid))?.[0]
    const set = (domid: number | undefined, fields: XapiRecord): void => {
      const vm = domid === undefined ? undefined : find(domid)
      if (vm !== undefined) this.database.change('VM', vm, fields)
    }
    host.events.on('domain-paused', ({ domid }) => set(domid, { power_state: 'Paused' }))
    host.events.on('domain-unpaused', ({ domid }) => set(domid, { power_state: 'Running' }))
    host.events.on('memory-target', ({ domid, mebibytes }) => set(domid, { memory_target: String(mebibytes * MEBIBYTE) }))
    host.events.on('domain-restarted', ({ newDomid, name }) => {
      const vm = [...this.database.all('VM')].find(([, one]) => one['name_label'] === name && one['power_state'] !== 'Suspended')
      if (vm !== undefined) this.database.change('VM', vm[0], { power_state: 'Running', resident_on: ref, domid: String(newDomid) })
    })
    host.events.on('domain-destroyed', ({ domid, reason }) => {
      const vm = find(domid)
      if (vm === undefined || reason === 'saved' || reason === 'migrated') return
      this.unplugged(vm)
      this.database.change('VM', vm, { power_state: 'Halted', resident_on: NULL_REF, domid: '-1' })
    })
  }

  private unplugged(vm: string): void {
    for (const kind of ['VBD', 'VIF'] as const) {
      for (const [ref, own] of this.database.all(kind)) if (own['VM'] === vm) this.database.change(kind, ref, { currently_attached: false })
    }
  }

  // Machines

  private domainOf(vm: string): { readonly host: Host; readonly domain: Domain } {
    const { resident_on: at, domid, power_state: state } = this.database.get('VM', vm)
    const host = this.hosts.get(String(at))
    if (host === undefined) throw new XapiFailure('VM_BAD_POWER_STATE', vm, 'running', String(state).toLowerCase())
    return { host, domain: host.domain(Number(domid)) }
  }

  private want(vm: string, state: string): XapiRecord {
    const found = this.database.get('VM', vm)
    if (found['is_a_template'] === true) throw new XapiFailure('VM_IS_TEMPLATE', vm)
    if (found['power_state'] !== state) throw new XapiFailure('VM_BAD_POWER_STATE', vm, state.toLowerCase(), String(found['power_state']).toLowerCase())
    return found
  }

  private attached(kind: 'VBD' | 'VIF', vm: string): [string, Readonly<XapiRecord>][] {
    return [...this.database.all(kind)].filter(([, own]) => own['VM'] === vm)
  }

  private async start(vm: string, paused: boolean, at: string | undefined): Promise<void> {
    const own = this.want(vm, 'Halted')
    const ref = at ?? this.roomiest()
    const host = this.hosts.get(ref)
    if (host === undefined) throw new XapiFailure('HANDLE_INVALID', 'host', ref)
    const template = this.templates[String((own['other_config'] as XapiRecord)['template'] ?? '')] ?? {}
    const [disks, nics] = [this.attached('VBD', vm).filter(([, { VDI, type }]) => VDI !== NULL_REF || type === 'CD'), this.attached('VIF', vm)]
    const domain = await host.createDomain({
      ...template, name: String(own['name_label']), uuid: String(own['uuid']), memory: Number(own['memory_dynamic_max']) / MEBIBYTE,
      maxMemory: Number(own['memory_static_max']) / MEBIBYTE, vcpus: Number(own['VCPUs_at_startup']), maxVcpus: Number(own['VCPUs_max']),
      disks: disks.map(([, vbd]) => this.diskOf(vbd)), nics: nics.map(([, vif]) => this.nicOf(vif)),
    }, { paused, signal: this.signal })
    this.database.change('VM', vm, { power_state: paused ? 'Paused' : 'Running', resident_on: ref, domid: String(domain.id) })
    for (const [disk] of disks) this.database.change('VBD', disk, { currently_attached: true })
    for (const [nic] of nics) this.database.change('VIF', nic, { currently_attached: true })
  }

  private roomiest(): string {
    const free = (host: Host): number => host.hypervisor.hostInfo().freeFrames
    return [...this.hosts].reduce((best, one) => (free(one[1]) > free(best[1]) ? one : best))[0]
  }

  private diskOf({ VDI, device, type }: Readonly<XapiRecord>): DiskDescription {
    const target = VDI === undefined || VDI === NULL_REF ? {} : { target: String(this.database.get('VDI', String(VDI))['uuid']) }
    return { ...target, vdev: String(device), ...(type === 'CD' ? { type: 'cdrom' } : {}) }
  }

  /** Puts a VDI into a drive, or takes out what is in it. */
  private async exchange(ref: string, vdi: string | undefined): Promise<void> {
    const own = this.database.get('VBD', ref)
    const isEmpty = own['VDI'] === NULL_REF || own['VDI'] === undefined
    if (own['type'] !== 'CD') throw new XapiFailure('VBD_NOT_REMOVABLE_MEDIA', ref)
    if (vdi === undefined ? isEmpty : !isEmpty) throw new XapiFailure(vdi === undefined ? 'VBD_IS_EMPTY' : 'VBD_NOT_EMPTY', ref)
    const target = vdi === undefined ? undefined : String(this.database.get('VDI', vdi)['uuid'])
    if (own['currently_attached'] === true) {
      const { domain } = this.domainOf(String(own['VM']))
      await (target === undefined ? domain.ejectMedium(String(own['device'])) : domain.insertMedium(String(own['device']), target))
    }
    this.database.change('VBD', ref, { VDI: vdi ?? NULL_REF, empty: vdi === undefined })
  }

  /** Makes a VDI larger; guests that use it are told. */
  private resize(vdi: string, bytes: string): void {
    const { uuid, virtual_size: before } = this.database.get('VDI', vdi)
    const size = Number(bytes)
    if (!isVdiSize(size) || size < Number(before)) throw new XapiFailure('VDI_SIZE_INVALID', String(bytes))
    this.disks.get(String(uuid))?.resize(size)
    this.database.change('VDI', vdi, { virtual_size: String(size) })
  }

  private nicOf(vif: Readonly<XapiRecord>): { readonly mac?: string; readonly bridge: string } {
    const mac = String(vif['MAC'])
    return { ...(mac === '' ? {} : { mac }), bridge: String(this.database.get('network', String(vif['network']))['bridge']) }
  }

  private async migrate(vm: string, to: string): Promise<void> {
    this.want(vm, 'Running')
    const { domain } = this.domainOf(vm)
    const there = this.hosts.get(to)
    if (there === undefined) throw new XapiFailure('HANDLE_INVALID', 'host', to)
    const { ends } = transportPair()
    // Where one end gives up the other has ended, too, when the call has.
    const [sent, received] = await Promise.allSettled([domain.migrate(ends[0], { signal: this.signal }), there.receiveMigration(ends[1], { trust: 'all' })])
    if (sent.status === 'rejected') throw sent.reason
    if (received.status === 'rejected') throw received.reason
    this.database.change('VM', vm, { resident_on: to, domid: String(received.value.id) })
  }

  private async suspend(vm: string): Promise<void> {
    this.want(vm, 'Running')
    const chunks: Uint8Array[] = []
    await this.domainOf(vm).domain.save({ write: (chunk: Uint8Array) => void chunks.push(chunk.slice()) }, { signal: this.signal })
    this.saved.set(vm, chunks)
    this.database.change('VM', vm, { power_state: 'Suspended', resident_on: NULL_REF, domid: '-1' })
  }

  private async resume(vm: string, at = this.roomiest()): Promise<void> {
    this.want(vm, 'Suspended')
    const host = this.hosts.get(at)
    if (host === undefined) throw new XapiFailure('HANDLE_INVALID', 'host', at)
    const domain = await host.restore((async function* (chunks) { yield* chunks })(this.saved.get(vm) ?? []), { trust: 'all', signal: this.signal })
    this.saved.delete(vm)
    this.database.change('VM', vm, { power_state: 'Running', resident_on: at, domid: String(domain.id) })
  }

  private clone(vm: string, name: string): string {
    const { uuid: _uuid, ...from } = this.database.get('VM', vm)
    return this.database.add('VM', { ...from, name_label: name, power_state: 'Halted', resident_on: NULL_REF, domid: '-1', VBDs: [], VIFs: [], other_config: { ...(from['other_config'] as XapiRecord) } })
  }

  private list(kind: 'VBD' | 'VIF', vm: string): void {
    this.database.change('VM', vm, { [`${kind}s`]: this.attached(kind, vm).map(([ref]) => ref) })
  }

  private async plug(kind: 'VBD' | 'VIF', ref: string): Promise<void> {
    const own = this.database.get(kind, ref)
    if (own['currently_attached'] === true) throw new XapiFailure('DEVICE_ALREADY_ATTACHED', ref)
    const { domain } = this.domainOf(String(own['VM']))
    if (kind === 'VBD') await domain.attachDisk(this.diskOf(own), { signal: this.signal })
    else await domain.attachNic(this.nicOf(own), { signal: this.signal })
    this.database.change(kind, ref, { currently_attached: true })
  }

  private async unplug(kind: 'VBD' | 'VIF', ref: string): Promise<void> {
    const own = this.database.get(kind, ref)
    if (own['currently_attached'] !== true) throw new XapiFailure('DEVICE_ALREADY_DETACHED', ref)
    const { domain } = this.domainOf(String(own['VM']))
    if (kind === 'VBD') await domain.detachDisk(String(own['device']))
    else await domain.detachNic(Number(own['device']))
    this.database.change(kind, ref, { currently_attached: false })
  }

  private async eventsFrom(classes: readonly string[], token: string, timeout: number): Promise<XapiValue> {
    const from = token === '' ? 0 : Number(token)
    if (!Number.isInteger(from) || from < 0) throw new XapiFailure('EVENT_FROM_TOKEN_PARSE_FAILURE', token)
    const until = Math.min(Math.max(Number(timeout) || 0, 0), LONGEST_WAIT) * 1000
    if (this.database.since(classes, from).length === 0) await this.database.changeOrTime(until)
    const events = this.database.since(classes, from)
    return { events: events as unknown as XapiValue, token: String(this.database.last), valid_ref_counts: this.database.counts() }
  }

  /** Calls that are more than reading and writing fields. */
  private ownMethods(): Readonly<Record<string, Method>> {
    const { database } = this
    const setMemory = (vm: string, bytes: string): Promise<void> | void => {
      database.change('VM', vm, { memory_dynamic_max: String(bytes), memory_dynamic_min: String(bytes) })
      if (database.get('VM', vm)['power_state'] === 'Running') return this.domainOf(vm).domain.setMemTarget(Number(bytes) / MEBIBYTE)
    }
    return {
      'event.from': (classes: readonly string[], token: string, timeout: number) => this.eventsFrom(classes, token, timeout),
      'event.inject': (name: string, ref: string) => {
        database.change(CLASSES.find((one) => one.toLowerCase() === name.toLowerCase()) ?? name, ref, {})
        // What the caller wants to hear of again is behind it.
        return String(database.last - 1)
      },
      'VM.clone': (vm: string, name: string) => this.clone(vm, name), 'VM.copy': (vm: string, name: string) => this.clone(vm, name),
      'VM.provision': (vm: string) => database.change('VM', vm, { is_a_template: false }),
      'VM.create': (fields: XapiRecord) => database.add('VM', this.vmRecord(fields)),
      'VM.destroy': (vm: string) => {
        this.want(vm, 'Halted')
        for (const kind of ['VBD', 'VIF'] as const) for (const [ref] of this.attached(kind, vm)) database.remove(kind, ref)
        database.remove('VM', vm)
      },
      'VM.start': (vm: string, paused: boolean) => this.start(vm, paused, undefined), 'VM.start_on': (vm: string, host: string, paused: boolean) => this.start(vm, paused, host),
      'VM.pause': (vm: string) => { this.want(vm, 'Running'); this.domainOf(vm).domain.pause() },
      'VM.unpause': (vm: string) => { this.want(vm, 'Paused'); this.domainOf(vm).domain.unpause() },
      'VM.clean_shutdown': async (vm: string) => { this.want(vm, 'Running'); await this.domainOf(vm).domain.shutdown() },
      'VM.clean_reboot': async (vm: string) => { this.want(vm, 'Running'); await this.domainOf(vm).domain.reboot() },
      'VM.hard_shutdown': (vm: string) => {
        if (database.get('VM', vm)['power_state'] !== 'Suspended') return this.domainOf(vm).domain.destroy()
        this.saved.delete(vm)
        return database.change('VM', vm, { power_state: 'Halted' })
      },
      'VM.suspend': (vm: string) => this.suspend(vm), 'VM.resume': (vm: string) => this.resume(vm), 'VM.resume_on': (vm: string, host: string) => this.resume(vm, host),
      'VM.pool_migrate': (vm: string, host: string) => this.migrate(vm, host),
      'VM.set_memory_dynamic_range': (vm: string, _least: string, most: string) => setMemory(vm, most), 'VM.set_memory_target_live': setMemory,
      'VM.set_memory': (vm: string, bytes: string) => { database.change('VM', vm, { memory_static_max: String(bytes) }); return setMemory(vm, bytes) },
      'VM.set_VCPUs_number_live': (vm: string, count: string) => this.domainOf(vm).domain.setVcpus(Number(count)),
      'VBD.create': (fields: XapiRecord) => {
        const vm = String(fields['VM'])
        const taken = this.attached('VBD', vm).length
        const userdevice = String(fields['userdevice'] ?? taken)
        const ref = database.add('VBD', { bootable: false, mode: 'RW', type: 'Disk', unpluggable: true, empty: false, other_config: {}, qos_algorithm_type: '', qos_algorithm_params: {}, currently_attached: false, ...fields, userdevice, device: `xvd${String.fromCharCode(97 + (Number(userdevice) || taken))}` })
        this.list('VBD', vm)
        return ref
      },
      'VBD.destroy': (ref: string) => { const vm = String(database.get('VBD', ref)['VM']); database.remove('VBD', ref); this.list('VBD', vm) },
      'VBD.plug': (ref: string) => this.plug('VBD', ref), 'VBD.unplug': (ref: string) => this.unplug('VBD', ref),
      'VBD.insert': (ref: string, vdi: string) => this.exchange(ref, vdi), 'VBD.eject': (ref: string) => this.exchange(ref, undefined),
      'VIF.create': (fields: XapiRecord) => {
        const vm = String(fields['VM'])
        const ref = database.add('VIF', { MAC: '', MTU: '1500', other_config: {}, qos_algorithm_type: '', qos_algorithm_params: {}, currently_attached: false, ...fields, device: String(fields['device'] ?? this.attached('VIF', vm).length) })
        this.list('VIF', vm)
        return ref
      },
      'VIF.destroy': (ref: string) => { const vm = String(database.get('VIF', ref)['VM']); database.remove('VIF', ref); this.list('VIF', vm) },
      'VIF.plug': (ref: string) => this.plug('VIF', ref), 'VIF.unplug': (ref: string) => this.unplug('VIF', ref),
      'VDI.create': (fields: XapiRecord) => {
        const size = Number(fields['virtual_size'])
        if (!isVdiSize(size)) throw new XapiFailure('VDI_SIZE_INVALID', String(fields['virtual_size']))
        const ref = database.add('VDI', { name_label: '', name_description: '', type: 'user', sharable: false, read_only: false, other_config: {}, sm_config: {}, tags: [], VBDs: [], physical_utilisation: '0', snapshot_of: NULL_REF, ...fields, virtual_size: String(size) })
        this.disks.set(String(database.get('VDI', ref)['uuid']), new MemoryBlockStore(size))
        return ref
      },
      'VDI.resize': (ref: string, size: string) => this.resize(ref, size), 'VDI.resize_online': (ref: string, size: string) => this.resize(ref, size),
      'VDI.destroy': (ref: string) => {
        if ([...database.all('VBD').values()].some(({ VDI, currently_attached: used }) => VDI === ref && used === true)) throw new XapiFailure('VDI_IN_USE', ref, 'destroy')
        this.disks.delete(String(database.get('VDI', ref)['uuid']))
        database.remove('VDI', ref)
      },
      'SR.scan': () => undefined, 'SR.create': (_host: string, config: XapiRecord, _size: string, name: string) => database.add('SR', { name_label: name, name_description: '', type: 'ext', content_type: 'user', shared: false, VDIs: [], PBDs: [], other_config: {}, sm_config: config, tags: [] }),
      'network.create': (fields: XapiRecord) => database.add('network', { name_description: '', MTU: '1500', VIFs: [], PIFs: [], other_config: {}, tags: [], ...fields, bridge: `xapi${database.all('network').size}` }),
      'network.destroy': (ref: string) => database.remove('network', ref),
      'task.create': (name_label: string, name_description: string) => database.add('task', { name_label, name_description, status: 'pending', progress: 0, result: '', error_info: [], other_config: {}, resident_on: this.coordinator }),
      'task.destroy': (ref: string) => database.remove('task', ref),
      // Ended by what it undoes; one that a client has made has nobody else to end it.
      'task.cancel': (ref: string) => {
        if (database.get('task', ref)['status'] !== 'pending') return
        const cancel = this.cancels.get(ref)
        if (cancel === undefined) database.change('task', ref, { status: 'cancelled' })
        else cancel.abort()
      },
      'session.get_this_host': (session: string) => database.get('session', session)['this_host'],
      'host.get_servertime': () => new Date(this.hosts.get(this.coordinator)!.now() / 1e6),
    }
  }
}

const isVdiSize = (size: number): boolean => Number.isInteger(size) && size >= 512 && size <= 2 ** 40 && size % 512 === 0

/** A disk that hosts share: none of them closes it. */
function shared(disks: ReadonlyMap<string, BlockStore>, uuid: string): BlockStore {
  const store = disks.get(uuid)
  if (store === undefined) throw new XenError('IO', `there is no VDI ${uuid}`, { details: { uuid } })
  return Object.create(store, { close: { value: () => undefined } }) as BlockStore
}
