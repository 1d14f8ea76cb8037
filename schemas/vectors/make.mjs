// Golden vectors, made without a line of Mizzle: npm's msgpack, Node's Ed25519 and SHA-256, and the layouts as the docstrings of
// schemas/README.md describes them. Append-only: what is there is never changed.
//
//   cd schemas && npm ci && node vectors/make.mjs vectors
import { createHash, createHmac, createPrivateKey, createPublicKey, sign as edSign } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { encode } from "@msgpack/msgpack";

const folder = process.argv[2];
if (!folder) throw new Error("usage: node make.mjs FOLDER");

// What everything is made of -------------------------------------------------------------------------------------------------------

const sha256 = (bytes) => createHash("sha256").update(bytes).digest();
const bytesOf = (word, length = 32) => sha256(Buffer.from(word)).subarray(0, length);
const hex = (bytes) => Buffer.from(bytes).toString("hex");
const big = (number, width) => Buffer.from(BigInt(number).toString(16).padStart(2 * width, "0"), "hex");
const pattern = (size) => Buffer.from(Uint8Array.from({ length: size }, (_, i) => 7 * i + (i >> 8)));
const PATTERN = "byte i is (7 * i + floor(i / 256)) mod 256";

function key(word) {
  const seed = bytesOf(word);
  const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]);
  const secret = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  const publicKey = createPublicKey(secret).export({ format: "der", type: "spki" }).subarray(-32);
  return { seed, publicKey, id: sha256(publicKey).subarray(0, 16), sign: (bytes) => edSign(null, bytes, secret) };
}

const DEVICE = key("the key of device pump-7");
const RECEIPT = key("the key that signs receipts");
const INVITATION = key("the key that signs invitations");
const RELEASE = key("the key that signs releases");
const FEDERATION = "watch-har";
const PAYLOAD = pattern(200_000);

const PURPOSES = { enrolment: 1, presence: 2, decline: 3, update: 4, identity: 16, invitation: 17, receipt: 18 };

function seal(header, purpose, signer, { epoch = 1, counter = "42", ...odd } = {}) {
  const layout = {
    magic: Buffer.from("mz"), version: 1, suite: 1, purpose: PURPOSES[purpose], zero: 0, length: header.length, keyId: signer.id, ...odd,
  };
  const prefix = Buffer.concat([
    layout.magic, Buffer.from([layout.version, layout.suite, layout.purpose, layout.zero]), big(layout.length, 2), big(epoch, 4),
    big(counter, 8), layout.keyId,
  ]);
  const signed = Buffer.concat([Buffer.from(`mizzle/1/${odd.signedFor ?? purpose}\0`), prefix, header]);
  return { prefix, signed, signature: signer.sign(signed), header, whole: Buffer.concat([prefix, signer.sign(signed), header]) };
}

const view = (value) =>
  value instanceof Uint8Array ? Buffer.from(value).toString("base64")
  : Array.isArray(value) ? value.map(view)
  : value && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([name, part]) => [name, view(part)]))
  : value;

const sorted = (value) =>
  Array.isArray(value) ? value.map(sorted)
  : value && typeof value === "object" ? Object.fromEntries(Object.keys(value).sort().map((name) => [name, sorted(value[name])]))
  : value;

function write(side, vector) {
  const path = join(folder, side, `${vector.name}.json`);
  const text = JSON.stringify(vector, null, 2) + "\n";
  mkdirSync(join(folder, side), { recursive: true });
  if (existsSync(path) && readFileSync(path, "utf8") !== text) throw new Error(`${path} is there and differs: vectors are append-only`);
  writeFileSync(path, text);
}

// The messages that cross the broker -----------------------------------------------------------------------------------------------

const here = { federation: FEDERATION, device: "pump-7" };
const base = { version: 6, digest: bytesOf("model 6"), size: 11_384 };
const plan = { digest: bytesOf("the plan"), size: 1_203 };
const token = { secret: "00112233445566778899aabbccddeeff" };
const proof = createHmac("sha256", sha256(Buffer.from(token.secret, "ascii")))
  .update(Buffer.concat([Buffer.from(`mizzle/1/token\0${here.federation}\0${here.device}\0`), DEVICE.publicKey])).digest();

const enrolment = { type: "enrolment.v1", ...here, public_key: DEVICE.publicKey, proof };
const presence = { type: "presence.v1", ...here, online: true, examples: 480, battery: 0.75, temperature: -12.5, link: "lora" };
const decline = { type: "decline.v1", ...here, window: 7, reason: "battery" };
const update = {
  type: "update.v1", ...here, window: 7, base: base.digest, plan: plan.digest, nonce: bytesOf("nonce", 16),
  payload: { digest: sha256(PAYLOAD), size: PAYLOAD.length },
};
const identity = {
  type: "identity.v1", ...here, public_key: DEVICE.publicKey,
  keys: [
    { role: "receipt", public_key: RECEIPT.publicKey },
    { role: "invitation", public_key: INVITATION.publicKey },
    { role: "release", public_key: RELEASE.publicKey },
  ],
  plan, epoch: 1,
};
const invitation = {
  type: "invitation.v1", ...here, window: 7, base, plan: plan.digest, epoch: 1, deadline: 1_790_000_000_000,
  seed: bytesOf("the rotation of window 7"), bound: 2_097_152,
};
const sealedUpdate = seal(encode(update), "update", DEVICE);
const receipt = {
  type: "receipt.v1", ...here, update: sha256(sealedUpdate.signed), window: 7,
  outcome: { outcome: "counted", release: 7, window: 7, weight: 64 }, at: 1_790_000_001_234,
};
const most = 2 ** 53 - 1;

