/**
 * The console: the smallest split driver.
 *
 * @module
 */
export { CONSOLE_LOG_LIMIT, CONSOLE_TYPE, consolePath, parseConsoleNodes } from './protocol.ts'
export type { ConsoleNodes } from './protocol.ts'
export { ConsoleFrontend } from './frontend.ts'
export { CONSOLE_WRITE_LIMIT, ConsoleBackend, ConsoleStream } from './backend.ts'
export type { ConsoleBackendServices, ConsoleEvent, ConsoleOpenOptions, ConsoleOutputOptions } from './backend.ts'
