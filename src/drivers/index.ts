/**
 * Split drivers: one folder per device, each with protocol, front-end and back-end.
 *
 * @module
 */
export {
  CONSOLE_LOG_LIMIT, CONSOLE_TYPE, CONSOLE_WRITE_LIMIT, ConsoleBackend, ConsoleFrontend, ConsoleStream, consolePath,
  parseConsoleNodes,
} from './console/index.ts'
export type {
  ConsoleBackendServices, ConsoleEvent, ConsoleNodes, ConsoleOpenOptions, ConsoleOutputOptions,
} from './console/index.ts'
