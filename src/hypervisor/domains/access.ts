/**
 * Who may ask what of whom, in the place where Xen asks its security modules (XSM): every control operation, every hypercall by its
 * class, and every step by which two domains come to share something. The usual policy is Xen's own, "dummy": what the ABI says and no
 * more. "silo" keeps unprivileged domains from each other. Not here: what the ABI refuses anyway, as dom0's calls to guests.
 * Reference: xen/include/xsm/dummy.h; xen/xsm/silo.c; docs/misc/xen-command-line.pandoc, xsm.
 */
import type { DomId, EventHub } from '../../util/index.ts'
import type { HypercallName } from './hypercall.ts'

/** What a hypercall is about, as far as a policy has to tell them apart. */
export type HypercallClass =
  | 'own' | 'memory' | 'page-tables' | 'scheduling' | 'events' | 'grants' | 'console' | 'version' | 'hardware' | 'control' | 'argo' | 'security'

/** The class of each hypercall. `own` is what a vCPU does to itself. */
export const HYPERCALL_CLASSES: { readonly [name in HypercallName]: HypercallClass } = {
  set_trap_table: 'own', mmu_update: 'page-tables', set_gdt: 'own', stack_switch: 'own', set_callbacks: 'own', fpu_taskswitch: 'own',
  sched_op_compat: 'scheduling', platform_op: 'hardware', set_debugreg: 'own', get_debugreg: 'own', update_descriptor: 'own', memory_op: 'memory',
  multicall: 'own', update_va_mapping: 'page-tables', set_timer_op: 'scheduling', event_channel_op_compat: 'events', xen_version: 'version',
  console_io: 'console', physdev_op_compat: 'hardware', grant_table_op: 'grants', vm_assist: 'own', update_va_mapping_otherdomain: 'page-tables',
  iret: 'own', vcpu_op: 'scheduling', set_segment_base: 'own', mmuext_op: 'page-tables', xsm_op: 'security', nmi_op: 'own', sched_op: 'scheduling',
  callback_op: 'own', xenoprof_op: 'hardware', event_channel_op: 'events', physdev_op: 'hardware', hvm_op: 'memory', sysctl: 'control',
  domctl: 'control', kexec_op: 'hardware', tmem_op: 'memory', argo_op: 'argo', xenpmu_op: 'hardware', dm_op: 'control', hypfs_op: 'control',
  arch_0: 'hardware', arch_1: 'own', arch_2: 'own', arch_3: 'own', arch_4: 'own', arch_5: 'own', arch_6: 'own', arch_7: 'own',
}

/** Steps by which two domains come to share something: Xen's hooks of these names. */
export type SharingHook = 'evtchn_unbound' | 'evtchn_interdomain' | 'grant_mapref' | 'grant_copy' | 'grant_transfer' | 'argo_send'

/** Who asks, or is asked for, as a policy sees a domain. */
export interface PolicyDomain {
  readonly domid: DomId
  /** True of dom0. */
  readonly privileged: boolean
}

/**
 * A policy. What it does not say is allowed, as far as the ABI allows it. A question is answered at once, the same each time, and
 * without asking the host anything. Only `true` allows: a rule that throws or answers something else has refused, and what it
 * throws first is told to who hears of failing listeners (not each time: a guest could fill the log).
 */
export interface Policy {
  /** What it is called. */
  readonly name: string
  /** Whether a domain may make hypercalls of a class; refused ones get -EPERM. */
  readonly hypercall?: ((caller: PolicyDomain, asked: HypercallClass) => boolean) | undefined
  /** Whether `caller` may share something with `other`; refused ones get -EPERM, or GNTST_permission_denied. */
  readonly share?: ((hook: SharingHook, caller: PolicyDomain, other: PolicyDomain) => boolean) | undefined
  /**
   * Whether `caller` may do what by the ABI's own rule privileged domains alone may: an operation by the names of its hypercall
   * ("domctl.pausedomain", "memory_op.claim_pages", "mmu_update"), of a domain where it names another one. It decides alone, so that a
   * domain may be given one operation, or dom0 be denied one; refused ones get what an unprivileged domain gets. Without it the ABI's
   * rule holds.
   */
  readonly privilege?: ((operation: string, caller: PolicyDomain, target: PolicyDomain | undefined) => boolean) | undefined
  /** Whether the toolstack may have a call of the control interface, of a domain where it names one; refused ones throw PERMISSION_DENIED. */
  readonly control?: ((operation: string, target: PolicyDomain | undefined) => boolean) | undefined
}

/** A policy of the library's own by its name, or one of somebody else's. */
export type PolicyChoice = 'dummy' | 'silo' | Policy

