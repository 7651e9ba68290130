// The map's page: two heat maps, what the theory says, all numbers.

const MAP = DATA.map;

const state = {
  lang: DATA.lang,
  theme: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light",
};

let heats = [];

// JSON has no NaN, so they travel as strings; null is no number.
const real = (value) => (typeof value === "number" ? value : value === null || value === undefined ? NaN : { nan: NaN, inf: Infinity, "-inf": -Infinity }[value]);
const table = (name) => MAP[name].map((row) => row.map(real));
const tick = (value) => String(Number(value.toPrecision(3)));
const axisName = () => t(MAP.settings.target && MAP.axis === "sigma_w" ? "axis.scale" : `axis.${MAP.axis}`);
const phaseOf = (scale) => MAP.theory && MAP.axis === "sigma_w" ? (MAP.theory.points.find((p) => p.scale === scale) || {}).phase : undefined;

function why(i, j) {
  return MAP.failures.filter((f) => f.depth === MAP.depths[i] && f.scale === MAP.scales[j]).map((f) => `${t("stage." + f.stage)}: ${f.reason}`);
}

function valuesOf(i, j) {
  const [success, gain, start, end, rate] = ["success", "gain_decades", "loss_start", "loss_end", "rate"].map((name) => real(MAP[name][i][j]));
  const limit = real(DATA.limits[j]);
  const phase = phaseOf(MAP.scales[j]);
  const known = MAP.seeds[i][j] > 0;
  return [
    [t("axis.depth"), String(MAP.depths[i])],
    [axisName(), plain(MAP.scales[j])],
    ...(known ? [
      [t("cell.success"), number(success, 3)],
      [t("cell.gain"), signed(gain)],
      [t("cell.loss"), `${number(start, 3)} → ${number(end, 3)}`],
      [t("cell.rate"), number(rate, 3)],
    ] : [[t("unknown"), ""]]),
    ...(Number.isNaN(limit) ? [] : [[t("cell.limit"), limit === Infinity ? "∞" : number(limit, 3)]]),
    ...(phase ? [[t("cell.phase"), t("phase." + phase)]] : []),
    ...why(i, j).map((reason) => [t("cell.why"), reason]),
  ];
}

const details = (i, j) => h("dl", {}, valuesOf(i, j).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));

function heatMap(id, title, what, cells, colour, ends, ground) {
  const heat = new Heat(id, cells, colour, (i, j) => {
    document.getElementById("now").textContent = valuesOf(i, j).map(([name, value]) => `${name} ${value}`.trim()).join(" · ");
  });
  heat.canvas.setAttribute("aria-label", `${title}. ${t("page.hint")}`);
  heat.canvas.setAttribute("aria-describedby", "now");
  heats.push(heat);
  const bar = h("i", { style: { background: `linear-gradient(90deg, ${ground.join(", ")})` } });
  return h("figure", { class: "map" }, h("h3", {}, title), h("figcaption", {}, what), heat.canvas, h("div", { class: "scale" }, h("span", {}, ends[0]), bar, h("span", {}, ends[1])));
}

function maps() {
  const gains = table("gain_decades");
  const finite = gains.flat().filter(Number.isFinite).map(Math.abs);
  // Beyond ten decades the colour says no more; the number does.
  const most = Math.max(1, Math.min(10, finite.reduce((a, b) => Math.max(a, b), 0)));
  const cut = finite.some((value) => value > most);
  const ends = ["−", "+"].map((sign) => (cut ? (sign === "−" ? "≤ " : "≥ ") : "") + sign + number(most, 3).replace(/\.?0+$/, ""));
  const ground = GAIN[state.theme];
  heats = [];
  const success = heatMap("success", t("success.title"), t("success." + MAP.measure), table("success"), (value) => mix(SUCCESS, value), ["0", "1"], SUCCESS);
  const gain = heatMap("gain", t("gain.title"), t("gain.what"), gains, (value) => mix(ground, 0.5 + value / most / 2), ends, ground);
  const keys = h("ul", { class: "keys" },
    MAP.theory && DATA.limits.some((limit) => limit !== null) ? h("li", {}, h("span", { class: "stroke" }), t("line.key")) : null,
    MAP.theory && MAP.theory.critical !== null && MAP.axis === "sigma_w" ? h("li", {}, h("span", { class: "stroke dashed" }), t("edge.at", { value: number(MAP.theory.critical) })) : null,
    h("li", {}, h("span", { class: "box unknown" }), t("unknown")));
  return h("section", { id: "maps" }, h("div", { class: "maps" }, success, gain), keys, h("output", { id: "now", class: "now", "aria-live": "polite" }, t("page.hint")));
}

