// The golden vectors, read by the Node examples' own code: prints for each how many of them there are, and each fault.
import { readdirSync, readFileSync } from "node:fs";
import { assembly } from "../../examples/node/blobs.mjs";
import { codecOf } from "../../examples/node/codecs.mjs";
import { clip, gridOf, rotate } from "../../examples/node/grid.mjs";
import { authentic, digestOf, envelopeIn, fresh } from "../../examples/node/manifest.mjs";
import { readModel, step } from "../../examples/node/model.mjs";
import { payloadOf, squeezed, weighed } from "../../examples/node/payload.mjs";
import {
  headerIn,
  hex,
  open,
  parts,
  proof,
  Refused,
  seal,
  sha256,
  shard,
  signingKey,
} from "../../examples/node/wire.mjs";
import { Zstd } from "../../examples/node_modules/@hpcc-js/wasm-zstd/dist/index.js";

const zstd = await Zstd.load();
const folder = new URL("../../schemas/vectors/", import.meta.url);
const bytes = (text) => Buffer.from(text, "hex");
const pattern = (size) => Buffer.from(Uint8Array.from({ length: size }, (_, i) => 7 * i + (i >> 8)));
const RULES = {
  "number i is (((37 * i + 11) mod 101) - 50) / 1024": (i) => (((37 * i + 11) % 101) - 50) / 1024,
  "number i is (-1)^i * (((73 * i + 5) mod 331) + 1) / 1024": (i) => ((-1) ** i * (((73 * i + 5) % 331) + 1)) / 1024,
};
const ruled = (size, rule) => Array.from({ length: size }, (_, i) => RULES[rule](i));
const writtenOut = (runs) =>
  Buffer.concat(runs.map(({ hex: run, times }) => Buffer.alloc((run.length / 2) * times, bytes(run))));
const isSame = (found, wanted) => JSON.stringify(found) === JSON.stringify(wanted);
const isNear = (found, wanted) => found.length === wanted.length && found.every((x, i) => Math.abs(x - wanted[i]) < 1e-15);

