// The chain of neurons: a_0 = x, z_j = w_j a_(j-1) + b_j, a_j = s(z_j), and a cost of the last a.
// A chain is { activation, cost, x, y, w: [...], b: [...] }; arrays count from 0 for neuron 1.

const COSTS = {
  square: { value: (a, y) => (a - y) ** 2 / 2, slope: (a, y) => a - y, change: (a, y, d) => d * (a - y) + (d * d) / 2 },
  output: { value: (a) => a, slope: () => 1, change: (a, y, d) => d },
};

function forward(chain) {
  const { value } = ACTIVATIONS[chain.activation];
  const [z, a] = [[], []];
  let input = chain.x;
  for (let j = 0; j < chain.w.length; j++) {
    z.push(chain.w[j] * input + chain.b[j]);
    a.push((input = value(z[j])));
  }
  return { z, a, cost: COSTS[chain.cost].value(input, chain.y) };
}

// From the loss to b_1: dC/da_L, s'(z_L), w_L, ..., w_2, s'(z_1). Their product is dC/db_1.
function factors(chain) {
  const { slope } = ACTIVATIONS[chain.activation];
  const { z, a } = forward(chain);
  const list = [{ kind: "loss", j: z.length, value: COSTS[chain.cost].slope(a[a.length - 1], chain.y) }];
  for (let j = z.length; j >= 1; j--) {
    list.push({ kind: "activation", j, value: slope(z[j - 1]) });
    if (j > 1) list.push({ kind: "weight", j, value: chain.w[j - 1] });
  }
  return list;
}

// dC/db_j for every neuron: the product of the factors down to s'(z_j).
function biasGradients(chain) {
  const gradients = [];
  let product = 1;
  for (const factor of factors(chain)) {
    product *= factor.value;
    if (factor.kind === "activation") gradients[factor.j - 1] = product;
  }
  return gradients;
}

function weightGradients(chain) {
  const { a } = forward(chain);
  return biasGradients(chain).map((gradient, j) => gradient * (j ? a[j - 1] : chain.x));
}

const nudged = (chain, eps) => ({ ...chain, b: chain.b.map((b, j) => (j ? b : b + eps)) });

// A nudge of b_1 on its way to the cost: db_1, dz_1, da_1, dz_2, ..., da_L, dC.
// `exact` integrates slopes, `linear` multiplies by slopes, `subtracted` is what two runs in double precision differ by.
function ripple(chain, eps) {
  const activation = ACTIVATIONS[chain.activation];
  const [before, after] = [forward(chain), forward(nudged(chain, eps))];
  const rows = [{ what: "b", j: 1, exact: eps, linear: eps, subtracted: chain.b[0] + eps - chain.b[0] }];
  let [exact, linear] = [eps, eps];
  for (let j = 0; j < chain.w.length; j++) {
    if (j) [exact, linear] = [exact * chain.w[j], linear * chain.w[j]];
    rows.push({ what: "z", j: j + 1, exact, linear, subtracted: after.z[j] - before.z[j] });
    [exact, linear] = [change(activation, before.z[j], exact), linear * activation.slope(before.z[j])];
    rows.push({ what: "a", j: j + 1, exact, linear, subtracted: after.a[j] - before.a[j] });
  }
  const [cost, last] = [COSTS[chain.cost], before.a[before.a.length - 1]];
  rows.push({ what: "C", j: 0, exact: cost.change(last, chain.y, exact), linear: linear * cost.slope(last, chain.y), subtracted: after.cost - before.cost });
  return rows;
}

// Relative error of dC/db_1 from a nudge: without rounding, and by one- and two-sided differences.
function nudgeErrors(chain, eps) {
  const gradient = biasGradients(chain)[0];
  const rows = ripple(chain, eps);
  const central = (forward(nudged(chain, eps)).cost - forward(nudged(chain, -eps)).cost) / (2 * eps);
  const error = (value) => Math.abs(value / gradient - 1);
  const { exact, subtracted } = rows[rows.length - 1];
  return { exact: error(exact / eps), forward: error(subtracted / eps), central: error(central) };
}

// --- Where |w s'(w a + b)| >= 1 for the sigmoid. s'(z) = 1/|w| at e^|z| = t, t + 1/t = |w| - 2.

function halfWidth(w) {
  const size = Math.abs(w);
  return size < 4 ? NaN : Math.log((size * (1 + Math.sqrt(1 - 4 / size))) / 2 - 1); // in z
}

const holdingWidth = (w) => (2 / Math.abs(w)) * halfWidth(w); // in a
const WIDEST = { w: 6.894151, width: 0.447743 };
