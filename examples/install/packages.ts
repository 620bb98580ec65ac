/**
 * Debian's packages as files, fetched by APT from wherever this machine's APT has them, each checked by it against Debian's signature: no root, nothing is installed.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** A package could not be had, or a tool is missing: what the user can do something about. */
export class InstallError extends Error {
  override readonly name = 'InstallError'
}

/** Runs one of Debian's tools; what it says on failure becomes the error. */
export function runTool(program: string, args: readonly string[], folder = '.'): string {
  try {
    return execFileSync(program, args, { cwd: folder, encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'pipe'] })
  } catch (error) {
    const { code, stderr } = error as { code?: string; stderr?: string }
    if (code === 'ENOENT') throw new InstallError(`${program} is not installed: this needs Debian or Ubuntu`)
    throw new InstallError(`${program} ${args.slice(0, 4).join(' ')} failed:\n${stderr?.trim() ?? ''}`, { cause: error })
  }
}

/** Where the machine's APT has a release's main component. */
export function repositoryOf(codename: string): string {
  const listed = runTool('apt-get', ['indextargets', '--format', '$(REPO_URI)', 'Created-By: Packages', 'Label: Debian', 'Origin: Debian', `Codename: ${codename}`, 'Component: main'])
  const uri = listed.split('\n')[0]
  if (uri === undefined || uri === '') throw new InstallError(`APT has no repository of Debian's ${codename}: its sources name another release`)
  return uri
}

/** An APT that knows nothing to be installed, with folders of its own, so that what it fetches is complete. */
export class PackageFetcher {
  private readonly folder: string
  private readonly options: readonly string[]

  /** @param sources - Lines of a sources.list instead of the machine's. */
  constructor(folder: string, sources?: readonly string[]) {
    this.folder = folder
    for (const name of ['lists/partial', 'cache', 'archives/partial']) mkdirSync(join(folder, name), { recursive: true })
    writeFileSync(join(folder, 'status'), '')
    const settings = [
      `Dir::State::status=${join(folder, 'status')}`, `Dir::Cache=${join(folder, 'cache')}`, `Dir::Cache::archives=${join(folder, 'archives')}`,
      'APT::Install-Recommends=false', 'APT::Architecture=amd64', 'APT::Sandbox::User=root', 'Debug::NoLocking=true',
    ]
    if (sources !== undefined) {
      writeFileSync(join(folder, 'sources.list'), sources.map((line) => `${line}\n`).join(''))
      settings.push(`Dir::State::lists=${join(folder, 'lists')}`, `Dir::Etc::sourcelist=${join(folder, 'sources.list')}`, 'Dir::Etc::sourceparts=/dev/null')
    }
    this.options = settings.flatMap((setting) => ['-o', setting])
    if (sources !== undefined) runTool('apt-get', [...this.options, '-q', 'update'])
  }

  /** Names of packages of a priority. */
  withPriority(priority: string): readonly string[] {
    const records = runTool('apt-cache', [...this.options, 'dumpavail']).split('\n\n')
    const chosen = records.filter((record) => /^Priority: (.*)$/m.exec(record)?.[1] === priority)
    return [...new Set(chosen.map((record) => /^Package: (.*)$/m.exec(record)![1]!))]
  }

  /** Fetches packages with all that they depend on; gives all files that this has fetched so far. */
  withDependencies(names: readonly string[]): readonly string[] {
    runTool('apt-get', [...this.options, '-q', '-y', '--download-only', 'install', ...names])
    return this.files()
  }

  /** Fetches packages alone; gives their files, in the order of their names. */
  alone(names: readonly string[]): readonly string[] {
    const place = join(this.folder, 'archives')
    runTool('apt-get', [...this.options, '-q', 'download', ...names], place)
    return names.map((name) => {
      const file = readdirSync(place).find((entry) => entry.startsWith(`${name}_`))
      if (file === undefined) throw new InstallError(`apt-get download ${name} brought no package`)
      return join(place, file)
    })
  }

  private files(): readonly string[] {
    const place = join(this.folder, 'archives')
    return readdirSync(place).filter((name) => /\.u?deb$/.test(name)).map((name) => join(place, name))
  }

  /** Removes what was fetched. */
  close(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}
