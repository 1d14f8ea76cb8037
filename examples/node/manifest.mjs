// Whom to believe about a release (schemas/README.md, section 12).
import { conform, hex, isSignedBy, keyId, Refused, sha256 } from "./wire.mjs";

const [MOST_EVENT, MOST_ENVELOPE] = [32_000, 24_000];
const TYPE = "application/vnd.mizzle.release.v1+json";

// JSON in which no key stands twice: who reads the first and who reads the last would read different manifests.
function parse(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Refused(`this is no JSON: ${error.message}`);
  }
  const written = [...text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?/g)].filter((found) => found[1]).length;
  if (written !== keysIn(value)) throw new Refused("a key stands twice in one object");
  return value;
}

function keysIn(value) {
  if (value === null || typeof value !== "object") return 0;
  const below = Object.values(value).reduce((sum, part) => sum + keysIn(part), 0);
  return below + (Array.isArray(value) ? 0 : Object.keys(value).length);
}

// The signed manifest in a CloudEvent, byte for byte as it was published, however a bridge has laid the JSON out.
export function envelopeIn(event) {
  if (event.length > MOST_EVENT) throw new Refused(`an event of ${event.length} bytes`);
  const { specversion, type, data } = parse(event.toString()) ?? {};
  if (specversion !== "1.0" || type !== "io.mizzle.release.v1" || !data)
    throw new Refused("this is no release's event");
  const { payload, payloadType, signatures } = data;
  const listed = Array.isArray(signatures) ? signatures.map(({ keyid, sig }) => ({ keyid, sig })) : [];
  return Buffer.from(JSON.stringify({ payload, payloadType, signatures: listed })); // keys sorted, no spaces
}

// The manifest in a signed envelope, if the release key signed it for this federation, whenever that was.
export function authentic(envelope, releaseKey, federation) {
  if (envelope.length > MOST_ENVELOPE) throw new Refused(`a signed manifest of ${envelope.length} bytes`);
  const { payload, payloadType, signatures, ...others } = parse(utf8(envelope)) ?? {};
  if (Object.keys(others).length || typeof payload !== "string" || payloadType !== TYPE)
    throw new Refused("this is no signed manifest");
  if (!Array.isArray(signatures) || !signatures.length) throw new Refused("nobody has signed this manifest");
  const text = Buffer.from(payload, "base64");
  const signed = Buffer.concat([Buffer.from(`DSSEv1 ${TYPE.length} ${TYPE} ${text.length} `), text]);
  const ours = signatures.filter((signature) => signature?.keyid === hex(keyId(releaseKey)));
  if (!ours.length) throw new Refused("signed by a key that is not trusted here");
  if (!ours.some(({ sig }) => isSignedBy(releaseKey, signed, Buffer.from(`${sig}`, "base64"))))
    throw new Refused("a forged signature");
  const manifest = parse(utf8(text));
  conform("manifest", manifest);
  if (![manifest.issued, manifest.expires].every((instant) => instant.endsWith("Z")))
    throw new Refused("instants are in UTC");
  if (manifest.federation !== federation) throw new Refused(`a release of federation ${manifest.federation}`);
  return manifest;
}

function utf8(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Refused("these bytes are no UTF-8");
  }
}

// Return if the manifest still holds at `now`, in milliseconds since 1970: so nobody is kept on an old model for ever.
export function fresh(manifest, now) {
  if (now >= Date.parse(manifest.expires))
    throw new Refused(`release ${manifest.version} has expired: newer ones are held back`);
}

// Whether it has not been taken; one before the newest we know of is a roll-back.
export function isNews({ version }, { taken, newest }) {
  if (version < newest) throw new Refused(`a roll-back to release ${version} where we had ${newest}`);
  return version > taken;
}

export const digestOf = (envelope) => hex(sha256(envelope));
