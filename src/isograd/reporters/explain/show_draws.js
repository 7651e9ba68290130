// Many chains drawn at random: how the product is spread, and its three averages.

const DRAWS = 10000;

function histogram(result, { depth }) {
  const finite = result.decades.filter(Number.isFinite);
  const low = Math.floor(Math.max(finite.length ? quantile(finite, 0.002) : -1, -60));
  const high = Math.max(Math.ceil(finite.length ? quantile(finite, 0.998) : 0), 1);
  const bins = 44;
  const width = (high - low) / bins;
  const counts = new Array(bins).fill(0);
  for (const value of finite) {
    const bin = Math.floor((value - low) / width);
    if (bin >= 0 && bin < bins) counts[bin]++;
  }
  const at = (average) => depth * Math.log10(average);
  return plot({ id: "draws-plot", label: t("draws.plot"), x: { low, high, name: t("draws.decades") }, y: { low: 0, high: Math.max(...counts) * 1.15 || 1, name: t("draws.count") }, height: 270,
    bars: counts.map((count, i) => [low + i * width, low + (i + 1) * width, count]),
    rules: [{ at: at(result.geometric), kind: "first", name: t("draws.geometric") }, { at: at(result.mean), kind: "good", name: t("draws.mean") },
      { at: at(result.rms), kind: "last", name: t("draws.rms") }].filter((rule) => rule.at >= low && rule.at <= high) });
}

function drawsTable(result, { depth }) {
  const rows = [["draws.geometric", result.geometric], ["draws.median", result.median], ["draws.mean", result.mean], ["draws.rms", result.rms]];
  return h("table", { id: "draws-table" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("draws.average")), h("th", { scope: "col", class: "number" }, t("draws.one")), h("th", { scope: "col", class: "number" }, t("draws.all", { depth })))),
    h("tbody", {}, rows.map(([id, value]) => h("tr", {}, h("th", { scope: "row" }, t(id)), h("td", { class: "number" }, number(value, 3)), h("td", { class: "number" }, number(value ** depth, 3))))));
}

function drawsNote(result) {
  const finite = Array.from(result.decades);
  const values = { below: percent(result.belowQuarter), own: percent(result.own.belowQuarter), above: percent(result.own.atLeastOne), median: number(10 ** quantile(finite, 0.5), 3), zeros: percent(result.zeros) };
  return t(result.zeros > 0 ? "draws.noteZeros" : "draws.note", values);
}

function showDraws() {
  const of = () => state.draws;
  const content = live(["draws"], "div", {}, () => {
    const result = drawProducts({ ...state.draws, draws: DRAWS });
    return [h("div", { class: "two" }, histogram(result, state.draws), h("div", {}, drawsTable(result, state.draws))), h("p", { class: "note", id: "draws-note" }, rich(drawsNote(result)))];
  });
  return section("draws", text("draws.what"), text("draws.averages"),
    h("div", { class: "tools" }, activationChoice("draws-activation", of, "draws"), button("draws-again", t("control.again"), () => (state.draws.seed++, changed("draws")))),
    slider({ id: "draws-depth", name: t("draws.depth"), of, field: "depth", key: "draws", min: 1, max: 30, step: 1, whole: true }),
    slider({ id: "draws-sigma", name: t("draws.sigma"), of, field: "sigma", key: "draws", min: 0.1, max: 20, log: true }), content);
}