const sealed = [
  ["enrolment", "a device asks to belong, with the key it brings", enrolment, "enrolment", DEVICE],
  ["presence", "a device is there, and tells all it can", presence, "presence", DEVICE],
  ["presence-least", "a device's last will: what it does not tell is nil, not left out",
    { ...presence, online: false, examples: 0, battery: null, temperature: null, link: null }, "presence", DEVICE],
  ["decline", "a device does not take part", decline, "decline", DEVICE],
  ["update", "what a device learned; its payload is that of parts.json", update, "update", DEVICE],
  ["update-largest", "the largest numbers that JavaScript holds exactly, the largest epoch and counter",
    { ...update, window: most, payload: { ...update.payload, size: 2 ** 32 } }, "update", DEVICE,
    { epoch: 2 ** 32 - 1, counter: "9223372036854775807" }],
  ["update-longest-name", "names of 64 characters, which msgpack writes with a length byte",
    { ...update, federation: "F".repeat(64), device: "a_-9".repeat(16) }, "update", DEVICE],
  ["identity", "a device belongs, sealed by the key that its token named", identity, "identity", RECEIPT],
  ["invitation", "a device is invited to a window", invitation, "invitation", INVITATION],
  ["receipt-counted", "an update is in a release", receipt, "receipt", RECEIPT],
  ["receipt-refused", "an update never will be, and a sentence that is not ASCII says why",
    { ...receipt, outcome: { outcome: "refused", reason: "late", why: "window 7 ended · try the next → 8" } }, "receipt", RECEIPT],
  ["receipt-abandoned", "too few devices had come", { ...receipt, outcome: { outcome: "abandoned", window: 7 } }, "receipt", RECEIPT],
];
for (const [name, what, message, purpose, signer, at = {}] of sealed) {
  const { epoch = 1, counter = "42" } = at;
  const envelope = seal(encode(message), purpose, signer, at);
  write("good", {
    name, what, kind: "sealed", message: view(message), wire_hex: hex(encode(message)), purpose, epoch, counter,
    seed_hex: hex(signer.seed), public_key_hex: hex(signer.publicKey), key_id_hex: hex(signer.id), envelope_hex: hex(envelope.whole),
    id_hex: hex(sha256(envelope.signed)),
  });
}

write("good", {
  name: "enrolment-proof", what: "HMAC-SHA-256 with the hash of the token's secret over tag, federation, device and public key", kind: "proof",
  ...here, secret: token.secret, public_key_hex: hex(DEVICE.publicKey), proof_hex: hex(proof),
});

// Pieces ---------------------------------------------------------------------------------------------------------------------------

const CHUNK = 98_304;
const parts = [0, 1, 2].map((index) => {
  const chunk = PAYLOAD.subarray(index * CHUNK, (index + 1) * CHUNK);
  const front = index ? Buffer.concat([Buffer.from("mc"), big(index, 2), sha256(sealedUpdate.signed)]) : sealedUpdate.whole;
  return Buffer.concat([front, chunk]);
});
const outline = (bytes) => ({ size: bytes.length, sha256_hex: hex(sha256(bytes)), begins_hex: hex(bytes.subarray(0, 36)) });
write("good", {
  name: "parts", what: "an update of 200,000 bytes is three messages, the first with the sealed header of update.json", kind: "parts",
  envelope_hex: hex(sealedUpdate.whole), payload_size: PAYLOAD.length, payload_rule: PATTERN, parts: parts.map(outline),
});

const PIECE = 30_720;
const piecesOf = (blob) =>
  Array.from({ length: Math.max(1, Math.ceil(blob.length / PIECE)) }, (_, index) =>
    Buffer.concat([Buffer.from("mb"), big(blob.length, 4), blob.subarray(index * PIECE, (index + 1) * PIECE)]));
for (const [name, size, what] of [
  ["blob", 70_000, "a blob of three pieces, the last one shorter"],
  ["blob-exact", 61_440, "a blob of exactly two pieces"],
  ["blob-empty", 0, "an empty blob is one piece without content"],
]) {
  const blob = pattern(size);
  write("good", {
    name, what, kind: "blob", federation: FEDERATION, size, rule: PATTERN, digest_hex: hex(sha256(blob)),
    pieces: piecesOf(blob).map((piece, index) => ({ topic: `mz/1/${FEDERATION}/pub/blob/${hex(sha256(blob))}/${index}`, ...outline(piece) })),
  });
}

const devices = ["pump-7", "wrist-1-left", "a", "A", "_", "-", "0".repeat(64)];
write("good", {
  name: "topics", what: "a device publishes below its own shard: the first byte of its name's SHA-256, mod 64", kind: "topics", federation: FEDERATION,
  topics: devices.map((device) => ({
    device, shard: sha256(device)[0] % 64, topic: `mz/1/${FEDERATION}/up/${sha256(device)[0] % 64}/${device}/update`,
  })),
});

// Plan, model and update -----------------------------------------------------------------------------------------------------------

// As the ledger writes it: keys sorted, no spaces, and a float that is whole keeps its ".0", which JSON.stringify would not write.
const PLAN = [
  '{"combine":{"strategy":{"fields":{},"name":"fedavg"},"weight":"uniform"},"federation":"watch-har","judge":{"scores":["norm","history"]},',
  `"model":{"digest":"${bytesOf("model 0").toString("base64")}","name":"mlp.safetensors","parameters":2823,"size":11584},`,
  '"privacy":{"delta":0.00001,"device_budget":1000.0,"federation_budget":1000.0,"mechanism":{"fields":{"noise_multiplier":0.2},',
  '"name":"gaussian"},"minimum_crowd":8},"release":{"every":1,"expires_h":168.0},"schema":1,"select":{"fields":{},"name":"uniform"},',
  '"train":{"batch_size":10,"epochs":2,"learning_rate":0.05},"update":{"clip":1.5,"codec":{"fields":{"bits":4},"name":"hadamard"}},',
  '"window":{"deadline_s":6.0,"goal":12,"invite":1.0,"late":"fold","max_staleness":4,"mode":"rounds","pause_s":1.5,"quorum":8,',
  '"windows":15}}',
].join("");
write("good", {
  name: "plan", what: "a plan as it travels, and the numbers that a device takes from it", kind: "plan", canonical: PLAN,
  digest_hex: hex(sha256(PLAN)), size: PLAN.length, exponent: -21, bound: 3_145_728, bits: 4, parameters: 2823, padded: 2880,
  payload_bytes: 1444,
});

const layout = { __metadata__: { format: "pt" }, "0.bias": { dtype: "F32", shape: [2], data_offsets: [24, 32] },
  "0.weight": { dtype: "F32", shape: [2, 3], data_offsets: [0, 24] } };
const numbers = [0.5, -1, 2, 0.25, 8, -0.125, 3, -7];
const layoutText = JSON.stringify(layout).padEnd(Math.ceil(JSON.stringify(layout).length / 8) * 8);
write("good", {
  name: "model", what: "a safetensors file whose header names its tensors in another order than that of their numbers", kind: "model",
  model_hex: hex(Buffer.concat([big(layoutText.length, 8).reverse(), Buffer.from(layoutText), Buffer.from(Float32Array.from(numbers).buffer)])),
  tensors: [["0.weight", [2, 3]], ["0.bias", [2]]], flat: numbers,
});

