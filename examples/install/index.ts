/** Debian installed by its own installer: a mirror, an installation, the system that it leaves. */
export { bootInstalled, type InstalledSystem } from './installed.ts'
export { install, type Installation, type Installed } from './installer.ts'
export type { Machine } from './machine.ts'
export { makeMirror } from './mirror.ts'
export { InstallError } from './packages.ts'
