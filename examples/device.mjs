// A device of a federation, written from schemas/README.md alone: it enrols, trains, and keeps every update until its receipt.
//
//   cd examples && npm ci
//   MIZZLE_BROKER=mqtt://HOST:PORT MIZZLE_HOME=./home MIZZLE_TOKEN=mzt1.… [MIZZLE_CSV=FILE] node device.mjs
//
// It trains any model of linear layers with ReLU between them on the examples of a CSV file (numbers, then the label), or on
// some that it makes up. What it does is printed as JSON lines.
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { fetchBlob } from "./node/blobs.mjs";
import { codecOf } from "./node/codecs.mjs";
import { openHome } from "./node/home.mjs";
import { again, connect, say, sayOnce } from "./node/line.mjs";
import { layersOf, readModel, train, WrongShape } from "./node/model.mjs";
import { payloadOf, weighed } from "./node/payload.mjs";
import {
  brokerPassword,
  CHUNK,
  headerIn,
  hex,
  hintIn,
  open,
  parseToken,
  parts,
  proof,
  Refused,
  same,
  seal,
  sha256,
  shard,
} from "./node/wire.mjs";

const { MIZZLE_BROKER: broker, MIZZLE_HOME: folder, MIZZLE_TOKEN: token, MIZZLE_CSV: csv } = process.env;
const [ENROLMENT_MS, UPDATE_MS, MOST_WAITING] = [[2_000, 60_000], [10_000, 600_000], 64];
const LONGEST_MS = 2 ** 31 - 1; // that a timer of Node's waits; a longer one would fire at once

const UNKNOWN_MS = 60_000; // how long a window is taken to last whose plan is not here yet

const now = () => Math.round(performance.timeOrigin + performance.now()); // it does not jump, whatever clock is set
const tell = (event) => console.log(JSON.stringify(event));
const up = ({ federation, device }, kind) => `mz/1/${federation}/up/${shard(device)}/${device}/${kind}`;
const to = ({ federation, device }, kind) => `mz/1/${federation}/to/${device}/${kind}`;
const keysFor = (identity, role) =>
  identity.keys.filter((key) => key.role === role).map((key) => Buffer.from(key.public_key));

// Belonging (section 4) -----------------------------------------------------------------------------------------------

// What an identity says, if one of `receiptKeys` has sealed it for this device and its key.
function identityIn(body, receiptKeys, me) {
  const { message, epoch } = open(body, "identity", receiptKeys);
  const isOurs = message.federation === me.federation && message.device === me.device && message.epoch === epoch;
  if (!isOurs || !same(message.public_key, me.publicKey))
    throw new Refused("this identity is not for this device and its key");
  return message;
}

// Say the enrolment, the same bytes again and again, until the identity comes.
function enrol(home, granted) {
  const me = { ...granted, publicKey: home.key.publicKey };
  const enrolment = {
    type: "enrolment.v1",
    federation: me.federation,
    device: me.device,
    public_key: me.publicKey,
    proof: proof(granted, me.publicKey),
  };
  const { sealed } = seal(enrolment, "enrolment", home.key, 0, home.counter());
  const line = connect(broker, me.device, { password: home.password() });
  const ask = () => say(line, up(me, "enrol"), sealed);
  const stop = again(ask, ...ENROLMENT_MS);
  line.on("connect", () => {
    line.subscribe(to(me, "+"), { qos: 1 });
    ask();
  });
  return new Promise((resolve) => {
    line.on("message", (topic, body) =>
      listen(topic, () => {
        if (topic !== to(me, "identity")) return;
        const identity = identityIn(body, [granted.receiptKey], me);
        home.belong(body);
        tell({ event: "belongs", federation: me.federation, device: me.device });
        stop();
        line.end(false, () => resolve(identity));
      }),
    );
  });
}

// Hear something: what is refused, or is not for us, changes nothing.
function listen(topic, hear) {
  try {
    hear();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    console.error(`${topic}: ${error.message}`);
  }
}

// Taking part (sections 5, 6, 10 and 11) ------------------------------------------------------------------------------