// A change of weights as a payload, by the definitions and not by a fast transform. Each number of a change is a small multiple of
// 2^-10, so that every sum below is exact in any order.
const grids = { exponent: -21, sides: [4096, 1024, 256, 64] };
function blocksOf(size) {
  let left = Math.ceil(size / 64) * 64;
  return grids.sides.flatMap((side) => {
    const count = Math.floor(left / side);
    left -= count * side;
    return Array(count).fill(side);
  });
}
function gridId(bits, size) {
  const form = Buffer.alloc(29);
  form.writeInt32LE(grids.exponent, 0);
  form.writeUInt8(bits, 4);
  form.writeBigUInt64LE(BigInt(size), 5);
  grids.sides.forEach((side, place) => form.writeUInt32LE(blocksOf(size).filter((block) => block === side).length, 13 + 4 * place));
  return hex(sha256(Buffer.concat([Buffer.from("mizzle/grid/1"), form])));
}
const isOdd = (word) => {
  let ones = 0;
  for (let rest = word; rest; rest &= rest - 1) ones += 1;
  return ones % 2 === 1;
};
function strideOf(blocks, padded) {
  if (blocks.length === 1) return 1;
  const isFree = (k) => !Array.from({ length: k - 1 }, (_, i) => i + 2).some((part) => k % part === 0 && padded % part === 0);
  let stride = Math.floor((618 * padded) / 1000);
  while (!isFree(stride)) stride += 1;
  return stride;
}
function rotated(change, signBytes) {
  const blocks = blocksOf(change.length);
  const padded = blocks.reduce((sum, side) => sum + side);
  const spread = Array(padded).fill(0);
  const stride = strideOf(blocks, padded);
  change.forEach((value, i) => (spread[(i * stride) % padded] = value));
  const signed = spread.map((value, i) => ((signBytes[i >> 3] >> (i & 7)) & 1 ? -value || 0 : value));
  let start = 0;
  return blocks.flatMap((side) => {
    const block = signed.slice(start, (start += side));
    return block.map((_, row) => block.reduce((sum, value, column) => sum + (isOdd(row & column) ? -value : value), 0) / Math.sqrt(side));
  });
}
const rint = (value) => {
  const below = Math.floor(value);
  const rest = value - below;
  return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1;
};
function isqrt(square) {
  let root = BigInt(Math.floor(Math.sqrt(Number(square))));
  while (root * root > square) root -= 1n;
  while ((root + 1n) * (root + 1n) <= square) root += 1n;
  return root;
}
function coded(change, { bits, seed, bound, draw }) {
  const unit = 2 ** grids.exponent;
  const top = 2 ** bits - 1;
  const padded = blocksOf(change.length).reduce((sum, side) => sum + side);
  const signBytes = createHash("shake256", { outputLength: padded / 8 }).update(Buffer.concat([Buffer.from("mizzle/rotation/1"), seed])).digest();
  const turned = rotated(change, signBytes);
  const steps = BigInt(Math.max(...turned.map(Math.abs)) * 2 ** 40); // of 2^-40, exactly
  const step = BigInt(top) << BigInt(40 + grids.exponent);
  const most = (steps + step - 1n) / step;
  if (most === 0n) return { turned, signBytes, most, squares: 0n, multiplier: 0n, payload: Buffer.alloc(4 + (padded * bits) / 8) };
  const codes = turned.map((value, i) => {
    const scaled = Math.min(Math.max(value / (Number(most) * unit), -top), top);
    return Number((BigInt(rint((scaled + top) * 2 ** 31)) + BigInt(draw.readUInt32LE(4 * i))) >> 32n);
  });
  const squares = codes.reduce((sum, code) => sum + BigInt(2 * code - top) ** 2n, 0n);
  const fitting = isqrt((BigInt(bound) * BigInt(bound)) / squares);
  const multiplier = fitting < most ? fitting : most;
  const packed = bits === 8 ? codes : Array.from({ length: padded / 2 }, (_, i) => codes[2 * i] | (codes[2 * i + 1] << 4));
  return { turned, signBytes, most, squares, multiplier, payload: Buffer.concat([big(multiplier, 4).reverse(), Buffer.from(packed)]) };
}
const RULE = "number i is (((37 * i + 11) mod 101) - 50) / 1024";
const ruled = (size) => Array.from({ length: size }, (_, i) => (((37 * i + 11) % 101) - 50) / 1024);
for (const [name, what, change, at] of [
  ["payload-4-bits", "three numbers with 4 bits: one block of 64", [0.5, -0.25, 0.125], { bits: 4 }],
  ["payload-8-bits", "70 numbers with 8 bits: two blocks of 64", ruled(70), { bits: 8 }],
  ["payload-fit", "a bound that is too small for the change, so that its multiplier is lowered", ruled(70), { bits: 4, bound: 400_000 }],
  ["payload-zero", "no change at all: the zero update", [0, 0, 0], { bits: 4 }],
  ["payload-blocks", "5,500 numbers with 4 bits: blocks of 4096, 1024, 256 and 64", ruled(5500), { bits: 4 }],
]) {
  const given = { bits: at.bits, seed: bytesOf("the rotation of window 7"), bound: at.bound ?? 2_097_152 };
  const made = coded(change, { ...given, draw: pattern(4 * 6000) });
  const small = change.length < 100;
  write("good", {
    name, what, kind: "payload", exponent: grids.exponent, bits: given.bits, size: change.length, blocks: blocksOf(change.length),
    grid_id_hex: gridId(given.bits, change.length), seed_hex: hex(given.seed), bound: given.bound,
    ...(small ? { change } : { change_rule: RULE }), draw_rule: PATTERN,
    ...(small ? { signs_hex: hex(made.signBytes), rotated: made.turned.slice(0, 8) } : {}),
    multiplier_before: Number(made.most), sum_of_squares: Number(made.squares), multiplier: Number(made.multiplier),
    payload_size: made.payload.length, payload_sha256_hex: hex(sha256(made.payload)), ...(small ? { payload_hex: hex(made.payload) } : {}),
  });
}

