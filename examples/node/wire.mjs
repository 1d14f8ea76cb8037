// What is on the wire: keys, envelopes and the parts of an update (schemas/README.md, sections 3, 4 and 10).
import { createHash, createHmac, createPrivateKey, createPublicKey, sign, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { decode, encode } from "@msgpack/msgpack";
import Ajv from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

export const FIXED = 100;
export const MOST_HEADER = 4096;
export const CHUNK = 98_304;
const PURPOSES = { enrolment: 1, presence: 2, decline: 3, update: 4, identity: 16, invitation: 17, receipt: 18 };

// Bytes that are not what they should be. They change nothing.
export class Refused extends Error {}

export const sha256 = (...chunks) => chunks.reduce((hash, chunk) => hash.update(chunk), createHash("sha256")).digest();
export const hex = (bytes) => Buffer.from(bytes).toString("hex");
export const same = (one, other) => Buffer.compare(one, other) === 0;
export const shard = (device) => sha256(device)[0] % 64;

// Keys ----------------------------------------------------------------------------------------------------------------

const PKCS8 = Buffer.from("302e020100300506032b657004220420", "hex"); // RFC 8410: an Ed25519 seed follows
const SPKI = Buffer.from("302a300506032b6570032100", "hex"); // an Ed25519 public key follows

export function signingKey(seed) {
  const secret = createPrivateKey({ key: Buffer.concat([PKCS8, seed]), format: "der", type: "pkcs8" });
  const publicKey = createPublicKey(secret).export({ format: "der", type: "spki" }).subarray(-32);
  return { publicKey, sign: (bytes) => sign(null, bytes, secret) };
}

export const keyId = (publicKey) => sha256(publicKey).subarray(0, 16);

// The points whose order divides 8, as y with the sign bit cleared: under them a signature proves nothing.
const SMALL_ORDER = new Set([
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]);

export function isSignedBy(publicKey, bytes, signature) {
  const y = Buffer.from(publicKey);
  y[31] &= 0x7f;
  if (SMALL_ORDER.has(hex(y))) return false;
  const key = createPublicKey({ key: Buffer.concat([SPKI, publicKey]), format: "der", type: "spki" });
  return verify(null, bytes, key, signature); // OpenSSL refuses an S that is not below the group's order
}

// Messages ------------------------------------------------------------------------------------------------------------

const schemas = addFormats(new Ajv()).addVocabulary(["discriminator"]); // OpenAPI's: which field tells outcomes apart
const contract = (name) =>
  JSON.parse(readFileSync(new URL(`../../schemas/json/${name}.json`, import.meta.url), "utf8"));
const checks = {};

// Return if `value` is what the schema of this name says.
export function conform(name, value) {
  checks[name] ??= schemas.compile(contract(name));
  if (!checks[name](value)) throw new Refused(`this is no ${name}: ${schemas.errorsText(checks[name].errors)}`);
}

// A message as its JSON Schema sees it: bytes are base64 text.
const view = (value) =>
  value instanceof Uint8Array
    ? Buffer.from(value).toString("base64")
    : Array.isArray(value)
      ? value.map(view)
      : value && typeof value === "object"
        ? Object.fromEntries(Object.entries(value).map(([name, part]) => [name, view(part)]))
        : value;

const LIMITS = {
  maxStrLength: MOST_HEADER,
  maxBinLength: MOST_HEADER,
  maxArrayLength: 64,
  maxMapLength: 64,
  maxExtLength: 0,
};

function unpack(header) {
  try {
    return decode(header, LIMITS);
  } catch (error) {
    throw new Refused(`this is no msgpack: ${error.message}`);
  }
}

function messageIn(header, name) {
  const message = unpack(header);
  conform(`${name}.v1`, view(message));
  return message;
}

// Envelopes -----------------------------------------------------------------------------------------------------------

const signedBytes = (purpose, prefix, header) => Buffer.concat([Buffer.from(`mizzle/1/${purpose}\0`), prefix, header]);

// The message in an envelope that `key` has signed, and its id.
export function seal(message, purpose, key, epoch, counter) {
  const header = Buffer.from(encode(message));
  if (header.length > MOST_HEADER)
    throw new Error(`a header is at most ${MOST_HEADER} bytes, this takes ${header.length}`);
  const prefix = Buffer.alloc(36);
  prefix.write("mz");
  prefix.set([1, 1, PURPOSES[purpose], 0], 2);
  prefix.writeUInt16BE(header.length, 6);
  prefix.writeUInt32BE(epoch, 8);
  prefix.writeBigUInt64BE(BigInt(counter), 12);
  keyId(key.publicKey).copy(prefix, 20);
  const signed = signedBytes(purpose, prefix, header);
  return { sealed: Buffer.concat([prefix, key.sign(signed), header]), id: sha256(signed) };
}

// The message that `body` is, if one of `keys` has sealed it for `purpose`; nothing is decoded before that is known.
export function open(body, purpose, keys) {
  if (body.length < FIXED) throw new Refused(`an envelope has at least ${FIXED} bytes, this ${body.length}`);
  if (hex(body.subarray(0, 4)) !== "6d7a0101" || body[5] !== 0)
    throw new Refused(`begins with ${hex(body.subarray(0, 6))}`);
  const length = body.readUInt16BE(6);
  if (length > MOST_HEADER || body.length !== FIXED + length)
    throw new Refused(`a header of ${length} bytes in ${body.length}`);
  if (body[4] !== PURPOSES[purpose]) throw new Refused(`wanted a message for ${purpose}, its purpose is ${body[4]}`);
  const [prefix, signature, header] = [body.subarray(0, 36), body.subarray(36, FIXED), body.subarray(FIXED)];
  const key = keys.find((one) => same(keyId(one), prefix.subarray(20)));
  const signed = signedBytes(purpose, prefix, header);
  if (!key || !isSignedBy(key, signed, signature)) throw new Refused(`no key of ours has sealed this for ${purpose}`);
  return { message: messageIn(header, purpose), epoch: prefix.readUInt32BE(8), id: sha256(signed) };
}

// The hint that `body` is, which nobody has signed (section 10).
export function hintIn(body) {
  if (body.length > MOST_HEADER) throw new Refused(`a hint has at most ${MOST_HEADER} bytes, this ${body.length}`);
  const hint = unpack(body);
  const name = ["held.v1", "want.v1"].find((one) => one === hint?.type);
  if (!name) throw new Refused("this is no hint");
  conform(name, view(hint));
  if (hint.update.length !== 32) throw new Refused("an id has 32 bytes");
  return hint;
}

// The message in an envelope that was opened earlier, and kept.
export const headerIn = (body, purpose) => messageIn(body.subarray(FIXED), purpose);

// Belonging and sending -----------------------------------------------------------------------------------------------

export function parseToken(text) {
  const found = /^mzt1\.([A-Za-z0-9_-]{1,64})\.([A-Za-z0-9_-]{1,64})\.([0-9a-f]{32})\.([0-9a-f]{64})$/.exec(
    text.trim(),
  );
  if (!found) throw new Error("a token is mzt1.FEDERATION.DEVICE.SECRET.KEY");
  return { federation: found[1], device: found[2], secret: found[3], receiptKey: Buffer.from(found[4], "hex") };
}

// What a device says to the broker; it shows nothing of the secret (schemas/README.md, section 2).
export const brokerPassword = ({ secret }) =>
  createHmac("sha256", secret).update("mizzle/1/broker-password").digest("base64url");

export function proof({ federation, device, secret }, publicKey) {
  const said = Buffer.concat([Buffer.from(`mizzle/1/token\0${federation}\0${device}\0`), publicKey]);
  return createHmac("sha256", sha256(secret)).update(said).digest();
}

// The messages that carry an update, first part first; the same bytes each time.
export function* parts(sealed, id, payload) {
  yield Buffer.concat([sealed, payload.subarray(0, CHUNK)]);
  for (let index = 1; index * CHUNK < payload.length; index += 1) {
    const place = Buffer.from([index >> 8, index & 255]);
    yield Buffer.concat([Buffer.from("mc"), place, id, payload.subarray(index * CHUNK, (index + 1) * CHUNK)]);
  }
}
