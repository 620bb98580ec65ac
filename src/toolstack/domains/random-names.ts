/** Identifiers that a toolstack makes up: UUIDs of domains, names of those that stay behind; and chance that follows from a text. */
import { fillRandom, hashState, type Random } from '../../util/index.ts'

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

/** Numbers that follow from a text, and from it alone. */
export function randomOf(text: string): Random {
  let drawn = 0
  // The lower half of a hash of 64 bits.
  return { next: () => Number.parseInt(hashState([text, drawn++]).slice(8), 16) }
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