// The codecs that came later: `drive`, nearest levels of 1 or 2 bits with a scale that makes their mean right, and `topk`, the
// largest share of the numbers. Exactly, in integers: a number of a change that was rotated is a multiple of 2^-40.
const exactly = (value) => BigInt(value * 2 ** 40);
const lower = (one, other) => (one < other ? one : other);
const bitsPacked = (numbers, width) => {
  const bits = numbers.flatMap((number) => Array.from({ length: width }, (_, bit) => Math.floor(number / 2 ** bit) % 2));
  return Buffer.from(Uint8Array.from({ length: Math.ceil(bits.length / 8) }, (_, at) =>
    bits.slice(8 * at, 8 * at + 8).reduce((sum, bit, place) => sum + bit * 2 ** place, 0)));
};
const fitted = (multiplier, squares, bound) => lower(multiplier, isqrt((BigInt(bound) * BigInt(bound)) / squares));
function driven(change, { bits, seed, bound, draw }) {
  const top = 2 ** bits - 1;
  const padded = blocksOf(change.length).reduce((sum, side) => sum + side);
  const signBytes = createHash("shake256", { outputLength: padded / 8 }).update(Buffer.concat([Buffer.from("mizzle/rotation/1"), seed])).digest();
  const turned = rotated(change, signBytes);
  const whole = turned.map(exactly);
  const length = whole.reduce((sum, value) => sum + value * value, 0n);
  const isOuter = (value) => bits === 2 && (10_000n * value) ** 2n * BigInt(padded) > 9957n ** 2n * length;
  const levels = whole.map((value) => (value < 0n ? -1 : 1) * (isOuter(value) ? 3 : 1));
  const along = whole.reduce((sum, value, i) => sum + value * BigInt(levels[i]), 0n);
  const chance = BigInt(draw.readUInt32LE());
  const most = length && ((length << BigInt(32 - 40 - grids.exponent)) + chance * along) / (along << 32n);
  const squares = levels.reduce((sum, level) => sum + BigInt(level) ** 2n, 0n);
  const multiplier = fitted(most, squares, bound);
  const payload = Buffer.concat([big(multiplier, 4).reverse(), bitsPacked(levels.map((level) => (level + top) / 2), bits)]);
  return { turned, signBytes, most, squares, multiplier, payload };
}
function sparse(change, { share, bound, draw }) {
  const [size, unit, top] = [change.length, 2 ** grids.exponent, 255];
  const falling = change.map((_, i) => i).sort((one, other) => Math.abs(change[other]) - Math.abs(change[one]));
  const kept = Math.ceil(share * size);
  if (kept < size && Math.abs(change[falling[kept - 1]]) === Math.abs(change[falling[kept]])) throw new Error("whichever of equals is kept");
  const places = falling.slice(0, kept).sort((one, other) => one - other);
  const step = BigInt(top) << BigInt(60 + grids.exponent);
  const most = (BigInt(Math.abs(change[falling[0]]) * 2 ** 60) + step - 1n) / step;
  const codes = places.map((place, i) => {
    const scaled = Math.min(Math.max(change[place] / (Number(most) * unit), -top), top);
    return Number((BigInt(rint((scaled + top) * 2 ** 31)) + BigInt(draw.readUInt32LE(4 * i))) >> 32n);
  });
  const squares = codes.reduce((sum, code) => sum + BigInt(2 * code - top) ** 2n, 0n);
  const multiplier = fitted(most, squares, bound);
  const width = (size - 1).toString(2).length;
  const payload = Buffer.concat([big(multiplier, 4).reverse(), bitsPacked(places, width), Buffer.from(codes)]);
  const sent = change.map(() => 0);
  places.forEach((place, i) => (sent[place] = Number(multiplier) * (2 * codes[i] - top) * unit));
  return { places, most, squares, multiplier, payload, sent };
}
const DISTINCT = "number i is (-1)^i * (((73 * i + 5) mod 331) + 1) / 1024";
const distinct = (size) => Array.from({ length: size }, (_, i) => ((-1) ** i * (((73 * i + 5) % 331) + 1)) / 1024);
const byRule = (size) => ({ change: ruled(size), ...(size < 100 ? {} : { rule: RULE }) });
for (const [name, what, { change, rule }, codec, bound = 2_097_152] of [
  ["payload-1-bit", "74 numbers with 1 bit: their signs, once they are rotated; chance rounds the multiplier up", byRule(74), { name: "drive", fields: { bits: 1 } }],
  ["payload-1-bit-blocks", "5,500 numbers with 1 bit, which is what drive has where its plan does not say; the bound lowers their multiplier",
    byRule(5500), { name: "drive", fields: {} }, 4_000_000],
  ["payload-1-bit-zero", "no change at all with 1 bit: nothing is divided by nothing", { change: [0, 0, 0] }, { name: "drive", fields: { bits: 1 } }],
  ["payload-2-bits", "76 numbers with 2 bits: nearest levels of four; chance rounds the multiplier up", byRule(76), { name: "drive", fields: { bits: 2 } }],
  ["payload-2-bits-blocks", "5,500 numbers with 2 bits", byRule(5500), { name: "drive", fields: { bits: 2 } }, 2 ** 23],
  ["payload-topk", "6 of 300 numbers, their places with 9 bits each, so that two bits of zeros follow",
    { change: distinct(300), rule: DISTINCT }, { name: "topk", fields: { share: 0.02 } }],
  ["payload-topk-share", "0.07 of 100 numbers are 8, for the product of these two is above 7 in a 64-bit float; the bound lowers their multiplier",
    { change: distinct(100), rule: DISTINCT }, { name: "topk", fields: { share: 0.07, error_feedback: false } }, 400_000],
]) {
  const isSparse = codec.name === "topk";
  const bits = isSparse ? 8 : (codec.fields.bits ?? 1);
  const seed = bytesOf("the rotation of window 7");
  const made = (isSparse ? sparse : driven)(change, { bits, share: codec.fields.share, seed, bound, draw: pattern(4 * 6000) });
  const small = change.length < 100;
  write("good", {
    name, what, kind: "payload", codec, exponent: grids.exponent, bits, size: change.length, blocks: blocksOf(change.length),
    grid_id_hex: gridId(bits, change.length), seed_hex: hex(seed), bound, ...(rule ? { change_rule: rule } : { change }), draw_rule: PATTERN,
    ...(isSparse ? { places: made.places } : {}),
    ...(small ? { signs_hex: hex(made.signBytes), rotated: made.turned.slice(0, 8) } : {}),
    multiplier_before: Number(made.most), sum_of_squares: Number(made.squares), multiplier: Number(made.multiplier),
    payload_size: made.payload.length, payload_sha256_hex: hex(sha256(made.payload)),
    ...(small || isSparse ? { payload_hex: hex(made.payload) } : {}),
  });
}

