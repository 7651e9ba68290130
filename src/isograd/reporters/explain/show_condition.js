// The slope and its bound, and where a neuron's factor |w s'(wa + b)| reaches 1.

const span = (low, high, n) => Array.from({ length: n + 1 }, (_, i) => low + ((high - low) * i) / n);

function slopePlot() {
  const activation = ACTIVATIONS[state.chain.activation];
  const { z } = forward(state.chain);
  const reach = 8;
  const grid = span(-reach, reach, 320);
  const most = Math.max(1, activation.top);
  const named = []; // neurons that nearly coincide share a label
  let group = null;
  for (const [at, i] of z.map((at, i) => [at, i]).sort((p, q) => p[0] - q[0])) {
    if (group && at - group[0] < 0.6) (group[1] += ` ${i + 1}`), named.push([at, ""]);
    else named.push((group = [at, String(i + 1)]));
  }
  return plot({ id: "slope-plot", label: t("slope.plot"), x: { low: -reach, high: reach, name: "z" }, y: { low: activation.bend || state.chain.activation === "linear" ? -1.2 : -0.2, high: most * 1.25, name: "" },
    lines: [{ kind: "last", name: `$s′(z)$`, points: grid.map((at) => [at, activation.slope(at)]) }, { kind: "first", name: `$s(z)$`, dashed: true, points: grid.map((at) => [at, activation.value(at)]) }],
    rules: [{ level: activation.top, kind: "muted", name: t("slope.bound", { top: plain(activation.top) }) }],
    dots: named.map(([at, name]) => [Math.min(Math.max(at, -reach), reach), activation.slope(at), "last", name]) });
}

function slopeNote() {
  const { z } = forward(state.chain);
  const { slope, top } = ACTIVATIONS[state.chain.activation];
  return t("slope.note", { values: z.map((at) => number(slope(at))).join(", "), top: plain(top), four: number(top ** 4) });
}

function showSlope() {
  return section("slope", text("slope.what"), h("div", { class: "two" }, live(["chain"], "div", {}, () => [slopePlot()]),
      live(["chain"], "p", { class: "note" }, () => rich(slopeNote()))));
}

function factorPlot({ w, b }) {
  const grid = span(-8, 8, 320);
  const half = halfWidth(w);
  return plot({ id: "factor-plot", label: t("condition.plot"), x: { low: -8, high: 8, name: "z = w a + b" }, y: { low: 0, high: Math.max(1.25, (Math.abs(w) / 4) * 1.15), name: "|w s′(z)|" },
    lines: [{ kind: "last", points: grid.map((z) => [z, Math.abs(w) * logisticSlope(z)]) }],
    bands: Number.isFinite(half) ? [[-Math.min(half, 8), Math.min(half, 8)]] : [], rules: [{ level: 1, kind: "muted" }] });
}

function widthPlot({ w }) {
  const grid = span(Math.log10(4), 2, 240).map((at) => 10 ** at);
  const size = Math.abs(w);
  return plot({ id: "width-plot", label: t("condition.widthPlot"), x: { low: Math.log10(3), high: 2, log: true, name: "|w|", ticks: [4, 7, 10, 20, 50, 100] }, y: { low: 0, high: 0.5, name: t("condition.width") },
    lines: [{ kind: "first", points: grid.map((at) => [at, holdingWidth(at)]) }], rules: [{ at: WIDEST.w, kind: "muted" }],
    dots: [[WIDEST.w, WIDEST.width, "muted", String(WIDEST.width)], [size, holdingWidth(size), "last", ""]] });
}

function conditionNote({ w, b }) {
  const values = { w: plain(w), most: plain(Math.abs(w) / 4) };
  const half = halfWidth(w);
  if (Number.isNaN(half)) return t("condition.never", values);
  const ends = [(-half - b) / w, (half - b) / w].sort((p, q) => p - q).map((at) => number(at));
  return t("condition.holds", { ...values, low: ends[0], high: ends[1], width: number(holdingWidth(w), 6), half: number(half) });
}

function showCondition() {
  const of = () => state.condition;
  return section("condition", text("condition.what"), h("p", { class: "formula" }, rich(t("condition.formula"))), text("condition.why"),
    slider({ id: "condition-w", name: "$w$", of, field: "w", key: "condition", min: -100, max: 100, step: 0.1 }),
    slider({ id: "condition-b", name: "$b$", of, field: "b", key: "condition", min: -50, max: 50, step: 0.1 }),
    live(["condition"], "div", { class: "two" }, () => [factorPlot(state.condition), widthPlot(state.condition)]),
    live(["condition"], "p", { class: "note", id: "condition-note", "aria-live": "polite" }, () => rich(conditionNote(state.condition))));
}