function takePart(home, identity, examplesFor) {
  const { federation, device } = identity;
  const me = { federation, device, publicKey: home.key.publicKey };
  const blobs = new Map(); // the plan and the newest base model, by digest
  const resending = new Map(); // what stops it, by update
  const asked = new Map(); // by update that was probed for on this connection: the parts that were given for it since
  let outgoing = Promise.resolve(); // parts that go out, one at a time and in order
  const onTheWay = new Set(); // the updates among them
  let count = 0; // of examples, once they have been read
  let working = false;
  let queued;

  const sealed = (message, purpose) =>
    seal({ type: `${purpose}.v1`, federation, device, ...message }, purpose, home.key, identity.epoch, home.counter());
  const presence = (online) =>
    sealed({ online, examples: count, battery: null, temperature: null, link: null }, "presence").sealed;
  const line = connect(broker, device, {
    password: home.password(),
    will: { topic: up(me, "presence"), payload: presence(false) },
  });
  line.setMaxListeners(0); // each blob that is being fetched listens too

  // Send those parts of an update that are wanted, behind whatever goes out already.
  function send(id, isWanted = () => true) {
    onTheWay.add(id);
    outgoing = outgoing.then(() => sendNow(id, isWanted)).catch((error) => console.error(`${id}: ${error.message}`));
  }

  async function sendNow(id, isWanted) {
    onTheWay.delete(id);
    const update = home.waiting().get(id);
    if (!update || !line.connected) return;
    if (!update.sent) home.sent(id);
    tell({ event: "sent", update: id });
    onTheWay.add(id);
    try {
      let index = 0;
      for (const part of parts(update.sealed, Buffer.from(id, "hex"), update.payload)) {
        if (isWanted(index++) && !(await sayOnce(line, up(me, "update"), part))) return;
      }
    } finally {
      onTheWay.delete(id);
    }
  }

  // Say an update whole the first time, and ask what became of it from then on, whether or not anybody answers.
  function speak(id) {
    const update = home.waiting().get(id);
    if (!update || !line.connected || onTheWay.has(id)) return;
    if (update.sent || standsBehindALongOne(id)) {
      asked.set(id, new Set());
      sayOnce(line, up(me, "probe"), update.sealed);
      tell({ event: "asked", update: id });
      return;
    }
    asked.delete(id);
    send(id);
  }

  // Whether sending this one would take the place of parts that the gateway has of an older one.
  function standsBehindALongOne(id) {
    if (home.waiting().get(id).payload.length <= CHUNK) return false;
    for (const [other, { payload, sent }] of home.waiting()) {
      if (other === id) return false;
      if (sent && payload.length > CHUNK) return true;
    }
    return false;
  }

  // Take a hint: it is signed by nobody, and makes us send each part at most once for a probe.
  function hinted(body) {
    const { type, update, parts: runs } = hintIn(body);
    const id = hex(update);
    const given = asked.get(id);
    const waits = home.waiting().get(id);
    if (!given || !waits) throw new Refused(`a hint about ${id}, which was not asked for`);
    if (type !== "want.v1") return;
    const most = Math.max(1, Math.ceil(waits.payload.length / CHUNK));
    const wanted = new Set();
    for (const { first, count } of runs)
      for (let index = first; index < Math.min(first + count, most); index += 1)
        if (!given.has(index)) wanted.add(index);
    for (const index of wanted) given.add(index);
    if (wanted.size) send(id, (index) => wanted.has(index));
  }

  function sendUntilReceipt(id) {
    resending.get(id)?.();
    speak(id);
    resending.set(
      id,
      again(() => speak(id), ...UPDATE_MS),
    );
  }

  function decline(window, reason) {
    tell({ event: "declined", window, reason });
    say(line, up(me, "decline"), sealed({ window, reason }, "decline").sealed);
  }

  function invited(body) {
    const { message: invitation, epoch } = open(body, "invitation", keysFor(identity, "invitation"));
    const isOurs =
      invitation.federation === federation &&
      invitation.device === device &&
      same(invitation.plan, identity.plan.digest);
    if (!isOurs || invitation.epoch !== epoch || epoch !== identity.epoch)
      throw new Refused("an invitation to somebody or something else");
    const newest = home.newest();
    if (invitation.base.version < newest.version)
      throw new Refused(`a roll-back to base version ${invitation.base.version}`);
    if (invitation.window <= newest.window) return;
    home.accept(invitation.window, invitation.base.version);
    queued = inOurTime(invitation);
    if (!working) work();
  }

  // The invitation with a deadline that our clock, which may be ahead, can be held to.
  function inOurTime(invitation) {
    if (now() < invitation.deadline) return invitation;
    const plan = blobs.get(hex(identity.plan.digest));
    const lasts = plan ? JSON.parse(plan).window.deadline_s * 1000 : UNKNOWN_MS;
    return { ...invitation, deadline: now() + lasts };
  }

  async function work() {
    working = true;
    while (queued) {
      const invitation = queued;
      queued = undefined;
      const reason = await learn(invitation).catch(whyNot);
      if (reason) decline(invitation.window, reason);
    }
    working = false;
  }

  // Do what an invitation asks for; the reason, if that cannot be done.
  async function learn(invitation) {
    if (now() >= invitation.deadline) return "late";
    if (home.waiting().size >= MOST_WAITING) return "outbox-full";
    const found = await fetched(invitation).catch(() => undefined);
    if (!found) return "no-model";
    const { plan, base } = found;
    if (plan.federation !== federation) return "foreign-plan";
    const codec = codecOf(plan.update.codec);
    tell({ event: "trains", window: invitation.window, version: invitation.base.version });
    const change = await learned(plan, base, invitation.deadline);
    if (!change.every(Number.isFinite)) return "not-finite";
    const { examples } = plan.update;
    if (examples !== undefined && count === 0) return "uncounted";
    const { payload, lost } = payloadOf(
      weighed(change, examples, count),
      home.lost(),
      plan,
      codec,
      invitation,
      randomBytes,
    );
    keep(invitation, payload, lost);
    return undefined;
  }

  // The word for what went wrong, which is said aloud.
  function whyNot(error) {
    console.error(error.reason ? `${error.reason}: ${error.message}` : error);
    return error.reason ?? "failed";
  }

  // The plan and the base model, from here or from the broker; rejects when the deadline is over.
  async function fetched({ base, deadline }) {
    const signal = AbortSignal.timeout(Math.min(Math.max(0, deadline - now()), LONGEST_MS));
    const wanted = [identity.plan, base].map(async ({ digest, size }) => {
      const blob = blobs.get(hex(digest)) ?? (await fetchBlob(line, federation, Buffer.from(digest), size, signal));
      return [hex(digest), blob];
    });
    const [plan, model] = await Promise.all(wanted);
    blobs.clear();
    blobs.set(...plan).set(...model);
    return { plan: JSON.parse(plan[1]), base: model[1] };
  }

  // Δ: what training makes of the base model, minus the base model.
  async function learned(plan, base, deadline) {
    const [before, after] = [readModel(base), readModel(base)];
    const layers = layersOf(after);
    const examples = examplesFor(layers);
    count = examples.length;
    const { mode, deadline_s, max_staleness } = plan.window;
    const grace = mode === "buffered" ? (max_staleness ?? 4) * deadline_s * 1000 : 0;
    const left = Math.min(deadline - now(), deadline_s * 1000) + grace;
    const until = now() + left - Math.min(left / 10, 2000);
    await train(layers, examples, plan.train, () => now() >= until);
    return after.numbers.map((number, i) => number - before.numbers[i]);
  }

  function keep({ window, base, plan }, payload, lost) {
    const update = {
      window,
      base: base.digest,
      plan,
      nonce: randomBytes(16),
      payload: { digest: sha256(payload), size: payload.length },
    };
    const signed = sealed(update, "update");
    home.keep(signed.id, signed.sealed, payload, lost);
    tell({ event: "kept", window, update: hex(signed.id) });
    sendUntilReceipt(hex(signed.id));
  }

  function receipt(body) {
    const { message } = open(body, "receipt", keysFor(identity, "receipt"));
    const id = hex(message.update);
    if (message.federation !== federation || message.device !== device) throw new Refused("a receipt of somebody else");
    if (!home.waiting().has(id)) return;
    home.end(message.update, body);
    resending.get(id)?.();
    resending.delete(id);
    asked.delete(id);
    const { outcome, release, reason, why } = message.outcome;
    tell({ event: outcome, window: message.window, update: id, release, reason, why });
  }

  function renewed(body) {
    const newer = identityIn(body, keysFor(identity, "receipt"), me);
    if (newer.epoch <= identity.epoch) return;
    home.belong(body);
    identity = newer;
  }

  const hears = {
    [to(me, "invitation")]: invited,
    [to(me, "receipt")]: receipt,
    [to(me, "identity")]: renewed,
    [to(me, "want")]: hinted,
  };
  line.on("message", (topic, body) => listen(topic, () => hears[topic]?.(body)));
  line.on("connect", () => {
    line.subscribe(to(me, "+"), { qos: 1 });
    say(line, up(me, "presence"), presence(true), { retain: true });
    asked.clear();
    for (const id of home.waiting().keys()) sendUntilReceipt(id);
  });
  for (const signal of ["SIGTERM", "SIGINT"]) {
    process.once(signal, () => {
      say(line, up(me, "presence"), presence(false), { retain: true });
      line.end(false, () => process.exit(0));
    });
  }
}