// What a plan asks of a device besides a codec.
const shortened = (change, norm) => {
  const length = Math.hypot(...change);
  return length > norm ? change.map((value) => (value / length) * norm) : change;
};
const uncounted = [0.375, -0.5];
write("good", {
  name: "weighed", what: "a change grows with its device's examples by the plan's update.examples, and is clipped after that", kind: "weighed",
  change: uncounted, expected: 30, clip: 1.5,
  cases: [15, 45, 90].map((examples) => {
    const weighed = uncounted.map((value) => (value * examples) / 30);
    return { examples, weighed, clipped: shortened(weighed, 1.5) };
  }),
});
write("good", {
  name: "proximal", what: "one step of FedProx: against the gradient, and back to the base by train.proximal", kind: "proximal",
  proximal: 0.25, learning_rate: 0.5, base: [1, -2, 0.5], weights: [1.5, -2, -0.5], gradient: [0.25, 1, -0.125],
  pull: [0.125, 0, -0.25], stepped: [1.3125, -2.5, -0.3125],
});
let lost = [0, 0, 0, 0];
write("good", {
  name: "feedback", what: "topk keeps 2 of 4 numbers in each of three windows; what it drops joins the next change, and both are clipped",
  kind: "feedback", codec: { name: "topk", fields: { share: 0.5 } }, size: 4, clip: 1, exponent: grids.exponent, bound: 2_097_152, draw_rule: PATTERN,
  windows: [[0.5, -0.125, 0.25, 0.0625], [0.0625, -0.5, 0.0625, 0.125], [1, 0.125, 0.5, -0.25]].map((change) => {
    const wanted = shortened(change.map((value, i) => value + lost[i]), 1);
    const { payload, sent } = sparse(wanted, { share: 0.5, bound: 2_097_152, draw: pattern(8) });
    lost = wanted.map((value, i) => value - sent[i]);
    return { change, wanted, payload_hex: hex(payload), lost };
  }),
});

const PLAIN = PLAN.replace('{"fields":{"noise_multiplier":0.2},"name":"gaussian"}', '{"fields":{},"name":"plain"}')
  .replace('"learning_rate":0.05', '"learning_rate":0.05,"proximal":0.01')
  .replace('{"fields":{"bits":4},"name":"hadamard"}', '{"fields":{},"name":"drive"},"examples":200');
write("good", {
  name: "plan-plain", what: "a plan of 1 bit without a privacy claim, with FedProx and weighing by examples; a field that it does not name has its default",
  kind: "plan", canonical: PLAIN, digest_hex: hex(sha256(PLAIN)), size: PLAIN.length, exponent: -21, bound: 3_145_728, bits: 1, parameters: 2823,
  padded: 2880, payload_bytes: 364,
});

// Frames by hand [RFC 8878, Sec. 3.1.1]: a header, then blocks of one byte that is repeated.
const repeated = (byte, times, { isLast = true } = {}) =>
  Buffer.from([...big(times * 8 + 2 + (isLast ? 1 : 0), 3).reverse(), byte]);
const frame = (head, ...blocks) => Buffer.concat([Buffer.from("28b52ffd", "hex"), Buffer.from(head.replaceAll(" ", ""), "hex"), ...blocks]);
const ZEROS = frame("20 44", repeated(0, 68));
write("good", {
  name: "frame", what: "the zero update of three numbers with 8 bits as a zstd frame that says how long it is; other frames of it are as good",
  kind: "frame", size: 68, payload_hex: hex(Buffer.alloc(68)), frame_hex: hex(ZEROS),
});

// Releases -------------------------------------------------------------------------------------------------------------------------

const TYPE = "application/vnd.mizzle.release.v1+json";
const manifest = {
  schema: 1, federation: FEDERATION, version: 7, window: 9, members: 12,
  model: { digest: hex(bytesOf("model 7")), size: 11_384, format: "safetensors" }, plan: hex(plan.digest),
  previous: hex(bytesOf("the signed manifest of release 6")), issued: "2026-11-24T06:00:00Z", expires: "2026-12-01T06:00:00Z",
  privacy: { epsilon: 207.5, delta: 0.00001, sentence: "ε for the device that lost most; sixteen wrists hide nobody" },
};
const compact = (value) => JSON.stringify(sorted(value));
function dsse(text, signer, { type = TYPE, signedAs = type, keyid = hex(signer.id), spoil = (bytes) => bytes } = {}) {
  const payload = Buffer.from(text);
  const pae = Buffer.concat([Buffer.from(`DSSEv1 ${signedAs.length} ${signedAs} ${payload.length} `), payload]);
  const signature = spoil(Buffer.from(signer.sign(pae)));
  return compact({ payloadType: type, payload: payload.toString("base64"), signatures: [{ keyid, sig: signature.toString("base64") }] });
}
const good = dsse(compact(manifest), RELEASE);
const cloudEvent = {
  specversion: "1.0", id: `${FEDERATION}/7`, source: `urn:mizzle:${FEDERATION}`, type: "io.mizzle.release.v1", subject: "release/7",
  time: manifest.issued, datacontenttype: "application/json", data: JSON.parse(good),
};
const NOW = Date.parse("2026-11-25T00:00:00Z");
write("good", {
  name: "release", what: "a signed manifest, and the event that announces it", kind: "release", federation: FEDERATION, now: NOW,
  seed_hex: hex(RELEASE.seed), public_key_hex: hex(RELEASE.publicKey), manifest, payload: compact(manifest), envelope: good,
  digest_hex: hex(sha256(good)), event: compact(cloudEvent),
});

// What must be refused -------------------------------------------------------------------------------------------------------------

// A vector's bytes are its `bytes`, each `hex` repeated `times` times, one after the other: bombs are described, not kept.
const plain = (...chunks) => chunks.map((chunk) => ({ hex: hex(chunk), times: 1 }));
const run = (byte, times) => ({ hex: byte, times });
const flip = (bytes, at, bit = 1) => {
  const copy = Buffer.from(bytes);
  copy[at] ^= bit;
  return copy;
};

function badEnvelope(name, what, at, error, bytes, publicKey = DEVICE.publicKey) {
  write("bad", { name, what, kind: "envelope", at, error, public_key_hex: hex(publicKey), bytes });
}

const header = encode(update);
const odd = (changes) => plain(seal(header, "update", DEVICE, changes).whole);
badEnvelope("envelope-magic", "begins with 'my'", "unseal", "Unreadable", odd({ magic: Buffer.from("my") }));
badEnvelope("envelope-version", "protocol version 2", "unseal", "Unreadable", odd({ version: 2 }));
badEnvelope("envelope-suite", "suite 2", "unseal", "Unreadable", odd({ suite: 2 }));
badEnvelope("envelope-reserved", "the byte that is 0 is 1", "unseal", "Unreadable", odd({ zero: 1 }));
badEnvelope("envelope-purpose", "purpose 9, which is none", "unseal", "Unreadable", odd({ purpose: 9 }));
badEnvelope("envelope-short", "one byte less than the fixed part", "unseal", "Unreadable", plain(sealedUpdate.whole.subarray(0, 99)));
badEnvelope("envelope-header-cut", "the header ends a byte before the length says", "unseal", "Unreadable",
  plain(sealedUpdate.whole.subarray(0, -1)));