const good = {
  sealed({ envelope_hex: whole, public_key_hex: key, purpose, seed_hex: seed, epoch, counter, id_hex: id }) {
    const opened = open(bytes(whole), purpose, [bytes(key)]);
    const again = seal(headerIn(bytes(whole), purpose), purpose, signingKey(bytes(seed)), epoch, counter);
    return isSame([hex(opened.id), opened.epoch, hex(again.sealed), hex(again.id)], [id, epoch, whole, id]);
  },
  proof: (vector) => hex(proof(vector, bytes(vector.public_key_hex))) === vector.proof_hex,
  parts({ envelope_hex: sealed, payload_size: size, parts: wanted }) {
    const id = bytes(JSON.parse(readFileSync(new URL("good/update.json", folder))).id_hex);
    return isSame(
      [...parts(bytes(sealed), id, pattern(size))].map((part) => hex(sha256(part))),
      wanted.map((part) => part.sha256_hex),
    );
  },
  blob({ size, digest_hex: digest }) {
    const [blob, add] = [pattern(size), assembly(bytes(digest), size)];
    const front = Buffer.concat([Buffer.from("mb"), Buffer.from(size.toString(16).padStart(8, "0"), "hex")]);
    let whole;
    for (let at = 0; at === 0 || at < size; at += 30_720)
      whole = add(at / 30_720, Buffer.concat([front, blob.subarray(at, at + 30_720)]));
    return whole.equals(blob);
  },
  topics: ({ topics }) => topics.every((wanted) => shard(wanted.device) === wanted.shard),
  plan(vector) {
    const plan = JSON.parse(vector.canonical);
    const codec = codecOf(plan.update.codec);
    const grid = gridOf(plan.update.clip, codec.bits, plan.model.parameters);
    const { bits, size, unit, bound, padded } = grid;
    const found = [hex(sha256(vector.canonical)), Math.log2(unit), bound, bits, size, padded, codec.bytes(grid)];
    return isSame(
      found,
      ["digest_hex", "exponent", "bound", "bits", "parameters", "padded", "payload_bytes"].map((name) => vector[name]),
    );
  },
  model({ model_hex: model, tensors, flat }) {
    const read = readModel(bytes(model));
    return isSame([read.tensors.map(({ name, shape }) => [name, shape]), [...read.numbers]], [tensors, flat]);
  },
  payload(vector) {
    const { size, bits, bound, blocks, exponent } = vector;
    const change = Float64Array.from(vector.change ?? ruled(size, vector.change_rule));
    const seed = bytes(vector.seed_hex);
    const codec = codecOf(vector.codec ?? { name: "hadamard", fields: { bits } });
    const grid = gridOf(2 ** (exponent + 21), bits, size);
    const payload = codec.encode(change, grid, seed, bound, pattern);
    const turned = vector.rotated ? [...rotate(change, seed, blocks)].slice(0, 8) : undefined;
    return isSame(
      [grid.blocks, codec.bytes(grid), hex(sha256(payload)), turned],
      [blocks, vector.payload_size, vector.payload_sha256_hex, vector.rotated],
    );
  },
  weighed: ({ change, expected, clip: norm, cases }) =>
    cases.every((wanted) => {
      const found = weighed(change, expected, wanted.examples);
      return isSame(found, wanted.weighed) && isNear(clip(found, norm), wanted.clipped);
    }),
  proximal({ proximal, learning_rate: rate, base, weights, gradient, stepped }) {
    step(weights, gradient, rate, proximal, base);
    return isSame(weights, stepped);
  },
  feedback({ codec, size, clip: norm, bound, windows }) {
    const update = { clip: norm, codec };
    const plan = { update, model: { parameters: size }, privacy: { mechanism: { name: "gaussian" } } };
    let lost;
    return windows.every((wanted) => {
      const change = Float64Array.from(wanted.change);
      const found = payloadOf(change, lost, plan, codecOf(codec), { seed: Buffer.alloc(32), bound }, pattern);
      lost = found.lost;
      return hex(found.payload) === wanted.payload_hex && isNear(lost, wanted.lost);
    });
  },
  frame({ payload_hex: payload, frame_hex: frame }) {
    const found = squeezed(bytes(payload));
    return isSame([found, bytes(frame)].map(unsqueezed), [payload, payload]);
  },
  release({ event, envelope, public_key_hex: key, federation, now, manifest, digest_hex: digest }) {
    const found = envelopeIn(Buffer.from(event));
    const read = authentic(found, bytes(key), federation);
    fresh(read, now);
    return isSame([found.toString(), digestOf(found)], [envelope, digest]) && read.version === manifest.version;
  },
};

const unsqueezed = (frame) => hex(zstd.decompress(frame));

// Each must be refused.
const bad = {
  envelope: ({ bytes: runs, public_key_hex: key }) => open(writtenOut(runs), "update", [bytes(key)]),
  to_device({ bytes: runs }) {
    for (const purpose of ["identity", "invitation", "receipt"])
      refused(() => headerIn(Buffer.concat([Buffer.alloc(100), writtenOut(runs)]), purpose));
    throw new Refused("all three");
  },
  blob({ digest_hex: digest, most, pieces }) {
    const add = assembly(bytes(digest), Math.min(most, 30_721));
    for (const piece of pieces) add(piece.index, writtenOut(piece.bytes));
  },
  release({ bytes: runs, public_key_hex: key, federation, now }) {
    fresh(authentic(writtenOut(runs), bytes(key), federation), now);
  },
};

function refused(act) {
  try {
    act();
  } catch (error) {
    if (error instanceof Refused) return true;
    throw error;
  }
  throw new Error("it was taken");
}

const count = {};
const faults = [];
for (const [side, readers] of Object.entries({ good, bad })) {
  for (const name of readdirSync(new URL(`${side}/`, folder))) {
    const vector = JSON.parse(readFileSync(new URL(`${side}/${name}`, folder)));
    const read = readers[vector.kind];
    if (!read) continue;
    count[`${side} ${vector.kind}`] = (count[`${side} ${vector.kind}`] ?? 0) + 1;
    try {
      if (!(side === "good" ? read(vector) : refused(() => read(vector))))
        faults.push(`${side}/${name}: it came out otherwise`);
    } catch (error) {
      faults.push(`${side}/${name}: ${error.stack}`);
    }
  }
}
console.log(JSON.stringify({ count, faults }));
