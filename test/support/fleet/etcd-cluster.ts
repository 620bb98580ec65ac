/** Three of Debian's etcd on loopback, as processes that can be killed, stopped and started again. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { guestFile } from '../guests.ts'

/** Ports that nobody has. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

const url = (port: number): string => `http://127.0.0.1:${port}`

/** A server of the cluster. */
interface Member {
  readonly name: string
  readonly client: number
  readonly peer: number
  child: ChildProcess | undefined
}

/** The cluster: members are known by their numbers. */
export class EtcdCluster {
  private readonly folder = mkdtempSync(join(tmpdir(), 'etcd-'))
  private readonly members: readonly Member[]

  private constructor(ports: readonly number[]) {
    this.members = ['m0', 'm1', 'm2'].map((name, i) => ({ name, client: ports[i * 2]!, peer: ports[i * 2 + 1]!, child: undefined }))
  }

  /** Starts three members; resolves when they have a leader. With elections as short as this a lease may be as short as a second. */
  static async start(): Promise<EtcdCluster> {
    const cluster = new EtcdCluster(await freePorts(6))
    for (const member of cluster.members.keys()) cluster.restart(member)
    await cluster.leader()
    return cluster
  }

  /** URLs of the members' client ports. */
  get endpoints(): string[] {
    return this.members.map(({ client }) => url(client))
  }

  /** The client ports. */
  get ports(): number[] {
    return this.members.map(({ client }) => client)
  }

  /** The number of the leader, as those say who answer; waits until there is one. */
  async leader(): Promise<number> {
    for (let tries = 0; tries < 200; tries += 1) {
      const said = await Promise.all(this.endpoints.map((endpoint) => this.status(endpoint)))
      const leader = said.findIndex((status) => status !== undefined && status.leader === status.header.member_id)
      if (leader >= 0) return leader
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    throw new Error('etcd has no leader')
  }

  private async status(endpoint: string): Promise<{ readonly leader: string; readonly header: { readonly member_id: string } } | undefined> {
    try {
      const response = await fetch(`${endpoint}/v3/maintenance/status`, { method: 'POST', body: '{}', signal: AbortSignal.timeout(1000) })
      return await response.json() as { leader: string; header: { member_id: string } }
    } catch {
      return undefined
    }
  }

  /** Sends a signal to a member. */
  signal(member: number, signal: NodeJS.Signals): void {
    this.members[member]!.child?.kill(signal)
  }

  /** Starts a member, or starts it again with what it has on its disk. */
  restart(member: number): void {
    const own = this.members[member]!
    const all = this.members.map(({ name, peer }) => `${name}=${url(peer)}`).join(',')
    own.child = spawn(guestFile('etcd')!, [
      '--name', own.name, '--data-dir', join(this.folder, own.name), '--listen-client-urls', url(own.client), '--advertise-client-urls', url(own.client),
      '--listen-peer-urls', url(own.peer), '--initial-advertise-peer-urls', url(own.peer), '--initial-cluster', all, '--initial-cluster-token', this.folder,
      '--heartbeat-interval', '50', '--election-timeout', '500', '--logger', 'zap', '--log-level', 'fatal', '--log-outputs', '/dev/null',
    ], { stdio: 'ignore' })
  }

  /** Ends all of it. */
  async stop(): Promise<void> {
    await Promise.all(this.members.map(async ({ child }) => {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
      child.kill('SIGKILL')
      await once(child, 'exit')
    }))
    rmSync(this.folder, { recursive: true, force: true })
  }
}
