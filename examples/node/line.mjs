// The line to the broker (schemas/README.md, section 2), and doing things again at growing intervals.
import mqtt from "mqtt";

const [SHORTEST_SPAN_MS, LONGEST_SPAN_MS] = [1000, 30_000];
const jitter = (milliseconds) => milliseconds * (0.5 + Math.random());

// An MQTT 5 session that comes back by itself, among many that were lost together; nothing is published while it is down.
export function connect(broker, name, { password, will, sessionExpiryInterval = 1_209_600 } = {}) {
  const user = new URL(broker).username;
  const line = mqtt.connect(broker, {
    protocolVersion: 5,
    clientId: name,
    ...(user ? {} : { username: name }), // else the one that stands in the address
    ...(password ? { password } : {}),
    clean: sessionExpiryInterval === 0,
    keepalive: 30,
    resubscribe: false,
    reconnectPeriod: SHORTEST_SPAN_MS,
    properties: { sessionExpiryInterval, receiveMaximum: 100 },
    ...(will ? { will: { ...will, qos: 1, retain: true } } : {}),
  });
  let [lost, wasLetIn, hasPlace] = [Date.now(), false, false];
  line.on("connect", () => (wasLetIn = true));
  line.on("close", () => {
    if (wasLetIn) [lost, wasLetIn, hasPlace] = [Date.now(), false, false];
    const span = Math.min(Math.max(SHORTEST_SPAN_MS, (Date.now() - lost) / 4), LONGEST_SPAN_MS);
    line.options.reconnectPeriod = hasPlace ? span : Math.max(1, span * Math.random()); // 0 would mean never
    hasPlace = true;
  });
  line.on("error", (error) => console.error(`the line to ${broker}: ${error.message || error.code}`));
  return line;
}

// Publish at QoS 1 if the line is up; whoever needs it to arrive says it again.
export function say(line, topic, body, { retain = false } = {}) {
  if (!line.connected) return;
  line.publish(
    topic,
    body,
    { qos: 1, retain },
    (error) => error && console.error(`${topic} was not taken: ${error.message}`),
  );
}

// Publish at QoS 1 for the connection that is up; resolves to whether the broker has it. Lost with the connection it is
// not sent again by itself: whoever needs it to arrive asks what has come, and sends what has not.
export function sayOnce(line, topic, body) {
  if (!line.connected) return Promise.resolve(false);
  return new Promise((resolve) => {
    let messageId;
    const lost = () => {
      if (messageId !== undefined) line.removeOutgoingMessage(messageId);
      resolve(false);
    };
    line.once("close", lost);
    line.publish(topic, body, { qos: 1 }, (error) => {
      line.off("close", lost);
      if (error) console.error(`${topic} was not taken: ${error.message}`);
      resolve(!error);
    });
    messageId = line.getLastMessageId();
  });
}

// Do something again and again, after `first` milliseconds and then twice as long each time, until what it gives is called.
export function again(act, first, longest) {
  let timer;
  let pause = first;
  const wait = () => {
    timer = setTimeout(() => {
      act();
      wait();
    }, jitter(pause));
    pause = Math.min(2 * pause, longest);
  };
  wait();
  return () => clearTimeout(timer);
}
