/**
 * Whom a kernel that was given for dom0 runs as. Where its own services serve it is domain 0. Where this library serves, domain 0 is the
 * kernel of this library that builds the others, and the given one is the hardware domain: privileged, with the hypervisor's console, and
 * told that it is the initial domain, but a client of XenStore as every other.
 * Reference: xen/docs/misc/xen-command-line.pandoc, hardware_dom; xenstored's --priv-domid.
 */
import type { DomId } from '../../util/index.ts'

/** Who serves XenStore, consoles and devices where dom0 has a kernel of its own. */
export type Dom0Services = 'dom0' | 'host'

/** All of them. */
export const DOM0_SERVICES = ['dom0', 'host'] as const satisfies readonly Dom0Services[]

/** The first domain behind domain 0. */
export const HARDWARE_DOMAIN = 1 as DomId

/** Its name, by which disks and interfaces name it as their `backend`: `Domain-0` is the one that serves. */
export const HARDWARE_NAME = 'dom0'

/** MiB of a kernel of one's own for dom0, where nobody says anything. */
export const DEFAULT_MEBIBYTES = 512

/** What of a host's options tells. */
export interface Dom0Choice {
  readonly dom0?: { readonly services: Dom0Services } | undefined
}

/** Whether XenStore, consoles and devices are those of dom0's own kernel. */
export const hasOwnServices = ({ dom0 }: Dom0Choice): boolean => dom0?.services === 'dom0'

/** The hardware domain, where it is not domain 0. */
export const hardwareDomainOf = ({ dom0 }: Dom0Choice): DomId | undefined => (dom0?.services === 'host' ? HARDWARE_DOMAIN : undefined)
