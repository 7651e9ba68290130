// A seeded generator (xoshiro128**, Blackman and Vigna 2018), and chains drawn at random with it.

function generator(seed) {
  let counter = seed >>> 0;
  const mixed = () => {
    let x = (counter = (counter + 0x9e3779b9) >>> 0);
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    return x ^ (x >>> 16);
  };
  let [a, b, c, d] = [mixed(), mixed(), mixed(), mixed()];
  const turned = (x, k) => (x << k) | (x >>> (32 - k));
  return () => {
    const result = Math.imul(turned(Math.imul(b, 5), 7), 9) >>> 0;
    const moved = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= moved;
    d = turned(d, 11);
    return (result + 0.5) / 4294967296; // never 0 nor 1
  };
}

// N(0, 1) by Marsaglia's polar method.
function normals(seed) {
  const uniform = generator(seed);
  let spare = null;
  return () => {
    if (spare !== null) {
      const value = spare;
      spare = null;
      return value;
    }
    for (;;) {
      const [u, v] = [2 * uniform() - 1, 2 * uniform() - 1];
      const r = u * u + v * v;
      if (r >= 1 || r === 0) continue;
      const scale = Math.sqrt((-2 * Math.log(r)) / r);
      spare = v * scale;
      return u * scale;
    }
  };
}

const WARM_UP = 5; // neurons in front, so that the drawn factors no longer know of the input

// Products of `depth` factors s'(z_j) w_(j+1) with w ~ N(0, sigma^2), b ~ N(0, 1): the learning
// speed of a neuron over that of the one `depth` behind it. `own` pairs s'(z_j) with w_j instead,
// which is not independent of z_j.
function drawProducts({ activation, depth, sigma, draws, seed }) {
  const { value, slope } = ACTIVATIONS[activation];
  const normal = normals(seed);
  const decades = new Float64Array(draws);
  const [single, own] = [new Float64Array(draws * depth), new Float64Array(draws * depth)];
  for (let i = 0; i < draws; i++) {
    let a = 0.5;
    let w = sigma * normal();
    for (let j = -WARM_UP; j < depth; j++) {
      const z = w * a + normal();
      const next = sigma * normal();
      if (j >= 0) {
        single[i * depth + j] = Math.abs(slope(z) * next);
        own[i * depth + j] = Math.abs(slope(z) * w);
        decades[i] += Math.log10(single[i * depth + j]);
      }
      a = value(z);
      w = next;
    }
  }
  return { decades, ...averages(single), own: shares(own) };
}

// Shares of the values below 1/4, and of 1 or more.
const shares = (values) => ({
  belowQuarter: values.reduce((n, v) => n + (v < 0.25), 0) / values.length,
  atLeastOne: values.reduce((n, v) => n + (v >= 1), 0) / values.length,
});

// The averages of factors that may differ by orders of magnitude. Zeros count, save in `geometric`.
function averages(values) {
  let [logs, live, sum, squares] = [0, 0, 0, 0];
  for (const v of values) {
    if (v > 0) (logs += Math.log(v)), live++;
    sum += v;
    squares += v * v;
  }
  const n = values.length;
  return {
    geometric: Math.exp(logs / live), median: quantile(values, 0.5), mean: sum / n, rms: Math.sqrt(squares / n),
    zeros: 1 - live / n, ...shares(values),
  };
}

function quantile(values, share) {
  const sorted = Float64Array.from(values).sort();
  const place = share * (sorted.length - 1);
  const [low, high] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]];
  return low === high ? low : low + (place - Math.floor(place)) * (high - low);
}
