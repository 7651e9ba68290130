// The same net wide: gain per layer by mean field, and the gradient of one net drawn at random.

const SCALES = {
  plain: { variance: () => 1, name: "1" },
  fan: { variance: (width) => 1 / width, name: "1/n" },
  he: { variance: (width) => 2 / width, name: "2/n" },
};
const KINDS = { plain: "last", fan: "first", he: "good" };

const gainsKnown = new Map();

// Gain over width, once for each activation and scale.
function gainCurve(activation, scale) {
  const key = activation + scale;
  if (!gainsKnown.has(key)) {
    const widths = scale === "plain" ? span(0, 3, 60).map((at) => 10 ** at) : [1, 1000];
    gainsKnown.set(key, widths.map((n) => [n, settledGain(activation, n * SCALES[scale].variance(n), 1)]));
  }
  return gainsKnown.get(key);
}

function gainPlot({ activation, width, scale }) {
  const lines = Object.keys(SCALES).map((name) => ({ kind: KINDS[name], dashed: name === "he", name: t("wide.variance", { v: SCALES[name].name }), points: gainCurve(activation, name) }));
  const gain = settledGain(activation, width * SCALES[scale].variance(width), 1);
  const [low, high] = closely(lines.flatMap((line) => line.points.map(([, g]) => g)).concat(gain));
  return plot({ id: "gain-plot", label: t("wide.gainPlot"), x: { low: 0, high: 3, log: true, name: t("wide.width") }, y: { low, high, log: true, name: t("wide.gain") },
    lines, rules: [{ level: 1, kind: "muted" }], dots: [[width, gain, KINDS[scale], ""]] });
}

function normsPlot(setting, measured, predicted) {
  const points = (norms) => norms.map((norm, l) => [l + 1, norm]);
  const [low, high] = decades([...measured, ...predicted], 2);
  return plot({ id: "norms-plot", label: t("wide.normsPlot"), x: { low: 0.5, high: setting.depth + 0.5, name: t("wide.layer") }, y: { low, high, log: true, name: t("wide.norm") },
    lines: [{ kind: "first", dashed: true, name: t("wide.predicted"), points: points(predicted) }, { kind: "last", name: t("wide.measured"), points: points(measured) }],
    dots: points(measured).map(([l, norm]) => [l, norm, "last", ""]) });
}

function showWide() {
  const of = () => state.wide;
  const content = live(["wide"], "div", {}, () => {
    const { activation, width, depth, scale, seed } = state.wide;
    const setting = { activation, width, depth, seed, variance: SCALES[scale].variance(width), biasVariance: 1 };
    const [measured, predicted] = [measuredNorms(setting), predictedNorms(setting)];
    const gain = settledGain(activation, width * setting.variance, 1);
    const values = { width, gain: number(gain), layers: depth - 1, predicted: number(predicted[0]), measured: number(measured[0]) };
    return [h("div", { class: "two" }, gainPlot(state.wide), normsPlot(setting, measured, predicted)),
      h("p", { class: "note", id: "wide-note", "aria-live": "polite" }, rich(t("wide.note", values)), " ", width < 10 ? rich(t("wide.narrow")) : null)];
  });
  return section("wide", text("wide.what"), h("p", { class: "formula" }, rich(t("wide.formula"))), text("wide.crossing"),
    h("div", { class: "tools" }, activationChoice("wide-activation", of, "wide"),
      choice({ id: "wide-scale", name: t("wide.scale"), of, field: "scale", key: "wide", options: Object.entries(SCALES).map(([id, scale]) => [id, scale.name]) }),
      button("wide-again", t("control.again"), () => (state.wide.seed++, changed("wide")))),
    slider({ id: "wide-width", name: t("wide.widthSlider"), of, field: "width", key: "wide", min: 1, max: 200, log: true, whole: true }),
    slider({ id: "wide-depth", name: t("wide.depth"), of, field: "depth", key: "wide", min: 2, max: 20, step: 1, whole: true }), content);
}
