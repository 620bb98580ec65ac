/** Identifiers that a toolstack makes up: UUIDs of domains and MAC addresses of their NICs, names of those that stay behind. */
import { fillRandom, type Random } from '../../util/index.ts'

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')

/** A random UUID (version 4). */
export function randomUuid(random: Random): string {
  const bytes = new Uint8Array(16)
  fillRandom(random, bytes)
  bytes[6] = (bytes[6]! & 0x0f) | 0x40
  bytes[8] = (bytes[8]! & 0x3f) | 0x80
  const text = hex(bytes)
  return [text.slice(0, 8), text.slice(8, 12), text.slice(12, 16), text.slice(16, 20), text.slice(20)].join('-')
}

/** The 16 bytes that a UUID's text stands for. */
export const uuidBytes = (uuid: string): Uint8Array =>
  Uint8Array.from(uuid.replaceAll('-', '').match(/../g) ?? [], (pair) => Number.parseInt(pair, 16))

/** A random address in the range that is assigned to Xen. */
export function randomMac(random: Random): string {
  const bytes = new Uint8Array(3)
  fillRandom(random, bytes)
  return ['00', '16', '3e', ...Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0'))].join(':')
}

/**
 * What a domain is called that stays behind, while its successor has its name and UUID. xl puts the time behind the name; its number is
 * shorter, and no other domain has it.
 * Reference: tools/libs/light/libxl_domain.c, libxl_domain_preserve; tools/xl/xl_vmcontrol.c, preserve_domain.
 */
export function preservedIdentity({ id, name: before }: { readonly id: number; readonly name: string }, random: Random, isTaken: (name: string) => boolean): { readonly name: string; readonly uuid: string } {
  let name = `${before}-${id}`
  // Somebody may have thought of that name before.
  for (let count = 2; isTaken(name); count += 1) name = `${before}-${id}-${count}`
  return { name, uuid: randomUuid(random) }
}
