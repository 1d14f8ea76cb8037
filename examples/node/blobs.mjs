// Plans, models and manifests by what they are: retained pieces at the broker (schemas/README.md, section 7).
import { hex, Refused, same, sha256 } from "./wire.mjs";

const PIECE = 30_720;
const PREFIX = 6;

// Takes pieces in any order; gives the blob of `size` bytes with the last one, nothing before.
export function assembly(digest, size) {
  const count = Math.max(1, Math.ceil(size / PIECE));
  const found = new Map();
  return (index, piece) => {
    if (piece.length < PREFIX || piece.toString("latin1", 0, 2) !== "mb") throw new Refused("no piece of a blob");
    if (piece.readUInt32BE(2) !== size)
      throw new Refused(`a piece of ${piece.readUInt32BE(2)} bytes, ${size} are signed`);
    const wanted = Math.min(PIECE, size - index * PIECE);
    if (index >= count || piece.length - PREFIX !== wanted)
      throw new Refused(`piece ${index} has ${piece.length} bytes`);
    found.set(index, piece.subarray(PREFIX));
    if (found.size < count) return undefined;
    const blob = Buffer.concat(Array.from({ length: count }, (_, place) => found.get(place)));
    if (same(sha256(blob), digest)) return blob;
    found.clear();
    throw new Refused(`the pieces of blob ${hex(digest)} do not hash to their name`);
  };
}

// Fetch a blob over an MQTT line, however often that line is lost; rejects when `signal` says so.
export function fetchBlob(line, federation, digest, size, signal) {
  const topic = `mz/1/${federation}/pub/blob/${hex(digest)}/`;
  const add = assembly(digest, size);
  return new Promise((resolve, reject) => {
    const ask = () => line.connected && line.subscribe(`${topic}+`, { qos: 1 });
    const hear = (where, piece) => {
      if (!where.startsWith(topic)) return;
      try {
        const blob = add(Number(where.slice(topic.length)), piece);
        if (blob) end(() => resolve(blob));
      } catch (error) {
        console.error(`${where}: ${error.message}`);
      }
    };
    const late = () => end(() => reject(signal.reason));
    const end = (settle) => {
      line.off("connect", ask).off("message", hear);
      signal?.removeEventListener("abort", late);
      if (line.connected) line.unsubscribe(`${topic}+`);
      settle();
    };
    line.on("connect", ask).on("message", hear);
    signal?.addEventListener("abort", late);
    ask();
  });
}
