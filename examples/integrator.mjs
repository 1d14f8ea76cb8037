// A reader of releases, written from schemas/README.md alone: it believes what the release key has signed, and nothing else.
//
//   cd examples && npm ci
//   node integrator.mjs mqtt://HOST:PORT FEDERATION RELEASE_KEY STATE_FILE
//
// For each new release a JSON line is printed: its version, window and tensors. The last one taken and the newest known are
// kept in the state file, so that after a restart nobody can roll it back.
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { fetchBlob } from "./node/blobs.mjs";
import { connect } from "./node/line.mjs";
import { authentic, digestOf, envelopeIn, fresh, isNews } from "./node/manifest.mjs";
import { readModel } from "./node/model.mjs";
import { Refused } from "./node/wire.mjs";

const PATIENCE_MS = 20_000;
const [broker, federation, key, path] = process.argv.slice(2);
if (!path) throw new Error("usage: node integrator.mjs mqtt://HOST:PORT FEDERATION RELEASE_KEY STATE_FILE");
const releaseKey = Buffer.from(key, "hex");

// The last release taken, and the newest believed: who dies with a release in its hands gets that one again, and none before it.
// Before the first release any version is news.
let place = existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : { taken: -1, newest: -1 };

function remember(news) {
  place = { ...place, ...news };
  const file = openSync(`${path}.new`, "w");
  writeSync(file, JSON.stringify(place));
  fsyncSync(file);
  closeSync(file);
  renameSync(`${path}.new`, path);
}

async function load(event) {
  const envelope = envelopeIn(event);
  const manifest = authentic(envelope, releaseKey, federation);
  fresh(manifest, Date.now());
  if (!isNews(manifest, place)) return; // it is retained, so it comes again with every connection
  remember({ newest: manifest.version });
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const file = await fetchBlob(
    line,
    federation,
    Buffer.from(manifest.model.digest, "hex"),
    manifest.model.size,
    signal,
  );
  const { tensors, numbers } = readModel(file);
  const { version, window, members, model } = manifest;
  const norm = Math.sqrt(numbers.reduce((sum, number) => sum + number ** 2, 0));
  const shapes = Object.fromEntries(tensors.map(({ name, shape }) => [name, shape]));
  console.log(
    JSON.stringify({
      version,
      window,
      members,
      manifest: digestOf(envelope),
      model: model.digest,
      tensors: shapes,
      norm,
    }),
  );
  remember({ taken: version });
}

const secret = process.env.MIZZLE_BROKER_PASSWORD_FILE; // where the broker asks for one: mqtt://reader@HOST:PORT
const password = secret && readFileSync(secret, "utf8").trim();
const line = connect(broker, `integrator-${randomBytes(8).toString("hex")}`, { password, sessionExpiryInterval: 0 });
let turn = Promise.resolve(); // one event after the other
line.on("connect", () => line.subscribe(`mz/1/${federation}/pub/release`, { qos: 1 }));
line.on("message", (topic, event) => {
  if (topic !== `mz/1/${federation}/pub/release`) return;
  turn = turn
    .then(() => load(event))
    .catch((error) => {
      const why = error instanceof Refused ? `refused: ${error.message}` : `not to be had: ${error.message}`;
      console.error(`a release is ${why}`);
    });
});
for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, () => line.end(false, () => process.exit(0)));
