// The product: a bar for every factor in decades, and the learning speed of every neuron.

const factorName = ({ kind, j }) => (kind === "loss" ? `$∂C/∂a_${j}$` : kind === "weight" ? `$w_${j}$` : `$s′(z_${j})$`);

// Each bar starts where the one above ends; beyond a factor of zero there is nothing to draw.
function waterfall(list) {
  let total = 0;
  const spans = list.map((factor) => {
    const start = total;
    total += Math.log10(Math.abs(factor.value));
    return [start, total];
  });
  const ends = spans.flat().filter(Number.isFinite);
  const [low, high] = [Math.min(...ends, -0.5), Math.max(...ends, 0.5)];
  const at = (value) => (100 * (value - low)) / (high - low);
  const rows = list.map((factor, i) => {
    const [from, to] = spans[i];
    const bar = Number.isFinite(to)
      ? h("i", { class: `bar k-${factor.kind}`, style: { left: at(Math.min(from, to)) + "%", width: `max(2px, ${at(Math.max(from, to)) - at(Math.min(from, to))}%)` } })
      : Number.isFinite(from) ? h("i", { class: "bar broken", style: { left: "0", width: at(from) + "%" } }) : null;
    return h("div", { class: "line factor" }, h("span", { class: "label" }, rich(factorName(factor))),
      h("span", { class: "track", style: { "--zero": at(0) + "%" } }, bar),
      h("span", { class: "gain value" }, factor.kind === "weight" ? plain(factor.value) : number(factor.value)), h("span", { class: "gain" }, signed(Math.log10(Math.abs(factor.value)))));
  });
  const sum = h("div", { class: "line factor total" }, h("span", { class: "label" }, rich("$∂C/∂b_1$")), h("span", { class: "track" }),
    h("output", { class: "gain value", id: "gradient" }, number(biasGradients(state.chain)[0])), h("span", { class: "gain" }, signed(total)));
  const head = h("div", { class: "line factor head" }, h("span", {}), h("span", {}), h("span", { class: "gain" }, t("product.value")), h("span", { class: "gain" }, t("product.decades")));
  return h("div", { class: "bars" }, head, rows, sum);
}

// The formula again with its numbers, in the same order.
function numbersOf(list) {
  const shown = [...list].reverse().map(({ kind, value }) => {
    const text = kind === "weight" ? plain(value) : number(value);
    return value < 0 ? `(${text})` : text;
  });
  return `${number(biasGradients(state.chain)[0])} = ${shown.join(" · ")}`;
}

function speeds(gradients) {
  const logs = gradients.map((gradient) => Math.log10(Math.abs(gradient))).filter(Number.isFinite);
  const high = Math.ceil(Math.max(...logs, -300));
  const low = Math.min(Math.floor(Math.min(...logs, 300) - 0.2), high - 2); // the least bar stays visible
  const rows = gradients.map((gradient, i) => {
    const log = Math.log10(Math.abs(gradient));
    const width = Number.isFinite(log) ? `max(2px, ${(100 * (log - low)) / (high - low)}%)` : "0";
    return h("div", { class: "line factor" }, h("span", { class: "label" }, rich(`$|∂C/∂b_${i + 1}|$`)),
      h("span", { class: "track ticks", style: { "--tick": 100 / (high - low) + "%" } }, h("i", { class: "bar speed-bar", style: { left: "0", width } })),
      h("span", { class: "gain value", id: `speed-${i + 1}` }, number(Math.abs(gradient))), h("span", { class: "gain" }, signed(log)));
  });
  return h("div", { class: "bars" }, rows);
}

function verdictOnSpeeds(gradients) {
  const [first, last] = [Math.abs(gradients[0]), Math.abs(gradients[3])];
  if (first === 0) return t(last === 0 ? "product.none" : "product.stuck");
  const ratio = last / first;
  if (ratio >= 1.1) return t("product.slower", { ratio: number(ratio) });
  return t(ratio <= 1 / 1.1 ? "product.faster" : "product.even", { ratio: number(1 / ratio) });
}

function showProduct() {
  const kinds = [["loss", "product.loss"], ["activation", "product.activation"], ["weight", "product.weight"]];
  return section("product", text("product.what"), h("div", { class: "formula" }, h("p", {}, rich(t("product.formula"))), live(["chain"], "p", { class: "numbers", id: "product-numbers" }, () => [numbersOf(factors(state.chain))])),
    h("p", { class: "legend" }, kinds.map(([kind, id]) => h("span", {}, h("i", { class: "swatch k-" + kind }), t(id)))),
    live(["chain"], "div", {}, () => [waterfall(factors(state.chain))]), hint("product.hint"),
    h("h3", {}, t("product.speeds")), live(["chain"], "div", {}, () => [speeds(biasGradients(state.chain))]),
    live(["chain"], "p", { class: "note", id: "speeds-note", "aria-live": "polite" }, () => rich(verdictOnSpeeds(biasGradients(state.chain)))));
}
