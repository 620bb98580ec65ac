/**
 * Mistakes in copies of our own front-ends and back-ends that the catalogue of faults has to find: each is a piece of the source as it
 * must not be. `by`: the plans of test/fuzz/faults.ts that find it.
 */
import type { Patch } from '../support/mutants.ts'

/** One planted mistake. */
export interface FaultMutant {
  readonly name: string
  readonly patches: readonly Patch[]
  readonly by: readonly string[]
  /** What a finding says. */
  readonly found: RegExp
}

const patch = (file: string, find: string, replace: string): Patch => ({ file: `src/${file}`, find, replace })

/** All of them. */
export const FAULT_MUTANTS: readonly FaultMutant[] = [
  {
    name: 'a block back-end looks into the ring again once it has mapped',
    patches: [patch('drivers/block/server.ts', "const done = this.work.move(transfer.write ? 'write' : 'read', list.first * SECTOR_SIZE, this.runs)",
      "const done = this.work.move(transfer.write ? 'write' : 'read', this.options.grants.memory.view.getUint32(this.ring.entryAddress(this.ring.save().consumed - 1) + 16, true) * SECTOR_SIZE, this.runs)")],
    by: ['double fetch'], found: /the disk holds something else|other/,
  },
  {
    name: 'a back-end believes an index that is beyond its ring',
    patches: [patch('rings/split-ring.ts', 'if (unanswered > this.entries || this.owedResponses() > unanswered) {', 'if (this.broken) {')],
    by: ['front-end lies'], found: /went on with a ring that lies/,
  },
  {
    name: 'a front-end believes an index that is beyond its ring',
    patches: [
      patch('rings/split-ring.ts', "if (waiting > ahead(this.produced, this.consumed)) return this.refuse('rsp_prod', produced, this.consumed)\n", ''),
      patch('drivers/block/request-queue.ts', 'if (request === undefined || LAYOUT_64.response.operation.get(view, at) !== request.operation) return false', "if (request === undefined) throw new Error('no request has this number')"),
    ],
    by: ['back-end lies'], found: /the guest has crashed/,
  },
  {
    name: 'a request whose grants cannot all be mapped keeps those that could',
    patches: [patch('drivers/block/server.ts', '      this.release(transfer.handles)\n      this.respond(transfer.idLow', '      this.respond(transfer.idLow')],
    by: ['grants fail'], found: /dom0Mappings|is still there/,
  },
  {
    name: 'a grant that could not be mapped is kept as if it had been',
    patches: [patch('drivers/block/server.ts', 'if (status === GNTST.okay) this.persistent.keep(ref, frame, handle)', 'this.persistent.keep(ref, frame || 1, handle)')],
    by: ['grants fail'], found: /the disk holds something else|other|invariant|dom0Mappings/,
  },
  {
    name: 'a store that fails is told as one that has done it',
    patches: [patch('drivers/block/store-work.ts', 'return waiting === undefined ? false : Promise', 'return waiting === undefined ? true : Promise')],
    by: ['disk errors'], found: /the disk holds something else|other/,
  },
  {
    name: 'a front-end takes an error for an answer',
    patches: [patch('drivers/block/client.ts', 'if (status === BLKIF_RSP.OKAY) resolve()', 'if (status !== undefined) resolve()')],
    by: ['disk errors'], found: /the disk holds something else|other/,
  },
  {
    name: 'a block back-end that closes keeps its ring mapped',
    patches: [patch('drivers/block/disk-connection.ts', 'server.stop()))\n    this.unmap()\n', 'server.stop()))\n')],
    by: ['back-end restarts'], found: /dom0Mappings|is still there/,
  },
  {
    name: 'a block back-end that cannot bind its port keeps its ring mapped',
    patches: [patch('drivers/block/disk-connection.ts', '      for (const page of pages) kernel.grants.unmap(page)\n      throw error', '      throw error')],
    by: ['no port'], found: /dom0Mappings|is still there/,
  },
  {
    name: 'a network back-end sends on what it could not copy',
    patches: [patch('drivers/net/transmit.ts', 'okay = statuses[next++] === GNTST.okay && okay', 'okay = statuses[next++] !== undefined && okay')],
    by: ['copies fail'], found: /a frame of the guest that it did not send/,
  },
  {
    name: 'a front-end forgets what was under way when its ring goes',
    patches: [patch('drivers/block/frontend.ts', '    connection.client.end()\n', '')],
    by: ['back-end restarts under load'], found: /the guest waits for ever|freeFrames/,
  },
  {
    name: 'a transaction that met a conflict is not made again',
    patches: [patch('xenstore/client/client.ts', "storeErrorName(error) !== 'EAGAIN'", "storeErrorName(error) !== 'EPERM'")],
    by: ['conflicts'], found: /the guest waits for ever|the guest has crashed/,
  },
]
