// What a device may not forget (schemas/README.md, section 1): its key, and a journal of JSON lines, each on disk before
// anybody sees its effect. One program at a time.
import { randomBytes } from "node:crypto";
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { join } from "node:path";
import { hex, signingKey } from "./wire.mjs";

const BLOCK = 256; // numbers that are reserved at a time
const MOST_RECEIPTS = 1000;

function onDisk(path, flags, bytes) {
  const file = openSync(path, flags, 0o600);
  try {
    for (let at = 0; at < bytes.length;) at += writeSync(file, bytes, at);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

// Replace a file so that a loss of power leaves the old or the new one.
function replace(folder, name, bytes) {
  onDisk(join(folder, `${name}.new`), "w", bytes);
  renameSync(join(folder, `${name}.new`), join(folder, name));
  const directory = openSync(folder, "r");
  fsyncSync(directory);
  closeSync(directory);
}

const base64 = (bytes) => Buffer.from(bytes).toString("base64");
const bytesOf = (text) => Buffer.from(text, "base64");
const numbersOf = (bytes) => Float64Array.from({ length: bytes.length / 8 }, (_, i) => bytes.readDoubleLE(8 * i));

// What a line of the journal adds to what is known.
function fold(known, line) {
  if (line.counter !== undefined) known.counter = line.counter;
  if (line.identity !== undefined) known.identity = bytesOf(line.identity);
  if (line.password !== undefined) known.password = line.password;
  if (line.newest !== undefined) known.newest = line.newest;
  if (line.kept !== undefined)
    known.waiting.set(line.kept, { sealed: bytesOf(line.sealed), payload: bytesOf(line.payload) });
  if (line.lost !== undefined) known.lost = line.lost;
  if (line.sent !== undefined && known.waiting.has(line.sent)) known.waiting.get(line.sent).sent = true;
  if (line.ended !== undefined) {
    known.waiting.delete(line.ended);
    known.receipts.set(line.ended, bytesOf(line.receipt));
  }
}

function* lines({ counter, identity, password, newest, waiting, receipts, lost }) {
  yield { counter, newest, lost };
  if (password) yield { password };
  if (identity) yield { identity: base64(identity) };
  for (const [id, { sealed, payload }] of waiting) yield { kept: id, sealed: base64(sealed), payload: base64(payload) };
  for (const [id, { sent }] of waiting) if (sent) yield { sent: id };
  for (const [id, receipt] of [...receipts].slice(-MOST_RECEIPTS)) yield { ended: id, receipt: base64(receipt) };
}

export function openHome(folder) {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (!existsSync(join(folder, "key"))) replace(folder, "key", randomBytes(32));
  const known = {
    counter: 1,
    identity: undefined,
    password: undefined,
    newest: { window: 0, version: 0 },
    waiting: new Map(),
    receipts: new Map(),
    lost: undefined,
  };
  const path = join(folder, "journal.jsonl");
  // What a crash cut off in the middle of a line was never relied upon: it ends without a newline.
  const told = existsSync(path) ? readFileSync(path, "utf8").split("\n").slice(0, -1) : [];
  for (const line of told) fold(known, JSON.parse(line));
  replace(folder, "journal.jsonl", Buffer.from([...lines(known)].map((line) => `${JSON.stringify(line)}\n`).join("")));

  const note = (line) => {
    onDisk(path, "a", Buffer.from(`${JSON.stringify(line)}\n`));
    fold(known, line);
  };
  let next = known.counter;
  return {
    key: signingKey(readFileSync(join(folder, "key"))),
    identity: () => known.identity,
    password: () => known.password,
    newest: () => known.newest,
    waiting: () => known.waiting,
    lost: () => known.lost && numbersOf(bytesOf(known.lost)),
    counter: () => {
      if (next === known.counter) note({ counter: known.counter + BLOCK });
      next += 1;
      return next - 1;
    },
    knock: (password) => note({ password }),
    belong: (sealed) => note({ identity: base64(sealed) }),
    accept: (window, version) => note({ newest: { window, version } }),
    // In one line, so that no update is there without what it lacks, and none the other way round.
    keep: (id, sealed, payload, lost) =>
      note({
        kept: hex(id),
        sealed: base64(sealed),
        payload: base64(payload),
        lost: lost && base64(new Uint8Array(lost.buffer)),
      }),
    sent: (id) => note({ sent: id }),
    end: (id, receipt) => note({ ended: hex(id), receipt: base64(receipt) }),
  };
}
