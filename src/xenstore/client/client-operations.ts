/**
 * The operations on nodes as promises, either direct or inside a transaction. A refused one rejects with a XenError
 * of code XENSTORE; `storeErrorName` tells which error it was.
 */
import { toPermissions, type PermissionsLike } from '../store/local-store.ts'
import { replyStrings, type StoreRequest } from '../protocol/messages.ts'
import { storeError, storeErrorName } from '../protocol/store-error.ts'
import { decodeText, encodeText } from '../tree/text.ts'

/** Sends requests for the operations. */
export interface Requester {
  /** The bytes of the answer; a refusal rejects with a XenError of code XENSTORE. 0 stands for no transaction. */
  request(request: StoreRequest, transaction: number): Promise<Uint8Array>
}

/** The operations. */
export class ClientOperations {
  private readonly requester: Requester
  private readonly id: number

  /** A client and its transactions make these. */
  constructor(requester: Requester, transaction: number) {
    this.requester = requester
    this.id = transaction
  }

  private ask(request: StoreRequest): Promise<Uint8Array> {
    return this.requester.request(request, this.id)
  }

  /** The value of a node as text. */
  async read(path: string): Promise<string> {
    return decodeText(await this.readBytes(path))
  }

  /** The value of a node. */
  readBytes(path: string): Promise<Uint8Array> {
    return this.ask({ op: 'read', path })
  }

  /** The value of a node as text, or undefined when there is no such node. */
  async tryRead(path: string): Promise<string | undefined> {
    try {
      return await this.read(path)
    } catch (error) {
      if (storeErrorName(error) === 'ENOENT') return undefined
      throw error
    }
  }

  /** True when the node exists. */
  async exists(path: string): Promise<boolean> {
    return (await this.tryRead(path)) !== undefined
  }

  /** The names of a node's children, in the order in which they were made; long lists are fetched in parts. */
  async list(path: string): Promise<readonly string[]> {
    try {
      return replyStrings(await this.ask({ op: 'directory', path }))
    } catch (error) {
      if (storeErrorName(error) === 'E2BIG') return this.listInParts(path)
      throw error
    }
  }

  private async listInParts(path: string): Promise<readonly string[]> {
    let names: string[] = []
    let offset = 0
    let generation: string | undefined
    for (;;) {
      const [found, ...part] = replyStrings(await this.ask({ op: 'directory-part', path, offset }))
      if (generation !== undefined && found !== generation) {
        // The list changed in between: what was fetched does not fit together.
        names = []
        offset = 0
        generation = undefined
        continue
      }
      generation = found
      const last = part[part.length - 1] === '' || part.length === 0
      for (const name of part) {
        if (name === '') break
        names.push(name)
        offset += name.length + 1
      }
      if (last) return names
    }
  }

  /** Gives a node a value; creates it, and what is missing above it. */
  async write(path: string, value: string | Uint8Array): Promise<void> {
    await this.ask({ op: 'write', path, value: encodeText(value) })
  }

  /** Creates a node, and what is missing above it. */
  async mkdir(path: string): Promise<void> {
    await this.ask({ op: 'mkdir', path })
  }

  /** Removes a node and all below it. */
  async rm(path: string): Promise<void> {
    await this.ask({ op: 'rm', path })
  }

  /** The permissions of a node: `['n0', 'r5']`. */
  async getPermissions(path: string): Promise<readonly string[]> {
    return replyStrings(await this.ask({ op: 'get-permissions', path }))
  }

  /** Replaces the permissions of a node. */
  async setPermissions(path: string, permissions: PermissionsLike): Promise<void> {
    const list = toPermissions(permissions)
    if (list === undefined) throw storeError('EINVAL', 'set-permissions', path)
    await this.ask({ op: 'set-permissions', path, permissions: list })
  }
}
