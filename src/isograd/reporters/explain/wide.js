// Wide nets: mean field (Poole et al. 2016, Schoenholz et al. 2017), and one real net beside it.

// Mean over z ~ N(0, 1) by the midpoint rule. No point lies at 0, where ReLU has no slope.
const SPACING = 0.04;
const HALF_LINE = Array.from({ length: 225 }, (_, k) => (k + 0.5) * SPACING);
const MASSES = HALF_LINE.map((z) => SPACING * normalPdf(z));

const gaussianMean = (f) => HALF_LINE.reduce((sum, z, k) => sum + MASSES[k] * (f(z) + f(-z)), 0);

// One layer forward: variance of z from that of the layer before. `strength` is width * Var[w].
function nextVariance(activation, q, strength, biasVariance) {
  const { value } = ACTIVATIONS[activation];
  return strength * gaussianMean((z) => value(Math.sqrt(q) * z) ** 2) + biasVariance;
}

// Factor on the norm of the gradient per layer, going backward (amplitude: the root of chi_1).
function gainAt(activation, q, strength) {
  const { slope } = ACTIVATIONS[activation];
  return Math.sqrt(strength * gaussianMean((z) => slope(Math.sqrt(q) * z) ** 2));
}

const HUGE = 1e12; // where the variance has no fixed point, the gain at this size stands for the limit

// Fixed point by Aitken's extrapolation of every three values; a sequence that does not slow down
// is sent on its way in leaps.
function settledVariance(activation, strength, biasVariance) {
  const next = (q) => nextVariance(activation, q, strength, biasVariance);
  let q = 1;
  for (let turn = 0; turn < 100 && q < HUGE; turn++) {
    const [once, twice] = [next(q), next(next(q))];
    if (Math.abs(twice - q) <= 1e-13 * q) return twice;
    const ratio = (twice - once) / (once - q);
    q = ratio < 0.999 ? twice + ((twice - once) * ratio) / (1 - ratio) : 10 * twice;
  }
  return Math.min(q, HUGE);
}

const settledGain = (activation, strength, biasVariance) =>
  gainAt(activation, settledVariance(activation, strength, biasVariance), strength);

// Norm of dC/dz in every layer over that in the last, as mean field has it.
function predictedNorms({ activation, width, depth, variance, biasVariance }) {
  const strength = width * variance;
  const { value } = ACTIVATIONS[activation];
  let q = strength * gaussianMean((z) => value(z) ** 2) + biasVariance; // the inputs are s(N(0, 1))
  const gains = [];
  for (let l = 0; l < depth; l++) {
    gains.push(gainAt(activation, q, strength));
    q = Math.min(nextVariance(activation, q, strength, biasVariance), HUGE);
  }
  const norms = new Array(depth).fill(1);
  for (let l = depth - 2; l >= 0; l--) norms[l] = norms[l + 1] * gains[l];
  return norms;
}

// The same of one net drawn at random: w ~ N(0, variance), b ~ N(0, biasVariance), white dC/da at the end.
function measuredNorms({ activation, width, depth, variance, biasVariance, seed }) {
  const { value, slope } = ACTIVATIONS[activation];
  const normal = normals(seed);
  const [scale, shift] = [Math.sqrt(variance), Math.sqrt(biasVariance)];
  const [weights, states] = [[], []];
  let a = Float64Array.from({ length: width }, () => value(normal()));
  for (let l = 0; l < depth; l++) {
    const w = Float64Array.from({ length: width * width }, () => scale * normal());
    const z = new Float64Array(width);
    for (let i = 0; i < width; i++) {
      let sum = shift * normal();
      for (let k = 0; k < width; k++) sum += w[i * width + k] * a[k];
      z[i] = sum;
    }
    a = z.map(value);
    weights.push(w);
    states.push(z);
  }
  const norms = new Array(depth);
  let arriving = Float64Array.from({ length: width }, () => normal());
  for (let l = depth - 1; l >= 0; l--) {
    const delta = arriving.map((g, i) => g * slope(states[l][i]));
    norms[l] = Math.hypot(...delta);
    arriving = new Float64Array(width);
    for (let i = 0; i < width; i++) for (let k = 0; k < width; k++) arriving[k] += weights[l][i * width + k] * delta[i];
  }
  return norms.map((norm) => norm / norms[depth - 1]);
}
