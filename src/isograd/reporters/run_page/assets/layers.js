// The layers: what is shown of them, which are chosen, the table of all.

const QUANTITIES = {
  grad_norm: "learning speed: gradient norm", weight_norm: "weight norm", update_norm: "update norm", update_ratio: "update norm / weight norm",
  mean: "mean of the output", rms: "RMS of the output", absmax: "largest entry of the output", zero_fraction: "zeros in the output",
  saturated_fraction: "saturated units", nonfinite: "entries that are not finite", gain: "gain",
  ratio: "first run / second run", first: "first run", second: "second run",
};
const wordOf = (statistic) => t(QUANTITIES[statistic] || statistic);

// All quantities there are: `table/statistic`.
function quantities() {
  return ["steps", "layers"].flatMap((table) => (RUN.tables[table] ? RUN.tables[table].statistics.map((statistic) => `${table}/${statistic}`) : []));
}

const quantityOf = (text) => {
  const [table, ...rest] = text.split("/");
  return { table, statistic: rest.join("/") };
};

function usualQuantity() {
  const known = quantities();
  if (known.includes("steps/ratio")) return "steps/ratio";
  return known.includes("steps/grad_norm") ? "steps/grad_norm" : known[0] || "steps/grad_norm";
}

function toggleChosen(name) {
  if (state.chosen.has(name)) state.chosen.delete(name);
  else state.chosen.add(name);
  redrawAll();
  document.getElementById("layer-table")?.refresh(layerRows());
}

const SOME = 6;

// The heat map's rows as lines: the chosen ones strong, the others behind them.
function layerLines() {
  const { table, statistic } = quantityOf(state.quantity);
  const bins = RUN.tables[table];
  if (!bins) return [];
  const wanted = state.filter.trim().toLowerCase();
  const names = bins.names.filter((name) => name.toLowerCase().includes(wanted));
  const chosen = names.filter((name) => state.chosen.has(name));
  // Of many, some from the first to the last stand for the others until layers are chosen.
  const some = new Set(Array.from({ length: SOME }, (_, k) => Math.round((k * (names.length - 1)) / (SOME - 1))));
  return names.map((name, i) => ({
    name, bins, series: bins.series(name, statistic), ink: layerInk(names.length > 1 ? i / (names.length - 1) : 0),
    strong: chosen.length ? state.chosen.has(name) : names.length <= 2 * SOME || some.has(i), faint: names.length > 2 * SOME || chosen.length > 0,
  }));
}

function controls() {
  const known = quantities();
  const again = () => redrawAll();
  const quantity = h("select", { id: "quantity", onchange: () => ((state.quantity = quantity.value), again()) },
    [["steps", t("at every step")], ["layers", t("sampled in the forward pass")]].map(([table, title]) => {
      const own = known.filter((each) => quantityOf(each).table === table);
      return own.length ? h("optgroup", { label: title }, own.map((each) => h("option", { value: each, selected: each === state.quantity }, wordOf(quantityOf(each).statistic)))) : null;
    }));
  const shows = h("select", { id: "shows", onchange: () => ((state.shows = shows.value), again()) },
    [["largest", t("largest")], ["smallest", t("smallest")], ["last", t("last")]].map(([value, text]) => h("option", { value, selected: value === state.shows }, text)));
  const relative = h("input", { type: "checkbox", id: "relative", checked: state.relative, onchange: () => ((state.relative = relative.checked), again()) });
  const filter = h("input", { type: "search", id: "filter", value: state.filter, placeholder: t("filter"), "aria-label": t("filter layers by name"), oninput: () => ((state.filter = filter.value), again()) });
  const zoom = (text, label, act) => h("button", { type: "button", title: label, "aria-label": label, onclick: act }, text);
  return h("div", { class: "tools" }, h("label", {}, t("quantity"), " ", quantity), h("label", {}, t("of a column its"), " ", shows),
    h("label", {}, relative, " ", t("against its own median")), filter,
    h("span", { class: "zoom" }, zoom("+", t("nearer"), () => zoomBy(0.5)), zoom("−", t("farther"), () => zoomBy(2)), zoom(t("all steps"), t("show all steps"), zoomOut)));
}

// --- The table: what each layer did over the run.

function layerRows() {
  const bins = RUN.tables.steps;
  if (!bins || !bins.used) return [];
  const has = (statistic) => bins.statistics.includes(statistic);
  return bins.names.map((name, place) => {
    const row = { name, place };
    if (has("grad_norm")) row.grad_norm = overviewOf(bins, bins.series(name, "grad_norm"));
    for (const statistic of ["weight_norm", "update_ratio"]) if (has(statistic)) row[statistic] = { last: lastKnown(bins, bins.series(name, statistic)) };
    row.alarms = RUN.alarms.filter((alarm) => alarm.severity !== "info" && alarm.parameter && nameOf(alarm.parameter) === name).length;
    return row;
  });
}

function overviewOf(bins, { block, index }) {
  const base = index * block.columns;
  const found = new Float64Array(bins.used);
  let [bad, high, low, n] = [0, NaN, NaN, 0];
  for (let c = 0; c < bins.used; c++) {
    if (block.bad[base + c]) bad += 1;
    if (Number.isFinite(block.last[base + c])) found[n++] = block.last[base + c];
    if (!(high >= block.high[base + c]) && !Number.isNaN(block.high[base + c])) high = block.high[base + c];
    if (!(low <= block.low[base + c]) && !Number.isNaN(block.low[base + c])) low = block.low[base + c];
  }
  const [first, last] = n ? [found[0], found[n - 1]] : [NaN, NaN];
  return { first, last, middle: quantile(found.subarray(0, n), 0.5), high, low, bad };
}

function lastKnown(bins, { block, index }) {
  for (let c = bins.used - 1; c >= 0; c--) if (Number.isFinite(block.last[index * block.columns + c])) return block.last[index * block.columns + c];
  return NaN;
}

function layerTable() {
  const bins = RUN.tables.steps;
  const value = (statistic, part) => (row) => (row[statistic] ? row[statistic][part] : NaN);
  const shown = (statistic, part) => (row) => optional(value(statistic, part)(row)) ?? number(value(statistic, part)(row));
  const column = (label, statistic, part) => (bins.statistics.includes(statistic) ? figure(label, value(statistic, part), shown(statistic, part)) : null);
  const change = (row) => (row.grad_norm ? log10(row.grad_norm.last) - log10(row.grad_norm.first) : NaN);
  return sortableTable({ id: "layer-table", label: t("layers"), rows: layerRows(), columns: [
    figure("#", (row) => row.place, (row) => row.place + 1),
    words(t("layer"), (row) => row.name, (row) => h("button", { type: "button", class: "link", "aria-pressed": String(state.chosen.has(row.name)), title: t("show it among the lines"), onclick: () => toggleChosen(row.name) }, state.chosen.has(row.name) ? "● " : "", row.name)),
    column(t("speed now"), "grad_norm", "last"), column(t("median"), "grad_norm", "middle"), column(t("smallest"), "grad_norm", "low"), column(t("largest"), "grad_norm", "high"),
    bins.statistics.includes("grad_norm") ? figure(t("decades since the start"), change, (row) => optional(change(row)) ?? signed(change(row))) : null,
    column(t("weight norm"), "weight_norm", "last"), column(t("update / weight"), "update_ratio", "last"),
    figure(t("columns not finite"), (row) => row.grad_norm?.bad || 0, (row) => row.grad_norm?.bad || "–"), figure(t("alarms"), (row) => row.alarms, (row) => row.alarms || "–"),
  ].filter(Boolean) });
}
