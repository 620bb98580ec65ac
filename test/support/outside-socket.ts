/** A port of this machine behind which is an outside: programs talk to it as a guest's do, each connection being one of a guest's to a place. */
import { createServer, type Server } from 'node:net'
import type { Outside, OutsideAddress, OutsideStreamHears } from '../../src/drivers/index.ts'

/** The server, which is to listen somewhere. */
export const doorTo = (outside: Pick<Outside, 'connectTcp'>, place: OutsideAddress): Server => createServer({ allowHalfOpen: true }, (socket) => {
  const later: { stream?: ReturnType<Outside['connectTcp']> } = {}
  const hears: OutsideStreamHears = {
    opened: () => undefined, taken: () => undefined, ended: () => void socket.end(), failed: () => void socket.destroy(),
    data: (bytes) => { if (!socket.write(bytes)) later.stream?.pause() },
  }
  later.stream = outside.connectTcp(place, hears)
  socket.on('data', (bytes: Buffer) => later.stream?.write(new Uint8Array(bytes))).on('end', () => later.stream?.end())
  socket.on('drain', () => later.stream?.resume()).on('error', () => later.stream?.reset())
})
