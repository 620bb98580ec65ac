/** Golden files: texts that were right once and that later runs are held against. Where they lie is the caller's business. */
import { checkArgument, having, XenError } from '../../util/index.ts'
import { differenceOfTexts } from './text-difference.ts'

/** Where golden files lie; `paravirt/node` has a folder. */
export interface GoldenFiles {
  /** Whether files that differ are written anew instead of being complained about. */
  readonly update: boolean
  /** A file's text; undefined where there is none. */
  read(name: string): Promise<string | undefined>
  /** Writes a file's text, anew where there is one. */
  write(name: string, text: string): Promise<void>
}

/**
 * Compares a text with a golden file; one that is not there is written, and so is one that differs where the files are to be
 * updated. Rejects with INVALID_STATE, whose message has the difference.
 */
export async function compareWithGolden(files: GoldenFiles, name: string, text: string): Promise<void> {
  checkArgument('golden files', files, having('read', 'write'))
  const expected = await files.read(name)
  if (expected === text) return
  if (expected === undefined || files.update) return files.write(name, text)
  const difference = differenceOfTexts(expected, text)!
  throw new XenError('INVALID_STATE', `what came differs from golden file ${name}:\n${difference}`, { details: { name, difference } })
}
