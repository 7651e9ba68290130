// Activations, their slopes, and exact changes. Numbers only: nothing here knows of a page.

// --- Error function: a series of positive terms near zero, a continued fraction far out.

const ROOT_PI = Math.sqrt(Math.PI);

function erfc(x) {
  if (x < 0) return 2 - erfc(-x);
  if (x < 1) {
    let [term, sum] = [x, x];
    for (let n = 1; term > sum * 1e-17; n++) sum += term *= (2 * x * x) / (2 * n + 1);
    return 1 - (2 / ROOT_PI) * Math.exp(-x * x) * sum;
  }
  let fraction = 0;
  for (let n = Math.ceil(10 + 190 / (x * x)); n > 0; n--) fraction = n / 2 / (x + fraction);
  return Math.exp(-x * x) / (ROOT_PI * (x + fraction));
}

const normalCdf = (z) => erfc(-z / Math.SQRT2) / 2;
const normalPdf = (z) => Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);

// --- Each with its value, its slope, the largest slope and where that is. `bend` marks a kink at 0.
// Written so that nothing cancels far from zero: 1 - s(z) would be 0 from z = 37 on.

const logistic = (z) => (z >= 0 ? 1 / (1 + Math.exp(-z)) : Math.exp(z) / (1 + Math.exp(z)));
const logisticSlope = (z) => Math.exp(-Math.abs(z)) / (1 + Math.exp(-Math.abs(z))) ** 2;
const LEAK = 0.01;

const ACTIVATIONS = {
  sigmoid: { name: "sigmoid", value: logistic, slope: logisticSlope, top: 0.25, at: 0 },
  tanh: { name: "tanh", value: Math.tanh, slope: (z) => 4 * logisticSlope(2 * z), top: 1, at: 0 },
  relu: { name: "ReLU", value: (z) => Math.max(z, 0), slope: (z) => (z > 0 ? 1 : 0), top: 1, at: 1, bend: true },
  leaky: { name: "leaky ReLU (0.01)", value: (z) => (z > 0 ? z : LEAK * z), slope: (z) => (z > 0 ? 1 : LEAK), top: 1, at: 1, bend: true },
  elu: { name: "ELU", value: (z) => (z > 0 ? z : Math.expm1(z)), slope: (z) => (z > 0 ? 1 : Math.exp(z)), top: 1, at: 1, bend: true },
  gelu: { name: "GELU", value: (z) => z * normalCdf(z), slope: (z) => normalCdf(z) + z * normalPdf(z), top: 1.1289041452, at: Math.SQRT2 },
  silu: { name: "SiLU", value: (z) => z * logistic(z), slope: (z) => logistic(z) + z * logisticSlope(z), top: 1.0998393194, at: 2.3993572805 },
  linear: { name: "linear", value: (z) => z, slope: () => 1, top: 1, at: 0 },
};

// --- s(z + d) - s(z) as the integral of the slope: exact even where subtraction leaves no digit.

// Nodes and weights of Gauss and Legendre on [0, 1], by Newton's method on the polynomial.
function gaussLegendre(n) {
  const rule = [];
  for (let i = 0; i < n; i++) {
    let x = Math.cos((Math.PI * (i + 0.75)) / (n + 0.5));
    let derivative = 1;
    for (let turn = 0; turn < 12; turn++) {
      let [before, now] = [1, x];
      for (let k = 2; k <= n; k++) [before, now] = [now, ((2 * k - 1) * x * now - (k - 1) * before) / k];
      derivative = (n * (x * now - before)) / (x * x - 1);
      x -= now / derivative;
    }
    rule.push([(1 + x) / 2, 1 / ((1 - x * x) * derivative * derivative)]);
  }
  return rule;
}

const RULE = gaussLegendre(32);
const FAR = 400; // nothing is left to cancel
const PANEL = 4; // longer stretches are cut: the sigmoid has poles at distance pi from the axis

function change(activation, z, d) {
  if (d === 0) return 0;
  if (!(Math.abs(d) < FAR)) return activation.value(z + d) - activation.value(z);
  const cuts = [0, 1];
  if (activation.bend && -z / d > 0 && -z / d < 1) cuts.splice(1, 0, -z / d);
  let sum = 0;
  for (let c = 1; c < cuts.length; c++) {
    const length = (cuts[c] - cuts[c - 1]) * d;
    const panels = Math.max(1, Math.ceil(Math.abs(length) / PANEL));
    for (let p = 0; p < panels; p++) {
      const start = z + cuts[c - 1] * d + (p * length) / panels;
      for (const [node, weight] of RULE) sum += ((weight * length) / panels) * activation.slope(start + (node * length) / panels);
    }
  }
  return sum;
}