const long = seal(Buffer.alloc(4097, 0xc0), "update", DEVICE);
badEnvelope("envelope-header-long", "a header of 4,097 bytes, signed and all there", "unseal", "Unreadable",
  [...plain(long.prefix, long.signature), run("c0", 4097)]);

badEnvelope("signature-flipped", "one bit of the signature", "verify", "Forged", plain(flip(sealedUpdate.whole, 40)));
badEnvelope("signature-header-flipped", "one bit of the header", "verify", "Forged", plain(flip(sealedUpdate.whole, 180)));
badEnvelope("signature-epoch-flipped", "one bit of the parameter epoch", "verify", "Forged", plain(flip(sealedUpdate.whole, 11)));
badEnvelope("signature-counter-flipped", "one bit of the counter", "verify", "Forged", plain(flip(sealedUpdate.whole, 19)));
badEnvelope("signature-purpose", "signed for a decline, offered as an update", "verify", "Forged", odd({ signedFor: "decline" }));
badEnvelope("signature-other-key", "names another key than the one registered", "verify", "Forged",
  plain(seal(header, "update", INVITATION).whole));
badEnvelope("signature-claimed-key", "names the key registered, signed by another", "verify", "Forged",
  plain(seal(header, "update", { ...INVITATION, id: DEVICE.id }).whole));

const order = 2n ** 252n + 27742317777372353535851937790883648493n;
const little = (bytes) => BigInt("0x" + hex(Buffer.from(bytes).reverse()));
const malleated = Buffer.concat([
  sealedUpdate.signature.subarray(0, 32), big(little(sealedUpdate.signature.subarray(32)) + order, 32).reverse(),
]);
badEnvelope("signature-malleated", "S + L instead of S: the same equation holds, the bytes differ", "verify", "Forged",
  plain(sealedUpdate.prefix, malleated, header));

const neutral = Buffer.concat([Buffer.from([1]), Buffer.alloc(31)]);
const anything = { publicKey: neutral, id: sha256(neutral).subarray(0, 16), sign: () => Buffer.concat([neutral, Buffer.alloc(32)]) };
badEnvelope("key-small-order", "the neutral element as key, with the one signature that fits every message under it", "verify", "Forged",
  plain(seal(header, "update", anything).whole), neutral);
badEnvelope("header-no-message", "sealed by the right key, but the header is no message", "decode", "Unreadable",
  plain(seal(encode({ type: "update.v1" }), "update", DEVICE).whole));

function badMessage(name, what, bytes, { kind = "from_device", error = "Unreadable" } = {}) {
  write("bad", { name, what, kind, error, bytes });
}
const spelled = (message) => plain(encode(message));
const raw = (text) => plain(Buffer.from(text.replaceAll(" ", ""), "hex"));
const without = (message, name) => Object.fromEntries(Object.entries(message).filter(([field]) => field !== name));
// A map like `message` in which the value of `name` is spelled as `bytes`.
function spelling(message, name, bytes) {
  const fields = Object.entries(message).map(([field, value]) => [encode(field), field === name ? Buffer.from(bytes, "hex") : encode(value)]);
  return plain(Buffer.concat([Buffer.from([0x80 | fields.length]), ...fields.flat()]));
}

badMessage("bomb-empty-arrays", "8 MiB of empty arrays", [run("90", 8_388_608)], { error: "Oversized" });
badMessage("bomb-empty-arrays-small", "4 kB of empty arrays", [run("90", 4096)]);
badMessage("bomb-array-of-arrays", "an array that holds 3,000 empty ones", [run("dc0bb8", 1), run("90", 3000)]);
badMessage("bomb-nested-arrays", "4,000 arrays inside each other", [run("91", 4000), run("c0", 1)]);
badMessage("bomb-nested-maps", "1,300 maps inside each other", [run("81a161", 1300), run("c0", 1)]);
badMessage("claim-array", "an array that claims 4,294,967,295 items", raw("dd ffffffff"));
badMessage("claim-map", "a map that claims 4,294,967,295 items", raw("df ffffffff"));
badMessage("claim-text", "a text that claims 4,294,967,295 bytes", raw("81 a474797065 db ffffffff"));
badMessage("claim-bytes", "bytes that claim 4,294,967,295 of themselves", raw("81 a474797065 c6 ffffffff"));
badMessage("claim-ext", "an extension that claims 4,294,967,295 bytes", raw("81 a474797065 c9 ffffffff 05"));
badMessage("ext", "an extension type where a number is wanted", spelling(decline, "window", "d40507"));
badMessage("ext-empty", "an extension of no bytes", spelling(decline, "window", "c70005"));
badMessage("ext-timestamp", "msgpack's own timestamp where a number is wanted", spelling(decline, "window", "d6ff00000007"));
badMessage("map-too-wide", "a map of 65 keys", [...plain(Buffer.from("de0041", "hex")),
  ...plain(Buffer.concat(Array.from({ length: 65 }, (_, i) => Buffer.concat([encode(`k${i}`), encode(0)]))))]);

badMessage("key-twice", "the window stands twice, with two values",
  plain(Buffer.concat([Buffer.from([0x86]), Buffer.from(encode(decline)).subarray(1), encode("window"), encode(8)])));
badMessage("key-twice-type", "the type stands twice",
  plain(Buffer.concat([Buffer.from([0x86]), encode("type"), encode("update.v1"), Buffer.from(encode(decline)).subarray(1)])));
badMessage("key-no-text", "a key that is a number", raw("81 07 07"));
badMessage("key-bytes", "keys that are bytes",
  plain(Buffer.concat([Buffer.from([0x81]), encode(Buffer.from("type")), encode("decline.v1")])));
badMessage("trailing-byte", "a byte after the message", plain(Buffer.concat([encode(decline), Buffer.from([0xc0])])));
badMessage("trailing-message", "a message after the message", plain(Buffer.concat([encode(decline), encode(decline)])));
badMessage("cut", "the last byte is missing", plain(Buffer.from(encode(update)).subarray(0, -1)));
badMessage("nothing", "no bytes at all", []);
badMessage("reserved-byte", "0xc1, which msgpack never uses", raw("c1"));
badMessage("no-map", "the fields of a message in an array", spelled(Object.values(decline)));
const front = Buffer.from(encode({ ...decline, reason: "" })).subarray(0, -1);
const filler = 4097 - front.length - 3;
badMessage("too-long", "4,097 bytes, one more than a device may say",
  [...plain(front, Buffer.from([0xda]), big(filler, 2)), run("61", filler)], { error: "Oversized" });

