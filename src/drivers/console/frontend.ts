/**
 * The console's front-end. Every guest has it from its first instruction, so it lives in the kit; it stands here
 * too, in the place where each driver has its front-end.
 */
export { GuestConsole as ConsoleFrontend } from '../../guest/index.ts'
