// The chain drawn, with a slider for every number in it.

const fourOf = (value) => [value, value, value, value];

// Rounded to two decimals, so that everything on the page can be checked by hand.
function drawnChain(seed) {
  const normal = normals(seed);
  const four = () => Array.from({ length: 4 }, () => Math.round(100 * normal()) / 100 || 0.01);
  return { activation: "sigmoid", x: 1, y: 0, w: four(), b: four() };
}

const PRESETS = {
  drawn: () => drawnChain(state.drawn),
  ones: () => ({ activation: "sigmoid", x: 0.5, y: 0, w: fourOf(1), b: fourOf(0) }),
  large: () => ({ activation: "sigmoid", x: 0.5, y: 0, w: fourOf(8), b: fourOf(0) }),
  centred: () => ({ activation: "sigmoid", x: 0.5, y: 0, w: fourOf(8), b: fourOf(-4) }),
  tanh: () => ({ activation: "tanh", x: 0.5, y: 0, w: fourOf(1), b: fourOf(0) }),
  relu: () => ({ activation: "relu", x: 1, y: 0, w: fourOf(1), b: fourOf(0) }),
  he: () => ({ activation: "relu", x: 1, y: 0, w: fourOf(1.414), b: fourOf(0) }),
  dead: () => ({ activation: "relu", x: 1, y: 0, w: fourOf(1), b: [0, -2, 1, 0] }),
};

function usePreset() {
  state.chain = { ...state.chain, ...PRESETS[state.preset]() };
}

const lowered = (name, j) => name + "₀₁₂₃₄₅₆₇₈₉"[j];

function drawing() {
  const chain = state.chain;
  const { z, a, cost } = forward(chain);
  const gradients = biasGradients(chain);
  const narrow = NARROW.matches;
  const [width, height, r, middle] = narrow ? [340, 176, 20, 62] : [780, 190, 30, 72];
  const digits = narrow ? 3 : 4;
  const short = (value) => number(value, digits);
  const at = (j) => (narrow ? 20 : 40) + (j * (width - (narrow ? 40 : 80))) / 5;
  const centred = (x, y, content, style) => svg("text", { x, y, lang: "en", class: "mid " + (style || "") }, content);
  const { slope, top } = ACTIVATIONS[chain.activation];
  const largest = Math.max(...gradients.map(Math.abs));
  const parts = z.map((_, i) => {
    const j = i + 1;
    const share = Math.abs(gradients[i]) / largest;
    const thick = share > 0 ? Math.max(1, 7 + 2 * Math.log10(share)) : 0;
    return [
      svg("line", { x1: at(i) + (i ? r : narrow ? 10 : 28), x2: at(j) - r - 6, y1: middle, y2: middle, class: "edge" }),
      svg("path", { d: `M${at(j) - r - 8},${middle - 4}l7,4l-7,4z`, class: "arrow" }),
      centred((at(i) + at(j)) / 2, middle - (narrow ? r + 18 : 24), lowered("w", j), "math"),
      centred((at(i) + at(j)) / 2, middle - (narrow ? r + 5 : 9), plain(chain.w[i]), "w-value"),
      svg("circle", { cx: at(j), cy: middle, r, class: "neuron", style: { "--share": Math.round((100 * slope(z[i])) / top) + "%" } }),
      centred(at(j), middle - r - 8, lowered("a", j), "math"),
      centred(at(j), middle + 4, short(a[i])),
      centred(at(j), middle + r + 17, `${narrow ? "b" : lowered("b", j) + " ="} ${plain(chain.b[i])}`, "b-value"),
      svg("line", { x1: at(j) + (j < 4 ? (at(1) - at(0)) : at(5) - at(4) - 12), x2: at(j) + 6, y1: middle + r + 34, y2: middle + r + 34, class: "back", style: { "stroke-width": thick } }),
      svg("path", { d: `M${at(j) + 9},${middle + r + 30}l-7,4l7,4z`, class: thick ? "back-arrow" : "hidden" }),
      centred(at(j), middle + r + 56, narrow ? lowered("∂b", j) : `∂C/∂${lowered("b", j)}`, "math"),
      centred(at(j), middle + r + 73, number(gradients[i], narrow ? 2 : 4), "gradient"),
    ];
  });
  const label = t("chain.drawing", { a: short(a[3]), cost: short(cost), first: short(gradients[0]), last: short(gradients[3]) });
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "drawing", role: "img", "aria-label": label },
    parts, centred(at(0), middle - (narrow ? 8 : 14), "x", "math"), centred(at(0), middle + (narrow ? 14 : 5), plain(chain.x)),
    svg("line", { x1: at(4) + r, x2: at(5) - (narrow ? 14 : 36), y1: middle, y2: middle, class: "edge" }),
    svg("path", { d: `M${at(5) - (narrow ? 15 : 37)},${middle - 4}l7,4l-7,4z`, class: "arrow" }),
    centred(at(5), middle - (narrow ? 8 : 14), "C", "math"), centred(at(5), middle + (narrow ? 18 : 5), short(cost)));
}

function showChain() {
  const of = () => state.chain;
  const one = (name, place, min, max) => slider({ id: `chain-${place}`, name, of, field: place, key: "chain", min, max, step: 0.01 });
  const nth = (letter, j) => slider({ id: `${letter}${j}`, name: `$${letter}_${j}$`, of: () => state.chain[letter], field: j - 1, key: "chain", min: -10, max: 10, step: 0.01 });
  const presets = choice({ id: "preset", name: t("chain.preset"), of: () => state, field: "preset", key: "chain", then: usePreset,
    options: Object.keys(PRESETS).map((name) => [name, t("preset." + name)]) });
  const again = button("draw-again", t("control.again"), () => {
    if (state.preset === "drawn") state.drawn++;
    state.preset = "drawn";
    usePreset();
    changed("chain");
  });
  return section("chain", text("chain.what"),
    h("div", { class: "tools" }, presets, again, activationChoice("activation", of, "chain"),
      choice({ id: "cost", name: t("chain.cost"), of, field: "cost", key: "chain", options: [["square", "C = ½ (a₄ − y)²"], ["output", "C = a₄"]] })),
    live(["chain"], "figure", { class: "chain" }, () => [drawing()]),
    hint("chain.hint"), live(["chain"], "p", { class: "note", id: "preset-note" }, () => rich(t("preset." + state.preset + ".note"))),
    h("div", { class: "neurons" },
      [1, 2, 3, 4].map((j) => h("fieldset", {}, h("legend", {}, t("chain.neuron", { j })), nth("w", j), nth("b", j))),
      h("fieldset", { class: "ends" }, h("legend", {}, t("chain.ends")), one(`${t("chain.input")} $x$`, "x", -3, 3), one(`${t("chain.target")} $y$`, "y", -3, 3))));
}
