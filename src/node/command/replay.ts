/** `paravirt replay`: makes the run of a replay file again. */
import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { optionalDecompressor } from '../../decompress/index.ts'
import { Replay, type ReplayOptions } from '../../testing/index.ts'
import { Host, NO_COMPRESSION } from '../../toolstack/index.ts'
import { thrownMessage, XenError } from '../../util/index.ts'
import { textOf, type Command, type OptionValues, type Terminal } from './command.ts'
import { importFirst, scenariosOf } from './scenarios.ts'

async function originOf(values: OptionValues, name: string): Promise<ReplayOptions> {
  const [test, moment] = [textOf(values, 'test'), textOf(values, 'moment')]
  const from = moment === undefined ? {} : { from: await Host.loadMoment(createReadStream(moment), { decompress: optionalDecompressor, compression: NO_COMPRESSION }) }
  if (test === undefined) return from
  const found = await scenariosOf(test, textOf(values, 'only'))
  const { scenario } = found.find((one) => one.scenario.name === name || one.exported === name) ?? found[0]!
  return { ...scenario, ...from }
}

async function run({ args, values }: { readonly args: readonly string[]; readonly values: OptionValues }, terminal: Terminal): Promise<number> {
  await importFirst((values['import'] ?? []) as readonly string[])
  const file = args[0]!
  const bytes = await readFile(file).catch((error: unknown) => {
    throw new XenError('IO', `${file} cannot be read: ${thrownMessage(error)}`, { cause: error })
  })
  const replay = Replay.read(bytes)
  const { same, divergence, failure } = await replay.run(await originOf(values, replay.data.name))
  if (values['json'] === true) terminal.out(JSON.stringify({ name: replay.data.name, same, divergence, failure }))
  else {
    terminal.out(`${replay.data.name}: recorded as ${replay.data.failure.message}`)
    terminal.out(failure === undefined ? '  now: no failure' : `  now: ${failure.message}, at ${failure.time} ns`)
    terminal.out(same ? '  the same run, to the last bit' : `  another run: ${divergence}`)
  }
  return same ? 0 : 1
}

/** The command. */
export const replayCommand: Command = {
  name: 'replay', usage: 'FILE.pvr [OPTION ...]', summary: 'makes the run of a replay file again', takes: [1, 1], run,
  help: [
    'With --test the body of the test is run again, and fails again. Without it what came in from outside is put in as it was',
    'recorded, on a branch of the moment that --moment names. Either way everything is compared with what was recorded, and the',
    'first thing that differs is named. Status 0: the same run; 1: another.',
  ],
  options: {
    test: { type: 'string', value: 'MODULE', help: 'the module of the test' },
    only: { type: 'string', value: 'NAME', help: 'its test of this name (the one that the file names)' },
    moment: { type: 'string', value: 'FILE', help: 'the moment that the run begins at, as moment.save wrote it' },
    import: { type: 'string', value: 'MODULE', help: 'imported before the test', multiple: true },
    json: { type: 'boolean', help: 'the outcome as JSON' },
  },
}
