/**
 * Xen's own pygrub and its readers of boot loader files, Python programs out of Debian's xen-utils, run beside ours over the
 * same texts and images.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inFolder } from './disk-images.ts'
import { guestFile, whyMissing } from './guests.ts'
import { whyNoProgram } from './programs.ts'

/** Where Debian's libxenmisc keeps the library by which pygrub reads file systems. */
const LIBRARIES = '/usr/lib/xen-4.17/lib/x86_64-linux-gnu'

/** Why pygrub cannot be run here; undefined where it can. Where `CI` is `true` nothing may be skipped, so there it throws. */
export function whyNoPygrub(): string | undefined {
  const missing = whyMissing('pygrub', 'xenPython') ?? whyNoProgram('python3', '--version')
  if (missing !== undefined) return missing
  const { status } = spawnSync('python3', ['-c', 'import xenfsimage'], { env: environment(), stdio: 'ignore' })
  if (status === 0) return undefined
  const reason = ' (SKIPPED: pygrub does not run here: it needs Debian\'s libxenmisc4.17)'
  if (process.env['CI'] === 'true') throw new Error(`a test cannot run here${reason}`)
  return reason
}

const environment = (): NodeJS.ProcessEnv =>
  ({ ...process.env, LD_LIBRARY_PATH: LIBRARIES, PYTHONPATH: join(guestFile('xenPython')!, '..'), PYTHONDONTWRITEBYTECODE: '1' })

/** What the program found: bytes of kernel and ramdisk, and the command line; undefined where it found nothing. */
export type Found = { readonly kernel: Buffer; readonly ramdisk: Buffer | undefined; readonly args: string } | undefined

/** Runs the program once for each line of its input, in processes that share what has been imported. */
const RUNNER = `
import curses, ctypes, json, logging, os, re, subprocess, sys, tempfile
import xenfsimage, grub.GrubConf, grub.LiloConf, grub.ExtLinuxConf
program = sys.argv[1]
code = compile(open(program).read(), program, 'exec')
for job in json.load(sys.stdin):
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(job['stdout'], os.O_WRONLY | os.O_CREAT), 1)
        os.dup2(os.open('/dev/null', os.O_WRONLY), 2)
        sys.argv = [program] + job['args']
        try:
            exec(code, {'__name__': '__main__'})
            os._exit(0)
        except BaseException as e:
            os._exit(0 if isinstance(e, SystemExit) and not e.code else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`

function readFound(stdout: string): Found {
  const lines = readFileSync(stdout, 'utf8').split('\0').filter((line) => line !== '')
  const fields = new Map(lines.map((line) => [line.split(' ')[0]!, line.slice(line.indexOf(' ') + 1)]))
  const ramdisk = fields.get('ramdisk')
  return { kernel: readFileSync(fields.get('kernel')!), ramdisk: ramdisk === undefined ? undefined : readFileSync(ramdisk), args: fields.get('args') ?? '' }
}

/** Runs pygrub over images, each with its arguments. */
export const runPygrub = (runs: readonly { readonly image: Uint8Array; readonly args: readonly string[] }[]): readonly Found[] => inFolder((folder) => {
  mkdirSync(join(folder, 'out'))
  const jobs = runs.map(({ image, args }, i) => {
    const disk = join(folder, `disk${i}`)
    writeFileSync(disk, image)
    return { stdout: join(folder, `stdout${i}`), args: ['-q', '--output-format=simple0', `--output-directory=${join(folder, 'out')}`, ...args, disk] }
  })
  const statuses = execFileSync('python3', ['-c', RUNNER, guestFile('pygrub')!], { env: environment(), input: JSON.stringify(jobs), encoding: 'utf8' })
  return statuses.trim().split('\n').map((status, i) => (status === '0' ? readFound(jobs[i]!.stdout) : undefined))
})

/** A boot loader's file by the kind of its reader. */
export interface ConfigText {
  readonly kind: 'grub2' | 'legacy' | 'extlinux'
  readonly text: string
}

/** What pygrub's reader makes of a file; undefined where it gives up. */
export type ReadConfig = { readonly images: readonly (readonly (string | null)[])[]; readonly chosen: number } | undefined

const SCRIPT = `
import json, sys, logging
logging.disable(logging.CRITICAL)
import grub.GrubConf as G, grub.ExtLinuxConf as E
kinds = {'grub2': G.Grub2ConfigFile, 'legacy': G.GrubConfigFile, 'extlinux': E.ExtLinuxConfigFile}
def read(kind, text):
    try:
        c = kinds[kind]()
        c.filename = '/x'
        c.parse(text)
        path = lambda p: None if p is None else p[1]
        return {'images': [[i.title, path(i.kernel), i.args, path(i.initrd)] for i in c.images], 'chosen': c.default}
    except Exception:
        return None
json.dump([read(q['kind'], q['text']) for q in json.load(sys.stdin)], sys.stdout)
`

/** What pygrub's readers make of many files. */
export const readByPygrub = (texts: readonly ConfigText[]): readonly ReadConfig[] =>
  (JSON.parse(execFileSync('python3', ['-c', SCRIPT], { input: JSON.stringify(texts), env: environment(), encoding: 'utf8', maxBuffer: 2 ** 27 })) as (ReadConfig | null)[])
    .map((found) => found ?? undefined)