/** Xen's default: the ABI's own rules. */
const DUMMY: Policy = { name: 'dummy' }
/** Unprivileged domains have to do with privileged ones alone. */
const SILO: Policy = {
  name: 'silo', share: (_hook, caller, other) => caller.domid === other.domid || caller.privileged || other.privileged,
}

/** What a host tells of its policy, as `getenforce` does. */
export interface AccessFacts {
  readonly policy: string
  /** False where nothing is refused but what the ABI refuses. */
  readonly enforcing: boolean
  /** How often it has refused something since the host has been there. */
  readonly denials: number
}

/** What a policy has refused. */
export interface AccessDenied {
  readonly type: 'access-denied'
  /** Who asked; undefined for the toolstack. */
  readonly domid: DomId | undefined
  /** The hook, the class of the hypercall, the privileged operation, or the call of the control interface. */
  readonly asked: string
  /** Whom it was asked about, where it was about another. */
  readonly target: DomId | undefined
}

/** What a policy knows domains by. */
interface Domains {
  get(id: number): { readonly id: DomId; readonly privileged: boolean } | undefined
}

/** Who hears of what was refused, and of what a rule has thrown. */
type Observers = Pick<EventHub<AccessDenied>, 'emit' | 'onListenerError'>

/** The policy of one host, asked. */
export class Access {
  private readonly policy: Policy
  private readonly domains: Domains
  private readonly hub: Observers
  private denials = 0
  /** The rules that have thrown, and of which that is told. */
  private readonly faulty = new Set<string>()

  constructor(choice: PolicyChoice, domains: Domains, hub: Observers) {
    this.policy = choice === 'dummy' ? DUMMY : choice === 'silo' ? SILO : choice
    this.domains = domains
    this.hub = hub
  }

  /** What is told of it. */
  facts(): AccessFacts {
    const { policy: { name, hypercall, share, control, privilege }, denials } = this
    return { policy: name, enforcing: [hypercall, share, control, privilege].some((rule) => rule !== undefined), denials }
  }

  /** Whether hypercalls are asked about at all: where not, nobody has to. */
  get asksHypercalls(): boolean {
    return this.policy.hypercall !== undefined
  }

  /** Whether control operations are asked about at all. */
  get asksControl(): boolean {
    return this.policy.control !== undefined
  }

  /** hot path: asked for each grant that is mapped or copied; one look at the policy where it has no rule. */
  mayShare(hook: SharingHook, caller: DomId, other: number): boolean {
    const { share } = this.policy
    return share === undefined || this.askShare(hook, caller, other)
  }

  mayCall(caller: PolicyDomain, asked: HypercallClass): boolean {
    const { hypercall } = this.policy
    return hypercall === undefined || this.allows('hypercall', () => hypercall(caller, asked)) || this.deny({ domid: caller.domid, asked, target: undefined })
  }

  /** Whether privileges are asked about at all. */
  get asksPrivilege(): boolean {
    return this.policy.privilege !== undefined
  }

  /** Whether a domain may do what privileged ones may. */
  mayDo(operation: string, caller: number, target: number | undefined): boolean {
    const { privilege } = this.policy
    const own = this.domainOf(caller)
    if (privilege === undefined || own === undefined) return own?.privileged === true
    const other = target === undefined ? undefined : this.domainOf(target)
    return this.allows('privilege', () => privilege(operation, own, other)) || this.deny({ domid: own.domid, asked: operation, target: other?.domid })
  }

  mayControl(asked: string, target: number | undefined): boolean {
    const { control } = this.policy
    const domain = target === undefined ? undefined : this.domainOf(target)
    return control === undefined || this.allows('control', () => control(asked, domain)) || this.deny({ domid: undefined, asked, target: domain?.domid })
  }

  private askShare(hook: SharingHook, caller: DomId, other: number): boolean {
    const [own, there] = [this.domainOf(caller), this.domainOf(other)]
    // Of a domain that is not there the ABI itself says so.
    if (own === undefined || there === undefined) return true
    return this.allows('share', () => this.policy.share!(hook, own, there)) || this.deny({ domid: caller, asked: hook, target: there.domid })
  }

  /** Whether a rule says so. */
  private allows(rule: Exclude<keyof Policy, 'name'>, ask: () => boolean): boolean {
    try {
      return ask() === true
    } catch (error) {
      if (!this.faulty.has(rule)) this.hub.onListenerError(error)
      this.faulty.add(rule)
      return false
    }
  }

  private domainOf(id: number): PolicyDomain | undefined {
    const found = this.domains.get(id)
    return found === undefined ? undefined : { domid: found.id, privileged: found.privileged }
  }

  private deny(what: Omit<AccessDenied, 'type'>): false {
    this.denials += 1
    this.hub.emit({ type: 'access-denied', ...what })
    return false
  }
}
