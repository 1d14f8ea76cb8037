// The grid: the integers in which every update is written (schemas/README.md, section 9), whatever its codec.
import { createHash } from "node:crypto";

export const MOST_MULTIPLIER = 2 ** 32 - 1;
const SIDES = [4096, 1024, 256, 64];

// What a plan's clip means in the numbers of the grid, for levels of so many bits and d = size.
export function gridOf(clip, bits, size) {
  const exponent = Math.floor(Math.log2(clip)) - 21;
  const [unit, blocks] = [2 ** exponent, blocksOf(size)];
  const padded = blocks.reduce((sum, side) => sum + side, 0);
  return { bits, top: 2 ** bits - 1, size, unit, bound: Math.floor(clip / unit), blocks, padded };
}

export function blocksOf(size) {
  let left = Math.ceil(size / 64) * 64;
  return SIDES.flatMap((side) => {
    const count = Math.floor(left / side);
    left -= count * side;
    return Array(count).fill(side);
  });
}

export function clip(change, norm) {
  const peak = change.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  if (peak === 0) return change;
  const length = peak * Math.sqrt(change.reduce((sum, value) => sum + (value / peak) ** 2, 0));
  return length > norm ? change.map((value) => (value / length) * norm) : change;
}

// Where number i of the change lies among the blocks: at i·stride mod padded.
function strideOf(blocks, padded) {
  if (blocks.length === 1) return 1;
  let stride = Math.floor((618 * padded) / 1000);
  while (divisor(stride, padded) > 1) stride += 1;
  return stride;
}

const divisor = (one, other) => (other ? divisor(other, one % other) : one);

// H·D·x / √B in every block of x.
export function rotate(change, seed, blocks) {
  const padded = blocks.reduce((sum, side) => sum + side, 0);
  const signs = createHash("shake256", { outputLength: padded / 8 })
    .update("mizzle/rotation/1")
    .update(seed)
    .digest();
  const turned = new Float64Array(padded);
  const stride = strideOf(blocks, padded);
  change.forEach((value, i) => {
    const place = (i * stride) % padded;
    turned[place] = (signs[place >> 3] >> (place & 7)) & 1 ? -value : value;
  });
  let start = 0;
  for (const side of blocks) {
    const block = turned.subarray(start, start + side);
    hadamard(block);
    block.forEach((value, i) => (block[i] = value / Math.sqrt(side)));
    start += side;
  }
  return turned;
}

function hadamard(block) {
  for (let half = 1; half < block.length; half *= 2) {
    for (let i = 0; i < block.length; i += 1) {
      if (i & half) continue;
      const [one, other] = [block[i], block[i + half]];
      block[i] = one + other;
      block[i + half] = one - other;
    }
  }
}

// The largest multiplier up to this one with which the update of these codes stays within the bound S.
export function fit(multiplier, codes, top, bound) {
  const squares = codes.reduce((sum, code) => sum + (2 * code - top) ** 2, 0);
  const square = (BigInt(bound) * BigInt(bound)) / BigInt(Math.max(squares, 1));
  let root = BigInt(Math.floor(Math.sqrt(Number(square))));
  while (root * root > square) root -= 1n;
  while ((root + 1n) ** 2n <= square) root += 1n;
  return root < BigInt(multiplier) ? Number(root) : multiplier;
}