badMessage("field-unknown", "a field that the message does not have", spelled({ ...decline, why: "tired" }));
badMessage("field-unknown-below", "a field that a part of the message does not have",
  spelled({ ...update, payload: { ...update.payload, codec: "zstd" } }));
badMessage("field-missing", "no reason", spelled(without(decline, "reason")));
badMessage("type-missing", "no type", spelled(without(decline, "type")));
badMessage("type-unknown", "a version of the message that is not spoken", spelled({ ...decline, type: "decline.v2" }));
badMessage("type-of-server", "a receipt where a device speaks", spelled(receipt));
badMessage("type-of-device", "an update where a device is told", spelled(update), { kind: "to_device" });
badMessage("type-number", "a type that is a number", spelled({ ...decline, type: 3 }));
badMessage("outcome-unknown", "an outcome that is none", spelled({ ...receipt, outcome: { outcome: "lost" } }), { kind: "to_device" });
badMessage("outcome-mixed", "an outcome with another one's fields",
  spelled({ ...receipt, outcome: { outcome: "abandoned", window: 7, weight: 64 } }), { kind: "to_device" });
badMessage("role-unknown", "a key for a role that is none",
  spelled({ ...identity, keys: [{ role: "root", public_key: RECEIPT.publicKey }] }), { kind: "to_device" });

badMessage("number-nan", "a battery of NaN", spelling(presence, "battery", "cb7ff8000000000000"));
badMessage("number-infinite", "an infinite temperature", spelling(presence, "temperature", "cb7ff0000000000000"));
badMessage("number-infinite-32", "minus infinity in 32 bits", spelling(presence, "temperature", "caff800000"));
badMessage("number-share", "a battery of 150 %", spelled({ ...presence, battery: 1.5 }));
badMessage("number-negative", "window -1", spelled({ ...decline, window: -1 }));
badMessage("number-large", "window 2^53 + 1", spelling(decline, "window", "cf0020000000000001"));
badMessage("number-largest", "window 2^64 - 1", spelling(decline, "window", "cfffffffffffffffff"));
badMessage("number-size", "a payload of 2^32 + 1 bytes", spelled({ ...update, payload: { ...update.payload, size: 2 ** 32 + 1 } }));
badMessage("number-weight", "a weight of 65", spelled({ ...receipt, outcome: { ...receipt.outcome, weight: 65 } }), { kind: "to_device" });
badMessage("number-bound", "a bound of 0", spelled({ ...invitation, bound: 0 }), { kind: "to_device" });

badMessage("name-newline", "a newline at the end of a name", spelled({ ...decline, device: "pump-7\n" }));
badMessage("name-empty", "an empty name", spelled({ ...decline, device: "" }));
badMessage("name-long", "a name of 65 characters", spelled({ ...decline, device: "a".repeat(65) }));
badMessage("name-slash", "a name that would be two levels of a topic", spelled({ ...decline, device: "pump/7" }));
badMessage("name-wildcard", "a name that would match every device", spelled({ ...decline, device: "+" }));
badMessage("name-nul", "a NUL within a name", spelled({ ...decline, device: "pump\u00007" }));
badMessage("name-not-ascii", "digits that are not ASCII", spelled({ ...decline, device: "pump-٧" }));
badMessage("name-not-utf8", "a name that is no UTF-8", spelling(decline, "device", "a2c328"));

badMessage("kind-text-for-number", "a window in text", spelled({ ...decline, window: "7" }));
badMessage("kind-float-for-number", "window 7.0", spelling(decline, "window", "cb401c000000000000"));
badMessage("kind-bool-for-number", "a window that is true", spelled({ ...decline, window: true }));
badMessage("kind-number-for-bool", "online is 1", spelled({ ...presence, online: 1 }));
badMessage("kind-bytes-for-text", "a name as bytes", spelled({ ...decline, device: Buffer.from("pump-7") }));
badMessage("kind-base64-for-bytes", "a nonce as base64 text", spelled({ ...update, nonce: Buffer.from(update.nonce).toString("base64") }));
badMessage("kind-nil-for-number", "a window that is nil", spelled({ ...decline, window: null }));
badMessage("kind-array-for-map", "a payload reference as an array", spelled({ ...update, payload: Object.values(update.payload) }));
badMessage("bytes-short", "a digest of 31 bytes", spelled({ ...update, base: bytesOf("model 6", 31) }));
badMessage("bytes-long", "a public key of 33 bytes", spelled({ ...enrolment, public_key: Buffer.concat([DEVICE.publicKey, Buffer.from([0])]) }));

function badPart(name, what, bytes) {
  write("bad", { name, what, kind: "part", error: "Unreadable", bytes });
}
badPart("part-short", "a later part that ends within its prefix", plain(parts[1].subarray(0, 35)));
badPart("part-magic", "neither an envelope nor a later part", plain(Buffer.from("mx"), parts[1].subarray(2, 200)));
badPart("part-long", "a later part with one byte too many", [...plain(parts[1].subarray(0, 36)), run("00", CHUNK + 1)]);
badPart("part-first-long", "a first part with one byte too many", [...plain(sealedUpdate.whole), run("00", CHUNK + 1)]);

// What only a gateway reads: payloads of three numbers (hadamard, 8 bits: 68 bytes) and of a hundred (topk, 2 of them: 8 bytes).
function badPayload(name, what, payload, { mechanism = "plain", codec = { name: "hadamard", fields: { bits: 8 } }, size = 3 } = {}) {
  write("bad", { name, what, kind: "payload", error: "Unreadable", codec, mechanism, size, bytes: plain(payload) });
}
const twoOfAHundred = { codec: { name: "topk", fields: { share: 0.02 } }, size: 100 };
const atPlaces = (...places) => Buffer.concat([big(1, 4).reverse(), bitsPacked(places, 7), Buffer.from([0, 255])]);
badPayload("payload-long", "a byte more than its codec writes", Buffer.alloc(69));
badPayload("payload-short", "a byte less than its codec writes, and no zstd frame", Buffer.alloc(67));
badPayload("payload-squeezed", "a zstd frame under a privacy claim, where a length tells of the data", ZEROS, { mechanism: "gaussian" });
badPayload("topk-place-twice", "the same place twice", atPlaces(7, 7), twoOfAHundred);
badPayload("topk-places-fall", "places that do not ascend", atPlaces(8, 7), twoOfAHundred);
badPayload("topk-place-beyond", "place 100 of 100, which begin at 0", atPlaces(7, 100), twoOfAHundred);
badPayload("frame-no-size", "a frame that does not say how long its payload is", frame("00 00", repeated(0, 68)));
badPayload("frame-other-size", "a frame that claims, and holds, 69 bytes", frame("20 45", repeated(0, 69)));
badPayload("frame-lies", "a frame that claims 68 bytes and holds 69", frame("20 44", repeated(0, 69)));
badPayload("frame-claims-1-gib", "a frame that claims 1 GiB", frame("a0 00000040", repeated(0, 68)));
badPayload("frame-cut", "the last byte is missing", ZEROS.subarray(0, -1));
badPayload("frame-twice", "two frames of 34 bytes each", Buffer.concat([frame("20 22", repeated(0, 34)), frame("20 22", repeated(0, 34))]));
badPayload("frame-trailing", "a byte after the frame", Buffer.concat([ZEROS, Buffer.from([0])]));
badPayload("frame-skippable", "a frame to be skipped before the right one", Buffer.concat([Buffer.from("502a4d1800000000", "hex"), ZEROS]));
badPayload("frame-dictionary", "a frame that wants dictionary 5", frame("21 05 44", repeated(0, 68)));
badPayload("frame-window", "a frame that looks back 16 MiB", frame("80 70 44000000", repeated(0, 68)));

