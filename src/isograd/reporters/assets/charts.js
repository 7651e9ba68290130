// Bars and lines: decades by kind and module, learning speeds, and numbers over steps.

// --- Diverging bars, loss to the left.

function divergingBars(entries) {
  const values = finite(entries.map((entry) => entry.decades));
  const low = least(values, 0);
  const span = most(values, 0) - low || 1;
  const at = (value) => (100 * (Math.min(Math.max(value, low), low + span) - low)) / span;
  return h("div", { class: "bars" }, entries.map((entry) => {
    const [a, b] = [at(Math.min(entry.decades, 0)), at(Math.max(entry.decades, 0))];
    const drawn = Number.isNaN(entry.decades) ? null
      : h("i", { class: "bar k-" + (entry.kind || "fold"), style: { left: a + "%", width: `max(1px, ${b - a}%)` } });
    return h("div", { class: "line" }, h("span", { class: "label" }, entry.name),
      h("span", { class: "track", style: { "--zero": at(0) + "%" } }, drawn),
      h("span", { class: "gain" }, signed(entry.decades)),
      h("span", { class: "share" }, entry.share === undefined ? "" : entry.share + " %"));
  }));
}

// Percent of all that is lost (or gained), by largest remainder, as the terminal report does.
function withShares(entries) {
  const total = entries.reduce((sum, entry) => sum + entry.decades, 0);
  const lost = total <= 0;
  const sorted = [...entries].sort((a, b) => (lost ? a.decades - b.decades : b.decades - a.decades));
  if (!Number.isFinite(total)) return sorted;
  const alike = sorted.filter((entry) => entry.decades < 0 === lost && entry.decades !== 0);
  const sum = alike.reduce((all, entry) => all + entry.decades, 0);
  const exact = alike.map((entry) => (100 * entry.decades) / sum);
  const whole = exact.map(Math.floor);
  const order = [...exact.keys()].sort((a, b) => whole[a] - exact[a] - (whole[b] - exact[b]));
  order.slice(0, 100 - whole.reduce((a, b) => a + b, 0)).forEach((i) => whole[i]++);
  alike.forEach((entry, i) => (entry.share = whole[i]));
  return sorted;
}

function decadesBy(links, key, name) {
  const sums = new Map();
  for (const link of links) sums.set(key(link), (sums.get(key(link)) || 0) + link.decades);
  return withShares([...sums].map(([id, decades]) => ({ id, name: name(id), decades })));
}

// --- Learning speed of each layer, both measures on one log axis.

function speedBars(layers) {
  const logs = finite(layers.flatMap((layer) => [log10(layer.batch_mean), log10(layer.per_sample_rms)]));
  const low = logs.length ? Math.floor(least(logs)) : 0;
  const high = Math.max(Math.ceil(most(logs)), low + 1);
  const width = (value) => (Number.isFinite(log10(value)) ? `max(2px, ${(100 * (log10(value) - low)) / (high - low)}%)` : "0");
  const every = Math.max(1, Math.ceil((high - low) / 6));
  const ticks = [];
  for (let i = low; i <= high; i += every) ticks.push(h("span", { style: { left: (100 * (i - low)) / (high - low) + "%" } }, "1e" + i));
  const rows = layers.map((layer) => h("div", { class: "line speed" },
    h("span", { class: "label" }, layer.module, h("small", {}, layer.source || "")),
    h("span", { class: "track" }, h("i", { class: "bar mean", style: { width: width(layer.batch_mean) } }),
      h("i", { class: "bar each", style: { width: width(layer.per_sample_rms) } })),
    h("span", { class: "gain" }, number(layer.batch_mean)), h("span", { class: "gain" }, number(layer.per_sample_rms))));
  const names = [["mean", t("batch mean")], ["each", t("per-sample RMS")]];
  const head = h("div", { class: "line speed head" }, h("span", { class: "label" }, t("layer")), h("span", { class: "track" }, ticks),
    names.map(([kind, name]) => h("span", { class: "gain", title: name }, h("i", { class: "swatch " + kind }), h("span", {}, name))));
  const legend = h("p", { class: "legend" }, names.map(([kind, name]) => h("span", {}, h("i", { class: "swatch " + kind }), name)));
  return h("div", {}, legend, h("div", { class: "bars scroll", style: { "--tick": (100 * every) / (high - low) + "%" }, tabindex: 0, role: "group", "aria-label": t("learning speed of each layer") }, head, rows));
}

// --- Line chart; the pointer or the arrow keys read off all lines at a step.

const BOX = { width: 460, height: 240, left: 52, right: 88, top: 12, bottom: 28 };

function layerColour(i, n) {
  return `color-mix(in oklab, var(--last) ${n > 1 ? (100 * i) / (n - 1) : 0}%, var(--first))`;
}

function rangeOf(series, log) {
  const values = finite(series.flatMap((line) => line.values.map((v) => (log ? log10(v) : real(v)))));
  if (!values.length) return [0, 1];
  const [low, high] = [least(values), most(values)];
  const room = (high - low) * 0.04 || 0.5;
  return [low - room, high + room];
}

