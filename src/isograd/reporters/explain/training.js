// Gradient descent on a chain without biases: a_j = s(w_j a_(j-1)), the last neuron linear, x = 1,
// cost (a_L - y)^2 / 2. Records what the factors do while the weights grow.

const RUNAWAY = 1e6;

function trainChain({ activation, depth, start, target, rate, steps, seed }) {
  const { value, slope } = ACTIVATIONS[activation];
  const normal = normals(seed);
  let w = Array.from({ length: depth }, () => start * (1 + 0.1 * normal())); // alike, not equal
  const run = { loss: [], factors: [], sharpness: [], broken: false };
  for (let step = 0; step <= steps; step++) {
    const [a, slopes] = [[1], []];
    for (let j = 0; j < depth; j++) {
      const z = w[j] * a[j];
      const last = j === depth - 1;
      a.push(last ? z : value(z));
      slopes.push(last ? 1 : slope(z));
    }
    const error = a[depth] - target;
    const outputs = new Array(depth); // d a_L / d w_j
    let below = 1;
    for (let j = depth - 1; j >= 0; j--) {
      below *= slopes[j];
      outputs[j] = below * a[j];
      below *= w[j];
    }
    run.loss.push(error ** 2 / 2);
    run.factors.push(w.map((weight, j) => Math.abs(weight * slopes[j])));
    run.sharpness.push(outputs.reduce((sum, g) => sum + g * g, 0));
    if ((run.broken = !(Math.abs(error) < RUNAWAY))) break;
    w = w.map((weight, j) => weight - rate * error * outputs[j]);
  }
  return run;
}
