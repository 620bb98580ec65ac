/**
 * What can go on with one domain at the same time: each call that changes a domain is an activity of a kind, and one table says
 * which kinds keep which others from beginning. Not here: what is refused for other reasons, as a domain that has ended.
 */

/**
 * Kinds of activities with a domain. `pausing` pauses and lets run; `movement` saves, migrates, resets and resumes; `device` attaches and
 * detaches; `memory` and `vcpus` are wishes, of which the newest counts; `naming` changes what it is called; `tuning` where and how much its vCPUs run, and events that it gets; `dumping` writes its core;
 * `ending` asks it to power off or reboot; `protection` keeps a standby in step with it.
 */
export type Activity = 'pausing' | 'movement' | 'device' | 'memory' | 'vcpus' | 'naming' | 'tuning' | 'dumping' | 'ending' | 'protection'

/** By what is under way: what cannot begin meanwhile, and is refused with BUSY. */
export const EXCLUDES: { readonly [underWay in Activity]: readonly Activity[] } = {
  // Done when the call returns: never under way.
  pausing: [], naming: [], tuning: [],
  // What travels is what was there when it began.
  movement: ['movement', 'pausing', 'device', 'memory', 'vcpus', 'naming', 'dumping', 'ending', 'protection'],
  // Another device may be attached or detached meanwhile; the same one cannot.
  device: ['movement', 'protection'],
  dumping: ['movement', 'protection'],
  // A newer one takes the older one's place.
  memory: [], vcpus: [],
  ending: [],
  // The standby restores what the protection began with.
  protection: ['movement', 'pausing', 'device', 'naming', 'dumping', 'protection'],
}

/** What each kind does beside refusing, for readers. */
export const ACTIVITIES: { readonly [kind in Activity]: string } = {
  pausing: 'is done when the call returns',
  movement: 'has the domain for itself, until it is done or fails',
  device: 'is one at a time for each device: a second one on the same is refused with BUSY, another goes on beside it',
  memory: 'is a wish: a newer target supersedes the older one, which rejects with SUPERSEDED; a maximum counts at once',
  vcpus: 'is a wish: a newer one supersedes the older one, which rejects with SUPERSEDED',
  naming: 'is done when the call returns',
  tuning: 'is done when the call returns, and never refused for what else goes on',
  dumping: 'has the domain stand still meanwhile, unless told otherwise; two go on beside each other',
  ending: 'is a request in XenStore: the guest takes the last one, and each caller hears how the domain has ended',
  protection: 'lasts until it is ended, or one of the two hosts is lost; the domain may be asked to end meanwhile, and ends it',
}

/** How a call of a domain's handle stands to others: its activity; `look` changes nothing; `destroy` ends all that is under way. */
export type CallStanding = Activity | 'look' | 'destroy'

/** Every call of a domain's handle that does something or looks at it. */
export const DOMAIN_CALLS = {
  info: 'look', summary: 'look', devices: 'look', disk: 'look', nic: 'look', channel: 'look', screen: 'look', profile: 'look', trace: 'look', memory: 'look', uptime: 'look', vcpus: 'look', scheduling: 'look', currentConfig: 'look', waitForShutdown: 'look', toJSON: 'look',
  pause: 'pausing', unpause: 'pausing', rename: 'naming',
  setAffinity: 'tuning', setScheduling: 'tuning', moveToPool: 'tuning', claimMemory: 'tuning', trigger: 'tuning', sysrq: 'tuning',
  updateConfig: 'tuning', setNicRate: 'tuning', setNicLink: 'tuning', setDiskLimits: 'tuning',
  dumpCore: 'dumping', protect: 'protection', save: 'movement', migrate: 'movement', resume: 'movement', softReset: 'movement',
  attachDisk: 'device', attachNic: 'device', attachDevice: 'device', detachDisk: 'device', detachNic: 'device', detachDevice: 'device',
  insertMedium: 'device', ejectMedium: 'device', resizeDisk: 'device',
  setMemTarget: 'memory', setMaxMem: 'memory', setVcpus: 'vcpus',
  shutdown: 'ending', reboot: 'ending',
  destroy: 'destroy',
} as const satisfies Readonly<Record<string, CallStanding>>