// Round ticks inside the range; on a log axis whole decades, unless it spans less than one.
function roundTicks(low, high, log) {
  const step = roundStep((high - low) / 4, log && high - low >= 1 ? 1 : (high - low) / 10);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

function lineChart({ title, steps, series, log, range }) {
  const [low, high] = range || rangeOf(series, log);
  const inner = { w: BOX.width - BOX.left - BOX.right, h: BOX.height - BOX.top - BOX.bottom };
  const [start, end] = [steps[0] || 0, steps[steps.length - 1] || 1];
  const x = (step) => BOX.left + (inner.w * (step - start)) / (end - start || 1);
  const y = (value) => BOX.top + inner.h * (1 - ((log ? log10(value) : real(value)) - low) / (high - low));
  const ticks = roundTicks(low, high, log);
  const grid = ticks.map((tick) => {
    const at = BOX.top + inner.h * (1 - (tick - low) / (high - low));
    const text = !log ? plain(tick) : Number.isInteger(tick) ? "1e" + tick : number(10 ** tick);
    return [svg("line", { x1: BOX.left, x2: BOX.left + inner.w, y1: at, y2: at, class: "grid" }), svg("text", { x: BOX.left - 6, y: at + 4, class: "y" }, text)];
  });
  const lines = series.map((line, i) => {
    let pen = "M";
    const path = line.values.map((value, j) => {
      const at = y(value);
      if (!Number.isFinite(at)) return (pen = "M"), "";
      const part = `${pen}${x(steps[j]).toFixed(1)},${at.toFixed(1)}`;
      pen = "L";
      return part;
    });
    return svg("path", { d: path.join("") || "M0,0", class: "curve", style: { stroke: line.colour || layerColour(i, series.length) } });
  });
  const labelled = series.length > 2 ? [series[0], series[series.length - 1]] : series;
  const places = labelled.map((line) => ({ line, at: y([...line.values].reverse().find((v) => Number.isFinite(y(v)))) })).filter((p) => Number.isFinite(p.at)).sort((a, b) => a.at - b.at);
  places.forEach((place, i) => { if (i && place.at - places[i - 1].at < 14) place.at = places[i - 1].at + 14; });
  const names = places.map(({ line, at }) => svg("text", { x: BOX.left + inner.w + 5, y: at + 4, class: "name", style: { fill: line.colour || layerColour(series.indexOf(line), series.length) } },
    line.name.length > 13 ? "…" + line.name.slice(-12) : line.name));
  const cursor = svg("line", { y1: BOX.top, y2: BOX.top + inner.h, class: "cursor", visibility: "hidden" });
  const picture = svg("svg", { viewBox: `0 0 ${BOX.width} ${BOX.height}`, role: "img", tabindex: 0, "aria-label": title }, grid, lines, names, cursor,
    [start, end].map((step, i) => svg("text", { x: x(step), y: BOX.height - 8, class: i ? "x last" : "x" }, step)),
    svg("text", { x: BOX.left + inner.w / 2, y: BOX.height - 8, class: "x mid" }, t("step")));
  let here = 0;
  const read = (at, left) => {
    here = Math.min(Math.max(at, 0), steps.length - 1);
    cursor.setAttribute("visibility", "visible");
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, x(steps[here]));
    const rows = series.slice(0, 16).map((line) => [h("dt", {}, line.name), h("dd", {}, number(line.values[here]))]);
    showTip(picture, h("dl", {}, h("dt", {}, t("step")), h("dd", {}, steps[here]), rows), left);
  };
  const leave = () => (hideTip(), cursor.setAttribute("visibility", "hidden"));
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const step = start + ((((event.clientX - box.left) / box.width) * BOX.width - BOX.left) / inner.w) * (end - start);
    read(steps.reduce((best, s, i) => (Math.abs(s - step) < Math.abs(steps[best] - step) ? i : best), 0), event.clientX);
  });
  picture.addEventListener("pointerleave", leave);
  picture.addEventListener("blur", leave);
  picture.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (move && steps.length) event.preventDefault(), read(here + move);
  });
  return h("figure", { class: "chart" }, h("figcaption", {}, title), picture);
}

function speedLines(history) {
  return history.layers.map((name, i) => ({ name, values: history.speeds[i] || [] }));
}

function trainings(list) {
  const speeds = rangeOf(list.flatMap(([, history]) => speedLines(history)), true);
  const losses = rangeOf(list.map(([, history]) => ({ values: history.loss })), false);
  const scores = rangeOf(list.map(([, history]) => ({ values: history.metric })), false);
  return h("div", { class: "charts" }, list.flatMap(([title, history]) => {
    const name = (what) => (title ? t("{name}: {value}", { name: title, value: what }) : what);
    const one = (what, values, colour, range) => values.length
      ? lineChart({ title: name(what), steps: history.steps, series: [{ name: what, values, colour }], log: false, range }) : null;
    if (!history.steps.length) return [];
    return [h("div", {}, lineChart({ title: name(t("learning speed (log axis)")), steps: history.steps, series: speedLines(history), log: true, range: speeds }),
      one(t("loss"), history.loss, "var(--first)", losses), one(said(history.metric_name || t("score")), history.metric, "var(--last)", scores))];
  }));
}
