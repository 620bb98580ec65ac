/**
 * The password of a screen: a challenge that is answered by DES with the password as its key, each of whose bytes has its bits in the opposite order. It keeps
 * honest people out; who listens on the wire learns enough to guess, so it is for addresses of this machine, or behind a tunnel.
 *
 * Reference: RFC 6143, 7.2.2.
 */
import { createCipheriv, randomBytes, timingSafeEqual } from 'node:crypto'
import { CHALLENGE_LENGTH } from './protocol.ts'

/** Bytes of a password that count. */
const KEY_LENGTH = 8

const reversed = (byte: number): number => {
  let result = 0
  for (let bit = 0; bit < 8; bit += 1) result |= ((byte >>> bit) & 1) << (7 - bit)
  return result
}

/** What a viewer that knows the password answers to a challenge. */
export function answerTo(challenge: Uint8Array, password: string): Uint8Array {
  const key = new Uint8Array(KEY_LENGTH)
  key.set(new TextEncoder().encode(password).subarray(0, KEY_LENGTH).map(reversed))
  // Three times with one key is once: OpenSSL keeps single DES apart.
  const cipher = createCipheriv('des-ede3', Buffer.concat([key, key, key]), null).setAutoPadding(false)
  return new Uint8Array(Buffer.concat([cipher.update(challenge), cipher.final()]))
}

/** A lock with a challenge of its own; undefined where there is no password. */
export function lockOf(password: string | undefined): { readonly challenge: Uint8Array; opens(answer: Uint8Array): boolean } | undefined {
  if (password === undefined) return undefined
  const challenge = new Uint8Array(randomBytes(CHALLENGE_LENGTH))
  return { challenge, opens: (answer) => answer.length === CHALLENGE_LENGTH && timingSafeEqual(answer, answerTo(challenge, password)) }
}
