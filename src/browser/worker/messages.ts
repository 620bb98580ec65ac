/** What a page and its worker say to each other before the service's protocol begins. */

/** What is used of whoever takes messages: a `Worker`, the port of a `SharedWorker`. */
export interface WorkerLike {
  /** Hands over a message, and what it owns. */
  postMessage(message: unknown, transfer: Transferable[]): void
  /** Hears that the script has failed. */
  addEventListener?(type: 'error' | 'messageerror', listener: (event: { readonly message?: string }) => void): void
  /** Begins to deliver messages, where listening alone does not. */
  start?(): void
}

/** A page asks for the host: what it says goes over the port. */
export interface ConnectMessage {
  readonly paravirt: 'connect'
  readonly port: MessagePort
}

/** The worker's first answer. */
export type Greeting =
  | { readonly paravirt: 'ready' }
  | { readonly paravirt: 'failed'; readonly code: string | undefined; readonly message: string; readonly details: unknown }

/** True for a page's request; anything else that a worker is told is its own. */
export const isConnect = (data: unknown): data is ConnectMessage =>
  typeof data === 'object' && data !== null && (data as ConnectMessage).paravirt === 'connect' && (data as ConnectMessage).port instanceof MessagePort

/** True for what a worker of this library says first. */
export const isGreeting = (data: unknown): data is Greeting =>
  typeof data === 'object' && data !== null && ['ready', 'failed'].includes((data as Greeting).paravirt)
