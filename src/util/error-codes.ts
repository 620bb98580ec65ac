/**
 * Every code of a {@link XenError}, what it means and what to do about it: the one table, of which the type of codes and
 * docs/errors.md are made.
 */

/** What a code says, and what its caller does. */
export interface ErrorCodeFacts {
  readonly means: string
  readonly doing: string
}

/** All codes. One never changes its meaning; new ones may come with a minor version. */
export const ERROR_CODES = {
  INVALID_ARGUMENT: { means: 'An argument or option cannot have this value, or there is no such option.', doing: 'Correct the call: `details` has the name, the value and the nearest name that there is.' },
  INVALID_CONFIG: { means: 'A description of a host or domain is wrong: an unknown option, a value that it cannot have, bad syntax.', doing: 'Correct the description: `details` has the key, or line and column.' },
  INVALID_IMAGE: { means: 'A kernel, ramdisk or symbol file is damaged, or not for this machine or for Xen.', doing: 'Give another file: `details.field` names what of it is wrong.' },
  INVALID_STREAM: { means: 'A saved domain, migration stream or moment file is damaged or says what cannot be.', doing: 'Save or send it again. Nothing of it has been kept.' },
  INVALID_STATE: { means: 'What is asked of a domain, host or part cannot be done to it as it stands now.', doing: 'Look at its state (`domain.info()`) and bring it where the call wants it.' },
  INVALID_ADDRESS: { means: 'An address or frame number is none of the domain that it was asked of.', doing: 'Take addresses from the domain itself.' },
  OUT_OF_MEMORY: { means: 'The host has not enough free memory, or moments have no room.', doing: 'Free memory (`setMemTarget`, `destroy`, `moment.dispose`) or boot a larger host: `details` has how much is needed and free.' },
  OUT_OF_RESOURCES: { means: 'A limit other than memory is met: domains, ports, grants, mappings.', doing: 'End what holds them, or raise the limit where it is an option.' },
  DOMAIN_NOT_FOUND: { means: 'There is no domain of this number, name or handle; it may have been destroyed.', doing: 'Look it up again: `host.domains()`. A restarted domain has a new handle (event `domain-restarted`).' },
  DOMAIN_EXISTS: { means: 'Another domain has this name or UUID.', doing: 'Choose another, or destroy that domain first.' },
  DOMAIN_CRASHED: { means: 'What was awaited of a domain will not come: it has crashed.', doing: 'Read `details.crash`: exception, registers, code, calls.' },
  POOL_EXISTS: { means: 'Another pool of CPUs has this name.', doing: 'Choose another name.' },
  POOL_NOT_FOUND: { means: 'There is no pool of CPUs of this name or number.', doing: 'Look at `host.cpupools.list()`.' },
  DEVICE_NOT_FOUND: { means: 'The domain has no such device.', doing: 'Look at `domain.devices()`; the message names those that there are.' },
  DEVICE_EXISTS: { means: 'The domain has a device of this name or number already.', doing: 'Choose another name, or detach that one first.' },
  PERMISSION_DENIED: { means: 'A policy, a token, or a handle that was narrowed does not allow it.', doing: 'Ask whoever gave the handle or wrote the policy: `details` has who asked for what.' },
  NOT_SUPPORTED: { means: 'The host, the kind of guest or the file does not offer it.', doing: 'Look at `host.capabilities()`: `details` names the option or part.' },
  HYPERCALL_FAILED: { means: 'A hypercall of a guest in TypeScript was refused.', doing: 'Look at `details.errno`, which is Xen\'s.' },
  XENSTORE: { means: 'XenStore refused an operation.', doing: 'Look at `details.error`, which is XenStore\'s: ENOENT, EACCES, EAGAIN; ENOSPC or ENOMEM where a quota is used up.' },
  IDLE: { means: 'What is awaited cannot happen: nothing can run, no timer is set, and nothing is expected from outside.', doing: 'Do what the host waits for first; where it comes from outside, boot with `idle: \'wait\'` or call `host.expectInput()`.' },
  TIMED_OUT: { means: 'It did not happen within its time, and was taken back.', doing: 'Give more time, or look why the guest does not do it.' },
  MIGRATION_UNDECIDED: { means: 'A migration was cut at the moment of the handover: nobody here knows whether the other side runs the domain.', doing: 'Ask the other host; then `destroy` the domain here, or `resume` it where the other does not run it.' },
  PROTECTION_UNDECIDED: { means: 'The two hosts of a protected domain have lost each other, and nobody said which goes on: the domain is paused here.', doing: 'Ask the standby; then `destroy` the domain here, or `unpause` it where the standby does not run it. Give both an `arbiter` to have it decided.' },
  LEASE_LOST: { means: 'A lease of a fleet\'s store has ended, and with it what was kept by it.', doing: 'Take a new one, and look what others have done meanwhile.' },
  COMPACTED: { means: 'A revision of a fleet\'s store is not kept any more: changes since then cannot be told one by one.', doing: 'Read the range anew and watch from behind its revision.' },
  STALE_EPOCH: { means: 'A domain of a fleet is to be run by a host that does not own it any more, or may have lost its lease.', doing: 'Nothing: its owner runs it. Look at the fleet\'s records.' },
  ABORTED: { means: 'Its caller has given it up by its signal, and it was undone.', doing: 'Nothing: it was asked for.' },
  BUSY: { means: 'Something is under way that excludes what was asked for, and goes on.', doing: 'Wait until it is done and call again: `details.doing` or `what` says what it is. See docs/concurrency.md.' },
  SUPERSEDED: { means: 'A newer wish of the same kind has taken the place of this one before it was fulfilled.', doing: 'Nothing: the newer one counts.' },
  CLOSED: { means: 'The host, domain, moment, console or connection was ended.', doing: 'Get a new one: nothing more comes of this.' },
  IO: { means: 'A file, disk, stream or connection of the host\'s owner has failed.', doing: 'Look at `cause` and the message, mend it, and try again.' },
} as const satisfies Readonly<Record<string, ErrorCodeFacts>>

/** Stable codes of {@link XenError}. */
export type XenErrorCode = keyof typeof ERROR_CODES
