// From what training changed to a payload, by all that a plan asks for (schemas/README.md, section 9).
import { Zstd } from "@hpcc-js/wasm-zstd";
import { clip, gridOf } from "./grid.mjs";

const zstd = await Zstd.load();

// As much longer as there are more examples than the plan expects of a device.
export function weighed(change, expected, count) {
  return expected === undefined ? change : change.map((value) => value * (count / expected));
}

// With what the last payload lacked; what another model's lacked does not fit and is let go.
export function carried(change, lost) {
  return lost?.length === change.length ? change.map((value, i) => value + lost[i]) : change;
}

// The payload of a change that was weighed, and what it lacks, where its codec asks to keep that.
export function payloadOf(change, lost, { update, model, privacy }, codec, { seed, bound }, draw) {
  const grid = gridOf(update.clip, codec.bits, model.parameters);
  const wanted = clip(codec.errorFeedback ? carried(change, lost) : change, update.clip);
  const full = codec.encode(wanted, grid, seed, Math.min(grid.bound, bound), draw);
  const payload = privacy.mechanism.name === "plain" ? squeezed(full) : full;
  if (!codec.errorFeedback) return { payload };
  const sent = codec.value(full, grid);
  return { payload, lost: wanted.map((value, i) => value - sent[i]) };
}

// A zstd frame of a payload, where that is shorter. Never under a privacy claim: a compressed length tells of the data.
export function squeezed(full) {
  const frame = Buffer.from(zstd.compress(full, 1));
  return frame.length < full.length ? frame : full;
}
