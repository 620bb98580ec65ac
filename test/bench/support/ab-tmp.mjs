// test/support/peer-client.ts
import { connect } from "node:net";
async function connectPatiently(path) {
  for (let tries = 0; ; tries += 1) {
    const socket = connect(path);
    const failure = await new Promise((resolve) => {
      socket.once("connect", () => resolve(void 0)).once("error", resolve);
    });
    if (failure === void 0) return socket;
    if (failure.code !== "EAGAIN" || tries === 200) throw failure;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

// test/bench/support/xenstore-load.ts
var EVENT = 15;
var ERROR = 16;
var LoadClient = class _LoadClient {
  /** Replies received, errors among them. */
  replies = 0;
  /** Watch events received. */
  events = 0;
  /** The body of the last reply. */
  last = "";
  /** Errors that were not expected, by name. */
  errors = [];
  socket;
  rest = Buffer.alloc(0);
  wanted;
  constructor(socket) {
    this.socket = socket;
    socket.on("data", (piece) => this.take(piece));
    socket.on("error", () => void 0);
  }
  static async connect(path) {
    return new _LoadClient(await connectPatiently(path));
  }
  take(piece) {
    const bytes = this.rest.length === 0 ? piece : Buffer.concat([this.rest, piece]);
    let at = 0;
    while (at + 16 <= bytes.length) {
      const end = at + 16 + bytes.readUInt32LE(at + 12);
      if (end > bytes.length) break;
      const type = bytes.readUInt32LE(at);
      if (type === EVENT) this.events += 1;
      else {
        this.replies += 1;
        if (type === ERROR) this.errors.push(bytes.toString("latin1", at + 16, end - 1));
        if (end === bytes.length) this.last = bytes.toString("latin1", at + 16, end);
      }
      at = end;
    }
    this.rest = bytes.subarray(at);
    const { wanted } = this;
    if (wanted === void 0 || this.replies < wanted.replies || this.events < wanted.events) return;
    this.wanted = void 0;
    wanted.resolve();
  }
  /** Sends bytes; resolves when so many more replies and events have come. */
  send(bytes, replies, events = 0) {
    return new Promise((resolve) => {
      this.wanted = { replies: this.replies + replies, events: this.events + events, resolve };
      this.socket.write(bytes);
    });
  }
  /** Resolves when so many more events have come. */
  receive(events) {
    return new Promise((resolve) => {
      this.wanted = { replies: 0, events: this.events + events, resolve };
    });
  }
  close() {
    this.socket.destroy();
  }
};
var batch = (messages) => Buffer.concat(messages);
var PreparedBatch = class {
  count;
  bytes;
  starts;
  constructor(messages) {
    this.count = messages.length;
    this.bytes = Buffer.concat(messages);
    let at = 0;
    this.starts = messages.map((each) => {
      at += each.length;
      return at - each.length;
    });
  }
  /** The bytes, with a transaction's number in the messages from `first` to before `end`. */
  within(transaction, first = 0, end = this.count) {
    for (let i = first; i < end; i += 1) this.bytes.writeUInt32LE(transaction, this.starts[i] + 8);
    return this.bytes;
  }
};
function message(type, body, tx2 = 0) {
  const bytes = Buffer.allocUnsafe(16 + body.length);
  bytes.writeUInt32LE(type, 0);
  bytes.writeUInt32LE(1, 4);
  bytes.writeUInt32LE(tx2, 8);
  bytes.writeUInt32LE(body.length, 12);
  bytes.write(body, 16, "latin1");
  return bytes;
}

// ../../tmp/pf/ab.mts
import { spawn as spawn2 } from "node:child_process";
import { readFileSync, rmSync as rmSync2 } from "node:fs";

// test/bench/support/xenstored-peer.ts
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
var root = fileURLToPath(new URL("../../..", import.meta.url));
var PROGRAMS = "usr/lib/xen-4.17/bin";
function findXenProgram(name) {
  const installed = `/${PROGRAMS}/${name}`;
  if (existsSync(installed)) return installed;
  const folder = join(root, ".guests", "xen-utils-4.17");
  const unpacked = join(folder, PROGRAMS, name);
  if (existsSync(unpacked)) return unpacked;
  mkdirSync(folder, { recursive: true });
  execFileSync("apt-get", ["download", "xen-utils-4.17"], { cwd: folder, stdio: "ignore" });
  const file = readdirSync(folder).find((name2) => name2.endsWith(".deb"));
  if (file === void 0) throw new Error("apt-get gave no package");
  execFileSync("dpkg-deb", ["-x", file, "."], { cwd: folder });
  return unpacked;
}
async function listening(socket, child) {
  for (let tries = 0; tries < 400; tries += 1) {
    if (existsSync(socket)) return;
    if (child.exitCode !== null) throw new Error(`the server ended with status ${child.exitCode}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error("the server does not come up");
}
async function startPeer() {
  const folder = mkdtempSync(join(tmpdir(), "paravirt-xenstored-"));
  try {
    const binary = findXenProgram("xenstored");
    const shim = join(folder, "shim.so");
    const source = fileURLToPath(new URL("xenstored-shim.c", import.meta.url));
    execFileSync("gcc", ["-O2", "-shared", "-fPIC", "-o", shim, source, "-ldl"], { stdio: "pipe" });
    const child = spawn(binary, ["-N"], {
      env: { ...process.env, LD_PRELOAD: shim, XENSTORED_RUNDIR: folder, XENSTORED_ROOTDIR: folder },
      stdio: "ignore"
    });
    const socket = join(folder, "socket");
    await listening(socket, child);
    const stop = () => {
      child.kill();
      rmSync(folder, { recursive: true, force: true });
    };
    return { socket, process: child, stop };
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    return `absent: C xenstored (${error.message.split("\n")[0]})`;
  }
}

// ../../tmp/pf/ab.mts
var [, , mode, nn, poll, ...bundles] = process.argv;
var n = Number(nn);
var rounds = Number(process.env.ROUNDS ?? 15);
var ms = 200;
var node = (i) => `/bench/domain/${i % 64}/device/vbd/51712/state`;
var start = message(6, "\0");
var writes = new PreparedBatch(Array.from({ length: 100 }, (_, i) => message(11, `/bench/large/${i}\0value`)));
var big = async (c) => {
  await c.send(start, 1);
  const tx2 = parseInt(c.last, 10);
  await c.send(writes.within(tx2), 100);
  await c.send(message(7, "T\0", tx2), 1);
};
var R = Array.from({ length: 64 }, (_, i) => message(2, node(i) + "\0"));
var W = Array.from({ length: 64 }, (_, i) => message(11, node(i) + "\0value"));
var ids = Array.from({ length: 20 }, (_, i) => i);
var starts = batch(ids.map(() => start));
var steps = new PreparedBatch(ids.flatMap((i) => [message(2, node(i) + "\0"), message(11, node(i) + "\0value"), message(7, "T\0")]));
var tp = async (c) => {
  await c.send(starts, 20);
  const last = parseInt(c.last, 10);
  for (const i of ids) steps.within(last - 19 + i, i * 3, i * 3 + 3);
  await c.send(steps.bytes, 60);
};
var tx = async (c, i) => {
  await c.send(start, 1);
  const t = parseInt(c.last, 10);
  await c.send(message(2, node(i) + "\0", t), 1);
  await c.send(message(11, node(i) + "\0" + c.last, t), 1);
  await c.send(message(7, "T\0", t), 1);
};
var work = { big, tx, read: (c, i) => c.send(R[i % 64], 1), write: (c, i) => c.send(W[i % 64], 1), tp };
var servers = [];
for (const [i, b] of bundles.entries()) {
  if (b === "C") {
    const p = await startPeer();
    servers.push({ name: "C", sock: p.socket, pid: p.process.pid, kill: () => p.stop(), rates: [], cpu: [] });
    continue;
  }
  const sock = `/tmp/pf/ab${i}`;
  rmSync2(sock, { force: true });
  const c = spawn2("node", [b, sock, ...poll.split(",")], { stdio: "ignore" });
  servers.push({ name: b, sock, pid: c.pid, kill: () => c.kill(), rates: [], cpu: [] });
}
await new Promise((r) => setTimeout(r, 600));
var cpuNs = (pid) => Number(readFileSync(`/proc/${pid}/schedstat`, "latin1").split(" ")[0]);
for (const s of servers) {
  const c = await LoadClient.connect(s.sock);
  for (let i = 0; i < 64; i++) await c.send(message(11, node(i) + "\0value"), 1);
  c.close();
}
for (let k = -2; k < rounds; k++) for (const s of servers) {
  const cs = [];
  for (let i = 0; i < n; i++) cs.push(await LoadClient.connect(s.sock));
  let done = 0;
  const c0 = cpuNs(s.pid), t0 = performance.now();
  await Promise.all(cs.map(async (c, i) => {
    while (performance.now() - t0 < ms) {
      await work[mode](c, i);
      done++;
    }
  }));
  const t = performance.now() - t0;
  const c1 = cpuNs(s.pid);
  cs.forEach((c) => c.close());
  if (k >= 0) {
    s.rates.push(done / t * 1e3);
    s.cpu.push((c1 - c0) / 1e3 / done);
  }
}
for (const s of servers) {
  s.rates.sort((a, b) => a - b);
  s.cpu.sort((a, b) => a - b);
  const m = (x) => x[x.length >> 1];
  console.log(`${mode} ${n} ${s.name.padEnd(12)} rate median ${Math.round(m(s.rates))} best ${Math.round(s.rates.at(-1))}  cpu us/op median ${m(s.cpu).toFixed(2)} best ${s.cpu[0].toFixed(2)}`);
  s.kill();
}
process.exit(0);
