// Is the contract what it says it is? By libraries that are not ours: npm's AsyncAPI parser and the CloudEvents SDK.
//
//   cd schemas && npm ci && node check.mjs [DOCUMENT …]
import { Parser, fromFile } from "@asyncapi/parser";
import { MQTT } from "cloudevents";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const WARNING = 1; // and an error is 0

async function asyncApi(path) {
  const { document, diagnostics } = await fromFile(new Parser(), path).parse();
  const [channels, operations] = [document?.channels().all() ?? [], document?.operations().all() ?? []];
  return {
    faults: diagnostics
      .filter(({ severity }) => severity <= WARNING)
      .map(({ path, message }) => `${path.join("/")}: ${message}`),
    channels: channels.map((channel) => channel.address()),
    operations: Object.fromEntries(operations.map((operation) => [operation.id(), operation.action()])),
  };
}

// What the gateway retains on pub/release is, as it is, an event of CloudEvents 1.0 in structured mode over MQTT.
function cloudEvent(body) {
  const event = MQTT.toEvent({
    headers: {},
    PUBLISH: { "Content Type": "application/cloudevents+json; charset=utf-8" },
    body,
  });
  event.validate();
  return event.toJSON();
}

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const paths = process.argv.length > 2 ? process.argv.slice(2) : [here("asyncapi.yaml")];
const documents = [];
for (const path of paths) documents.push(await asyncApi(path));
const event = cloudEvent(JSON.parse(readFileSync(here("vectors/good/release.json"), "utf8")).event);
console.log(JSON.stringify({ documents, event }, null, 2));
process.exitCode = documents.some(({ faults }) => faults.length) ? 1 : 0;
