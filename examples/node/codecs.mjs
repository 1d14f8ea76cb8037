// The codecs of a plan (schemas/README.md, section 9): from a clipped change to a payload of its grid's integers.
import { fit, MOST_MULTIPLIER, rotate } from "./grid.mjs";

const MULTIPLIER_BYTES = 4;
const OUTER = 0.9957; // root mean squares from which on a level of 2 bits is an outer one

// Rotate, and round by chance to 8 or 4 bits.
function hadamard({ bits = 8 }) {
  return {
    isKnown: [8, 4].includes(bits),
    bits,
    bytes: ({ padded }) => MULTIPLIER_BYTES + (padded * bits) / 8,
    encode(change, grid, seed, bound, draw) {
      const turned = rotate(change, seed, grid.blocks);
      const multiplier = leastMultiplier(turned, grid);
      if (multiplier === 0) return Buffer.alloc(this.bytes(grid));
      const codes = rounded(turned, multiplier, grid, draw);
      return Buffer.concat([little(fit(multiplier, codes, grid.top, bound)), packed(codes, bits)]);
    },
  };
}

// Rotate, keep the nearest level, and scale so that the mean is right: 1 or 2 bits.
function drive({ bits = 1 }) {
  return {
    isKnown: [1, 2].includes(bits),
    bits,
    bytes: ({ padded }) => MULTIPLIER_BYTES + (padded * bits) / 8,
    encode(change, grid, seed, bound, draw) {
      const turned = rotate(change, seed, grid.blocks);
      const squares = turned.reduce((sum, value) => sum + value * value, 0);
      const outer = bits === 1 ? Infinity : OUTER * Math.sqrt(squares / grid.padded);
      const half = 2 ** (bits - 1); // the code of the lowest level above 0
      const codes = turned.map((value) =>
        value < 0 ? half - 1 - (value < -outer ? 1 : 0) : half + (value > outer ? 1 : 0),
      );
      const along = turned.reduce((sum, value, i) => sum + value * (2 * codes[i] - grid.top), 0);
      const scale = squares > 0 ? squares / along / grid.unit + draw(4).readUInt32LE() / 2 ** 32 : 0;
      const multiplier = Math.min(Math.floor(scale), MOST_MULTIPLIER);
      return Buffer.concat([little(fit(multiplier, codes, grid.top, bound)), packed(codes, bits)]);
    },
  };
}

// Keep the largest share of the numbers where they are; what is dropped waits for the next change.
function topk({ share = 0.01, error_feedback: errorFeedback = true }) {
  const kept = ({ size }) => Math.ceil(share * size);
  const width = ({ size }) => Math.max(1, 32 - Math.clz32(size - 1));
  const placesBytes = (grid) => Math.ceil((kept(grid) * width(grid)) / 8);
  return {
    isKnown: share > 0 && share <= 1 && typeof errorFeedback === "boolean",
    bits: 8,
    errorFeedback,
    bytes: (grid) => MULTIPLIER_BYTES + placesBytes(grid) + kept(grid),
    encode(change, grid, seed, bound, draw) {
      const falling = [...change.keys()].sort((one, other) => Math.abs(change[other]) - Math.abs(change[one]));
      const places = falling.slice(0, kept(grid)).sort((one, other) => one - other);
      const largest = Float64Array.from(places, (place) => change[place]);
      const multiplier = leastMultiplier(largest, grid);
      const codes = rounded(largest, multiplier, grid, draw);
      const front = little(fit(multiplier, codes, grid.top, bound));
      return Buffer.concat([front, bitsOf(places, width(grid)), packed(codes, 8)]);
    },
    // What a payload is worth, in the model's order.
    value(payload, grid) {
      const [worth, codes] = [new Float64Array(grid.size), payload.subarray(-kept(grid))];
      const bits = payload.subarray(MULTIPLIER_BYTES);
      for (let i = 0; i < codes.length; i += 1) {
        let place = 0;
        for (let bit = 0; bit < width(grid); bit += 1) place += bitAt(bits, i * width(grid) + bit) * 2 ** bit;
        worth[place] = payload.readUInt32LE() * (2 * codes[i] - grid.top) * grid.unit;
      }
      return worth;
    },
  };
}

const CODECS = { hadamard, drive, topk };
const FIELDS = { hadamard: ["bits"], drive: ["bits"], topk: ["share", "error_feedback"] };

export class UnknownCodec extends Error {
  reason = "unknown-codec";
}

// The codec that a plan names, with its fields.
export function codecOf({ name, fields }) {
  const isOurs = Object.hasOwn(CODECS, name) && Object.keys(fields).every((field) => FIELDS[name].includes(field));
  const codec = isOurs ? CODECS[name](fields) : { isKnown: false };
  if (!codec.isKnown)
    throw new UnknownCodec(
      `the plan's codec is ${name} with ${JSON.stringify(fields)}, and this device knows hadamard (bits 8 or 4), ` +
        "drive (bits 1 or 2) and topk (share, error_feedback): it needs a newer program",
    );
  return codec;
}

// The smallest m with peak ≤ m·top·g, exactly: products below 2^53 are exact, the quotient may be off by one.
function leastMultiplier(values, { top, unit }) {
  const peak = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / unit;
  if (peak >= MOST_MULTIPLIER * top) return MOST_MULTIPLIER;
  let multiplier = Math.ceil(peak / top);
  while (multiplier * top < peak) multiplier += 1;
  while (multiplier > 0 && (multiplier - 1) * top >= peak) multiplier -= 1;
  return multiplier;
}

// Codes of the two levels around each value, the nearer one likelier, so that the mean is the value.
function rounded(values, multiplier, { top, unit }, draw) {
  const chance = draw(4 * values.length);
  return values.map((value, i) => {
    const scaled = multiplier ? Math.min(Math.max(value / (multiplier * unit), -top), top) : 0;
    return Math.floor((nearest((scaled + top) * 2 ** 31) + chance.readUInt32LE(4 * i)) / 2 ** 32);
  });
}

// The nearest integer, ties to even.
function nearest(value) {
  const found = Math.round(value);
  return found - value === 0.5 && found % 2 ? found - 1 : found;
}

function little(multiplier) {
  const front = Buffer.alloc(MULTIPLIER_BYTES);
  front.writeUInt32LE(multiplier);
  return front;
}

// Codes that fill whole bytes, the first in the lowest bits of the first byte.
function packed(codes, bits) {
  const whole = Buffer.alloc((codes.length * bits) / 8);
  codes.forEach((code, i) => (whole[Math.floor((i * bits) / 8)] |= code << ((i * bits) % 8)));
  return whole;
}

// Whole numbers of any width without gaps, the first bit the lowest of the first byte, the last byte filled with zeros.
function bitsOf(numbers, width) {
  const whole = Buffer.alloc(Math.ceil((numbers.length * width) / 8));
  numbers.forEach((number, i) => {
    for (let bit = 0; bit < width; bit += 1)
      if (Math.floor(number / 2 ** bit) % 2) whole[(i * width + bit) >> 3] |= 1 << ((i * width + bit) & 7);
  });
  return whole;
}

const bitAt = (bytes, at) => (bytes[at >> 3] >> (at & 7)) & 1;
