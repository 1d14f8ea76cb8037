// The line to the broker (schemas/README.md, section 2), and doing things again at growing intervals.
import mqtt from "mqtt";

const [FIRST_PAUSE_MS, LONGEST_PAUSE_MS] = [250, 60_000];
const jitter = (milliseconds) => milliseconds * (0.5 + Math.random());

// An MQTT 5 session that comes back by itself, with growing pauses; nothing is published while it is down.
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
    reconnectPeriod: FIRST_PAUSE_MS,
    properties: { sessionExpiryInterval, receiveMaximum: 100 },
    ...(will ? { will: { ...will, qos: 1, retain: true } } : {}),
  });
  let pause = FIRST_PAUSE_MS;
  line.on("connect", () => (pause = FIRST_PAUSE_MS));
  line.on("close", () => {
    line.options.reconnectPeriod = jitter(pause);
    pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
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