// Examples ------------------------------------------------------------------------------------------------------------

function fromCsv(path) {
  const rows = readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((line) => line.split(",").map(Number));
  return rows.map((row) => ({ x: Float64Array.from(row.slice(0, -1)), label: row.at(-1) }));
}

// Points by chance, labelled by which of their first numbers is the largest.
function madeUp(inputs, labels, count = 200) {
  return Array.from({ length: count }, () => {
    const x = Float64Array.from({ length: inputs }, () => 2 * Math.random() - 1);
    return { x, label: x.slice(0, labels).indexOf(Math.max(...x.slice(0, labels))) };
  });
}

// The examples, if they fit the layers.
function examplesFor(layers) {
  const [inputs, labels] = [layers[0].inputs, layers.at(-1).outputs];
  const examples = csv ? fromCsv(csv) : madeUp(inputs, Math.min(inputs, labels));
  const fits = ({ x, label }) =>
    x.length === inputs && x.every(Number.isFinite) && Number.isInteger(label) && label >= 0 && label < labels;
  if (!examples.every(fits))
    throw new WrongShape(`wanted ${inputs} numbers and a label below ${labels} in every example`);
  return examples;
}

// A life --------------------------------------------------------------------------------------------------------------

if (!broker || !folder) throw new Error("set MIZZLE_BROKER and MIZZLE_HOME, and MIZZLE_TOKEN before the first life");
const home = openHome(folder);
const kept = home.identity();
if (!kept && !token) throw new Error(`MIZZLE_TOKEN is wanted: ${folder} holds no identity`);
if (token && (!kept || !home.password())) home.knock(brokerPassword(parseToken(token)));
const identity = kept ? headerIn(kept, "identity") : await enrol(home, parseToken(token)); // it was verified before it was kept
takePart(home, identity, examplesFor);
