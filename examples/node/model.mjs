// A model: a safetensors file (schemas/README.md, section 7), and how to train one of linear layers with ReLU between them.

export class WrongShape extends Error {
  reason = "wrong-shape";
}

// Names, shapes and numbers of a safetensors file, in the order in which the numbers lie in it.
export function readModel(file) {
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, start));
  delete header.__metadata__;
  const tensors = Object.entries(header)
    .map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [begin, end],
        },
      ]) => ({ name, dtype, shape, begin, end }),
    )
    .sort((one, other) => one.begin - other.begin);
  if (tensors.some(({ dtype }) => dtype !== "F32")) throw new WrongShape("a model has 32-bit floats alone");
  const numbers = Float64Array.from({ length: (file.length - start) / 4 }, (_, i) => file.readFloatLE(start + 4 * i));
  return { tensors, numbers };
}

// The layers of a model, first to last: views of its weights, row by row, and its biases. One layer is a linear model.
export function layersOf({ tensors, numbers }) {
  const views = new Map(
    tensors.map(({ name, shape, begin, end }) => [name, { shape, values: numbers.subarray(begin / 4, end / 4) }]),
  );
  const names = [...views.keys()].filter((name) => /(^|\.)weight$/.test(name));
  names.sort((one, other) => one.localeCompare(other, "en", { numeric: true }));
  const layers = names.map((name) => {
    const [weight, bias] = [views.get(name), views.get(name.replace(/weight$/, "bias"))];
    if (weight.shape.length !== 2 || bias?.shape[0] !== weight.shape[0])
      throw new WrongShape(`${name} is no linear layer`);
    return { outputs: weight.shape[0], inputs: weight.shape[1], weight: weight.values, bias: bias.values };
  });
  const isChain = layers.every(({ inputs }, i) => i === 0 || inputs === layers[i - 1].outputs);
  if (!layers.length || !isChain || views.size !== 2 * layers.length)
    throw new WrongShape("these are no layers in a row");
  return layers;
}

const linear = ({ outputs, inputs, weight, bias }, x) =>
  Float64Array.from({ length: outputs }, (_, row) => {
    let sum = bias[row];
    for (let column = 0; column < inputs; column += 1) sum += weight[row * inputs + column] * x[column];
    return sum;
  });
const relu = (values) => values.map((value) => Math.max(value, 0));

function softmax(values) {
  const peak = Math.max(...values);
  const odds = values.map((value) => Math.exp(value - peak));
  const sum = odds.reduce((total, odd) => total + odd, 0);
  return odds.map((odd) => odd / sum);
}

// One step of gradient descent on the mean cross-entropy of a batch; the layers are changed in place. With `proximal`
// each step pulls back to where training began (FedProx).
export function descend(layers, batch, rate, proximal, base) {
  const gradients = layers.map(({ weight, bias }) => ({
    weight: new Float64Array(weight.length),
    bias: new Float64Array(bias.length),
  }));
  for (const { x, label } of batch) {
    const inputs = [x]; // of each layer
    for (const layer of layers.slice(0, -1)) inputs.push(relu(linear(layer, inputs.at(-1))));
    let error = softmax(linear(layers.at(-1), inputs.at(-1)));
    error[label] -= 1;
    for (let depth = layers.length - 1; depth >= 0; depth -= 1)
      error = blame(layers[depth], gradients[depth], inputs[depth], error);
  }
  layers.forEach((layer, depth) => {
    for (const part of ["weight", "bias"]) {
      const mean = gradients[depth][part].map((sum) => sum / batch.length);
      step(layer[part], mean, rate, proximal, base[depth][part]);
    }
  });
}

// Move against the gradient and, μ·(w − w_base), back to the base; the values are changed in place.
export function step(values, gradient, rate, proximal, base) {
  values.forEach((value, i) => (values[i] = value - rate * (gradient[i] + proximal * (value - base[i]))));
}

// Add what this layer's error says to its gradient; the error of the layer before it, where its ReLU let something through.
function blame({ outputs, inputs, weight }, gradient, x, error) {
  const before = new Float64Array(inputs);
  for (let row = 0; row < outputs; row += 1) {
    gradient.bias[row] += error[row];
    for (let column = 0; column < inputs; column += 1) {
      gradient.weight[row * inputs + column] += error[row] * x[column];
      before[column] += error[row] * weight[row * inputs + column];
    }
  }
  return before.map((value, i) => (x[i] > 0 ? value : 0));
}

// Train for some epochs, shuffled each time, until `isOver`; others get their turn between two batches.
export async function train(layers, examples, settings, isOver) {
  const { epochs = 1, batch_size: size = 32, learning_rate: rate, proximal = 0 } = settings;
  const base = layers.map(({ weight, bias }) => ({ weight: weight.slice(), bias: bias.slice() }));
  for (let epoch = 0; epoch < epochs; epoch += 1) {
    const shuffled = examples.map((example) => [Math.random(), example]).sort(([one], [other]) => one - other);
    for (let start = 0; start < shuffled.length; start += size) {
      if (isOver()) return;
      const batch = shuffled.slice(start, start + size).map(([, example]) => example);
      descend(layers, batch, rate, proximal, base);
      await new Promise(setImmediate);
    }
  }
}
