/** The reporter as vitest takes one by its file, which has to be the default export. */
export { SkippedReporter as default } from './skipped.ts'
