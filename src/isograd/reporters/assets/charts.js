// Bars and lines: decades by kind and module, learning speeds, and numbers over steps.

// --- Diverging bars, loss to the left.

function divergingBars(entries) {
  const values = finite(entries.map((entry) => entry.decades));
  // What is not finite gets a side to be drawn on.
  const reach = Math.max(most(values, 0), -least(values, 0)) || 1;
  const low = Math.min(least(values, 0), entries.some((entry) => entry.decades === -Infinity) ? -reach : 0);
  const span = Math.max(most(values, 0), entries.some((entry) => entry.decades === Infinity) ? reach : 0) - low || 1;
  const at = (value) => (100 * (Math.min(Math.max(value, low), low + span) - low)) / span;
  return h("div", { class: "bars" }, entries.map((entry) => {
    const [a, b] = [at(Math.min(entry.decades, 0)), at(Math.max(entry.decades, 0))];
    const broken = Number.isFinite(entry.decades) ? "" : " broken";
    const drawn = Number.isNaN(entry.decades) ? null
      : h("i", { class: `bar k-${entry.kind || "fold"}${broken}`, style: { left: a + "%", width: `max(1px, ${b - a}%)` } });
    return h("div", { class: "line" }, tail("span", { class: "label" }, entry.name),
      h("span", { class: "track", style: { "--zero": at(0) + "%" } }, drawn),
      h("span", { class: "gain" }, signed(entry.decades)),
      h("span", { class: "share" }, entry.share === undefined ? "" : entry.share + " %"));
  }));
}

// Percent of all that is lost (or gained), by largest remainder, as the terminal report does.
function withShares(entries) {
  const total = entries.reduce((sum, entry) => sum + entry.decades, 0);
  const lost = !(total > 0);
  const rank = (entry) => (Number.isNaN(entry.decades) ? -Infinity : lost ? entry.decades : -entry.decades);
  const sorted = [...entries].sort((a, b) => (rank(a) === rank(b) ? 0 : rank(a) - rank(b)));
  if (!Number.isFinite(total)) return sorted;
  const alike = sorted.filter((entry) => entry.decades < 0 === lost && entry.decades !== 0);
  const part = alike.reduce((all, entry) => all + entry.decades, 0);
  const exact = alike.map((entry) => (100 * entry.decades) / part);
  const whole = exact.map(Math.floor);
  const order = [...exact.keys()].sort((a, b) => whole[a] - exact[a] - (whole[b] - exact[b]));
  order.slice(0, 100 - whole.reduce((a, b) => a + b, 0)).forEach((i) => whole[i]++);
  alike.forEach((entry, i) => (entry.share = whole[i]));
  return sorted;
}

function decadesBy(links, key, name) {
  const sums = new Map();
  for (const link of links) if (link.known) sums.set(key(link), (sums.get(key(link)) || 0) + link.decades);
  return withShares([...sums].map(([id, decades]) => ({ id, name: name(id), decades })));
}

// --- Learning speed of each layer, both measures on one log axis.

const BAR_DECADES = 2; // the least that the scale spans: 1.00 and 1.13 are nearly as long

function speedBars(layers) {
  const { noise, cancelled } = DATA.speeds;
  const means = layers.map((layer, i) => (cancelled.includes(i) ? NaN : real(layer.batch_mean)));
  const each = layers.map((layer, i) => (noise.includes(i) ? NaN : real(layer.per_sample_rms)));
  const logs = finite([...means, ...each].map(log10));
  const high = logs.length ? Math.ceil(most(logs)) : 1;
  const low = Math.min(logs.length ? Math.floor(least(logs)) : 0, high - BAR_DECADES);
  const width = (value) => (Number.isFinite(log10(value)) ? `max(2px, ${(100 * (log10(value) - low)) / (high - low)}%)` : "0");
  const every = Math.max(1, Math.ceil((high - low) / 6));
  const ticks = [];
  for (let i = low; i <= high; i += every) ticks.push(h("span", { style: { left: (100 * (i - low)) / (high - low) + "%" } }, "1e" + i));
  const figures = (list, i, value) => h("span", { class: "gain" }, list.includes(i) ? "~0" : number(value));
  const rows = layers.map((layer, i) => h("div", { class: "line speed" },
    h("span", { class: "label" }, tail("span", {}, placeName(layer.module)), tail("small", {}, layer.source || "")),
    h("span", { class: "track" }, h("i", { class: "bar mean", style: { width: width(means[i]) } }),
      h("i", { class: "bar each", style: { width: width(each[i]) } })),
    figures(cancelled, i, layer.batch_mean), figures(noise, i, layer.per_sample_rms)));
  const names = [["mean", t("batch mean")], ["each", t("per-sample RMS")]];
  const head = h("div", { class: "line speed head" }, h("span", { class: "label" }, t("layer")), h("span", { class: "track" }, ticks),
    names.map(([kind, name]) => h("span", { class: "gain", title: name }, h("i", { class: "swatch " + kind }), h("span", {}, name))));
  const legend = h("p", { class: "legend" }, names.map(([kind, name]) => h("span", {}, h("i", { class: "swatch " + kind }), name)));
  return h("div", {}, legend, h("div", { class: "bars scroll", style: { "--tick": (100 * every) / (high - low) + "%" }, tabindex: 0, role: "group", "aria-label": t("learning speed of each layer") }, head, rows));
}

// --- Line chart; the pointer or the arrow keys read off all lines at a step.

const BOX = { height: 240, top: 12, bottom: 28 };
const CHARACTER = 6.4; // pixels, of the charts' text
const LABEL = 13; // pixels between two names at the ends of lines
const NAMED = 12; // lines; more than that cannot each carry a name