function badBlob(name, what, error, pieces, most = 2 ** 31) {
  write("bad", { name, what, kind: "blob", error, digest_hex: hex(sha256(pattern(30_721))), most, pieces });
}
const [full, last] = piecesOf(pattern(30_721));
badBlob("blob-short", "a piece without its size", "Unreadable", [{ index: 1, bytes: plain(last.subarray(0, 5)) }]);
badBlob("blob-magic", "a piece that begins with 'mz'", "Unreadable", [{ index: 1, bytes: plain(Buffer.from("mz"), last.subarray(2)) }]);
badBlob("blob-claim", "a piece of a blob of 4 GiB", "Oversized", [{ index: 0, bytes: plain(Buffer.from("6d62ffffffff", "hex")) }]);
badBlob("blob-most", "a blob of one byte more than was wanted", "Oversized", [{ index: 1, bytes: plain(last) }], 30_720);
badBlob("blob-place", "the last piece in the place of the first", "Unreadable", [{ index: 0, bytes: plain(last) }]);
badBlob("blob-beyond", "a piece after the last", "Unreadable", [{ index: 2, bytes: plain(last) }]);
badBlob("blob-two-sizes", "two pieces that claim different sizes", "Unreadable",
  [{ index: 1, bytes: plain(last) }, { index: 2, bytes: plain(Buffer.from("6d620000f00100", "hex")) }]);
badBlob("blob-forged", "all the pieces of another blob", "Forged",
  [{ index: 0, bytes: [...plain(full.subarray(0, 6)), run("ff", PIECE)] }, { index: 1, bytes: plain(last) }]);

function badRelease(name, what, error, envelope, { now = NOW, publicKey = RELEASE.publicKey } = {}) {
  write("bad", {
    name, what, kind: "release", error, federation: FEDERATION, now, public_key_hex: hex(publicKey),
    bytes: Array.isArray(envelope) ? envelope : plain(Buffer.from(envelope)),
  });
}
const text = compact(manifest);
const altered = (changes) => dsse(compact({ ...manifest, ...changes }), RELEASE);
badRelease("release-signature", "one bit of the signature", "Forged", dsse(text, RELEASE, { spoil: (bytes) => flip(bytes, 7) }));
badRelease("release-altered", "another manifest under the old signature", "Forged",
  compact({ ...JSON.parse(good), payload: Buffer.from(compact({ ...manifest, version: 8 })).toString("base64") }));
badRelease("release-other-key", "signed by the key for receipts", "Forged", dsse(text, RECEIPT));
badRelease("release-claimed-key", "names the right key, signed by another", "Forged", dsse(text, RECEIPT, { keyid: hex(RELEASE.id) }));
badRelease("release-small-order", "the one signature that fits every message under the neutral element", "Forged", dsse(text, anything),
  { publicKey: neutral });
badRelease("release-other-type", "signed as something else", "Unreadable", dsse(text, RELEASE, { type: "application/vnd.in-toto+json" }));
badRelease("release-signed-as", "the type was changed after signing", "Forged",
  dsse(text, RELEASE, { signedAs: "application/vnd.in-toto+json" }));
badRelease("release-unsigned", "no signatures", "Unreadable", compact({ ...JSON.parse(good), signatures: [] }));
badRelease("release-other-federation", "a release of another federation", "Forged", altered({ federation: "watch-hra" }));
badRelease("release-expired", "offered in the very millisecond in which it expires", "Outdated", good,
  { now: Date.parse(manifest.expires) });
badRelease("release-schema", "schema 2", "Unreadable", altered({ schema: 2 }));
badRelease("release-key-twice", "the version stands twice in what was signed", "Unreadable",
  dsse(text.replace('"version":7', '"version":8,"version":7'), RELEASE));
badRelease("release-payload-twice", "two payloads, the second one signed", "Unreadable",
  good.replace('{"payload":', '{"payload":"e30=","payload":'));
badRelease("release-unknown", "a field that a manifest does not have", "Unreadable", altered({ latest: true }));
badRelease("release-no-schema", "a manifest that does not name its schema", "Unreadable", dsse(compact(without(manifest, "schema")), RELEASE));
badRelease("release-nan", "an ε of NaN", "Unreadable", dsse(text.replace('"epsilon":207.5', '"epsilon":NaN'), RELEASE));
badRelease("release-infinite", "an ε beyond every float", "Unreadable", dsse(text.replace('"epsilon":207.5', '"epsilon":1e999'), RELEASE));
badRelease("release-text-version", "a version in text", "Unreadable", altered({ version: "7" }));
badRelease("release-digest", "a digest in capitals", "Unreadable", altered({ plan: manifest.plan.toUpperCase() }));
badRelease("release-no-zone", "an instant without a zone", "Unreadable", altered({ expires: "2026-12-01T06:00:00" }));
badRelease("release-other-zone", "an instant that is not in UTC", "Unreadable", altered({ expires: "2026-12-01T08:00:00+02:00" }));
badRelease("release-no-json", "bytes that are no UTF-8", "Unreadable", raw("7b c3 28 7d"));
badRelease("release-nested", "20,000 arrays inside each other", "Unreadable", [run("5b", 20_000)]);
badRelease("release-long", "24,001 bytes", "Oversized", [...plain(Buffer.from(good)), run("20", 24_001 - good.length)]);
