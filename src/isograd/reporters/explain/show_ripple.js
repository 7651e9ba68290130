// A nudge of b_1 followed to the cost, and how its error shrinks with its size.

function rippleTable(rows) {
  const name = ({ what, j }) => (what === "C" ? "$ΔC$" : `$Δ${what}_${j}$`);
  const columns = ["ripple.quantity", "ripple.exact", "ripple.linear", "ripple.subtracted"];
  return h("table", { id: "ripple-table" }, h("thead", {}, h("tr", {}, columns.map((id, i) => h("th", { scope: "col", class: i ? "number" : null }, t(id))))),
    h("tbody", {}, rows.map((row) => h("tr", {}, h("th", { scope: "row" }, rich(name(row))),
      [row.exact, row.linear, row.subtracted].map((value) => h("td", { class: "number" }, number(value)))))));
}

function errorPlot() {
  const places = Array.from({ length: 65 }, (_, i) => 10 ** (-16 + i / 4));
  const errors = places.map((eps) => nudgeErrors(state.chain, eps));
  const line = (kind, name, field, dashed) => ({ kind, name: t(name), dashed, points: places.map((eps, i) => [eps, Math.max(errors[i][field], 1e-17)]) });
  return plot({ id: "ripple-plot", label: t("ripple.plot"), x: { low: -16, high: 0, log: true, name: t("ripple.eps") }, y: { low: -17, high: 2, log: true, name: t("ripple.error") },
    lines: [line("first", "ripple.noRounding", "exact"), line("last", "ripple.forward", "forward"), line("good", "ripple.central", "central", true)],
    rules: [{ at: state.ripple.eps, kind: "muted" }] });
}

function rippleVerdict() {
  const errors = nudgeErrors(state.chain, state.ripple.eps);
  if (!Number.isFinite(errors.exact)) return t("ripple.zero");
  return t("ripple.verdict", { eps: number(state.ripple.eps), exact: number(errors.exact, 3), forward: number(errors.forward, 3), central: number(errors.central, 3) });
}

function showRipple() {
  const keys = ["chain", "ripple"];
  return section("ripple", text("ripple.what"), h("p", { class: "formula" }, rich(t("ripple.formula"))), text("ripple.rows"),
    slider({ id: "eps", name: t("ripple.nudge"), of: () => state.ripple, field: "eps", key: "ripple", min: 1e-16, max: 1, log: true }),
    h("div", { class: "two" }, live(keys, "div", {}, () => [rippleTable(ripple(state.chain, state.ripple.eps))]),
      h("div", {}, live(keys, "div", {}, () => [errorPlot()]))),
    live(keys, "p", { class: "note", "aria-live": "polite" }, () => rich(rippleVerdict())), hint("ripple.hint"));
}