// From the first layer to the last, in one sequence of hues and lightness.
const layerAt = (i, n) => (n > 1 ? i / (n - 1) : 0);
const shorten = (name, length) => (name.length > length ? "…" + name.slice(1 - length) : name);

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

// Heights of names next to where their lines end: none covers another, and all stay inside.
function spread(places, low, high) {
  places.sort((a, b) => a.at - b.at);
  let free = low;
  for (const place of places) free = (place.y = Math.max(place.at, free)) + LABEL;
  free = high;
  for (const place of [...places].reverse()) free = (place.y = Math.min(place.y, free)) - LABEL;
  return places;
}

function lineChart({ title, steps, series, log, range }) {
  const [low, high] = range || rangeOf(series, log);
  const width = innerWidth <= 640 ? 350 : 460;
  const ticks = roundTicks(low, high, log).map((tick) => [tick, !log ? plain(tick) : Number.isInteger(tick) ? "1e" + tick : number(10 ** tick)]);
  const named = series.length <= NAMED;
  const longest = most(series.map((line) => line.name.length), 0);
  const left = 12 + CHARACTER * most(ticks.map(([, text]) => text.length), 2);
  const right = named ? 22 + CHARACTER * Math.min(longest, 20) : 14;
  const inner = { w: width - left - right, h: BOX.height - BOX.top - BOX.bottom };
  const [start, end] = [steps[0] || 0, steps[steps.length - 1] || 1];
  const x = (step) => left + (inner.w * (step - start)) / (end - start || 1);
  const y = (value) => BOX.top + inner.h * (1 - ((log ? log10(value) : real(value)) - low) / (high - low));
  const grid = ticks.map(([tick, text]) => {
    const at = BOX.top + inner.h * (1 - (tick - low) / (high - low));
    return [svg("line", { x1: left, x2: left + inner.w, y1: at, y2: at, class: "grid" }), svg("text", { x: left - 6, y: at + 4, class: "y" }, text)];
  });
  const colour = (line, i) => (line.colour ? { "--line": line.colour } : { "--at": layerAt(i, series.length) });
  const lines = series.map((line, i) => {
    let pen = "M";
    const path = line.values.map((value, j) => {
      const at = y(value);
      if (!Number.isFinite(at)) return (pen = "M"), "";
      const part = `${pen}${x(steps[j]).toFixed(1)},${at.toFixed(1)}`;
      pen = "L";
      return part;
    });
    return svg("path", { d: path.join("") || "M0,0", class: line.colour ? "curve" : "curve layer", style: colour(line, i) });
  });
  const ends = series.map((line, i) => ({ line, i, at: y(line.values.findLast((value) => Number.isFinite(y(value)))) })).filter((place) => Number.isFinite(place.at));
  const names = !named ? [] : spread(ends, BOX.top, BOX.top + inner.h).map(({ line, i, at, y: beside }) => [
    svg("path", { d: `M${left + inner.w + 2},${at.toFixed(1)}L${left + inner.w + 11},${beside.toFixed(1)}`, class: line.colour ? "lead" : "lead layer", style: colour(line, i) }),
    svg("text", { x: left + inner.w + 14, y: beside + 4, class: "name" }, shorten(line.name, 20)),
  ]);
  const cursor = svg("line", { y1: BOX.top, y2: BOX.top + inner.h, class: "cursor", visibility: "hidden" });
  const picture = svg("svg", { viewBox: `0 0 ${width} ${BOX.height}`, role: "img", tabindex: 0, "aria-label": title }, grid, lines, names, cursor,
    [start, end].map((step, i) => svg("text", { x: x(step), y: BOX.height - 8, class: i ? "x last" : "x" }, step)),
    svg("text", { x: left + inner.w / 2, y: BOX.height - 8, class: "x mid" }, t("step")));
  let here = 0;
  const read = (at, pointer) => {
    here = Math.min(Math.max(at, 0), steps.length - 1);
    cursor.setAttribute("visibility", "visible");
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, x(steps[here]));
    const some = series.length <= 16 ? series : series.filter((_, i) => i < 8 || i >= series.length - 8);
    const rows = some.map((line) => [h("dt", {}, line.name), h("dd", {}, number(line.values[here]))]);
    showTip(picture, h("dl", {}, h("dt", {}, t("step")), h("dd", {}, steps[here]), rows), pointer);
  };
  const leave = () => (hideTip(), cursor.setAttribute("visibility", "hidden"));
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const step = start + ((((event.clientX - box.left) / box.width) * width - left) / inner.w) * (end - start);
    read(steps.reduce((best, s, i) => (Math.abs(s - step) < Math.abs(steps[best] - step) ? i : best), 0), event.clientX);
  });
  picture.addEventListener("pointerleave", leave);
  picture.addEventListener("blur", leave);
  picture.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (move && steps.length) event.preventDefault(), read(here + move);
  });
  return h("figure", { class: "chart" }, h("figcaption", {}, title), picture, named ? null : key(series));
}

// The colours of many lines: a ramp from the first name to the last, with some between.
function key(series) {
  const n = series.length;
  const some = [0, 1, 2, 3, 4].map((i) => Math.round((i * (n - 1)) / 4));
  return h("p", { class: "legend" }, some.map((i) => h("span", {}, h("i", { class: "swatch layer", style: { "--at": layerAt(i, n) } }), series[i].name)));
}

function speedLines(history) {
  return history.layers.map((name, i) => ({ name: placeName(name), values: history.speeds[i] || [] }));
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
    return [h("div", {}, history.layers.length ? lineChart({ title: name(t("learning speed (log axis)")), steps: history.steps, series: speedLines(history), log: true, range: speeds }) : null,
      one(t("loss"), history.loss, "var(--first)", losses), one(said(history.metric_name || t("score")), history.metric, "var(--last)", scores))];
  }));
}