function theLine() {
  if (!MAP.theory) return null;
  const deep = (value) => (value === Infinity || value > MAP.depths.at(-1) ? t("page.deeper") : value < MAP.depths[0] ? t("page.shallower") : number(value, 3));
  const rows = MAP.scales.map((scale, j) => {
    const [limit, found, phase] = [real(DATA.limits[j]), real(DATA.trainable[j]), phaseOf(scale)];
    return h("tr", {}, h("td", { class: "number" }, plain(scale)), h("td", {}, phase ? t("phase." + phase) : ""), h("td", { class: "number" }, Number.isNaN(limit) ? "–" : limit === Infinity ? "∞" : number(limit, 3)), h("td", { class: "number" }, Number.isNaN(found) ? "–" : deep(found)));
  });
  const head = [axisName(), t("cell.phase"), t("cell.limit"), t("page.measured")].map((name, k) => h("th", { scope: "col", class: k === 1 ? null : "number" }, name));
  return h("section", { id: "line" }, h("h2", {}, t("page.line")), h("p", {}, t("line.xi")), h("p", { class: "hint" }, t("page.explain")), h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows))));
}

function numbers() {
  const names = [t("axis.depth"), axisName(), t("cell.success"), t("cell.gain"), t("cell.start"), t("cell.end"), t("cell.rate"), t("cell.why")];
  const [success, gain, start, end, rate] = ["success", "gain_decades", "loss_start", "loss_end", "rate"].map(table);
  const rows = MAP.depths.flatMap((depth, i) => MAP.scales.map((scale, j) => {
    const shown = [depth, plain(scale), number(success[i][j], 3), signed(gain[i][j]), number(start[i][j], 3), number(end[i][j], 3), number(rate[i][j], 3)];
    return h("tr", {}, shown.map((value) => h("td", { class: "number" }, value)), h("td", {}, why(i, j).join("; ")));
  }));
  const body = h("table", {}, h("thead", {}, h("tr", {}, names.map((name, k) => h("th", { scope: "col", class: k < 7 ? "number" : null }, name)))), h("tbody", {}, rows));
  return h("section", { id: "numbers" }, h("details", {}, h("summary", {}, t("page.numbers")), h("div", { class: "scroll" }, body)));
}

function settings() {
  const shown = Object.entries(MAP.settings).filter(([, value]) => value !== null && value !== "");
  return h("section", { id: "settings" }, h("details", {}, h("summary", {}, t("page.settings")), h("dl", { class: "settings" }, shown.map(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))]))));
}

function header() {
  const icon = () => (state.theme === "dark" ? "☀" : "☾");
  const theme = h("button", { type: "button", id: "theme", "aria-label": t("page.theme"), onclick: () => {
    state.theme = state.theme === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = state.theme;
    draw();
    document.getElementById("theme").focus();
  } }, icon());
  const other = state.lang === "zh" ? "en" : "zh";
  const language = h("button", { type: "button", id: "language", lang: other === "en" ? "en" : "zh-CN", onclick: () => {
    state.lang = other;
    draw();
    document.getElementById("language").focus();
  } }, other === "en" ? "English" : "中文");
  return h("header", {}, h("div", { class: "brand" }, h("b", {}, "isograd"), h("span", {}, "map")), h("div", { class: "buttons" }, language, theme));
}

function draw() {
  hideTip();
  const words = DATA.words[state.lang];
  document.documentElement.lang = state.lang === "zh" ? "zh-CN" : "en";
  const lead = h("div", { class: "verdict" }, h("h1", {}, rich(words.title)), h("p", { class: "hint" }, words.facts), words.notes.map((note) => h("p", {}, note)));
  document.getElementById("app").replaceChildren(header(), lead, h("main", {}, maps(), theLine() || "", numbers(), settings()));
  heats.forEach((heat) => heat.draw());
}

addEventListener("resize", () => heats.forEach((heat) => heat.draw()));
draw();
