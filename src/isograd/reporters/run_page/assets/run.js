// The page of a run: sections in reading order; drawn again when language, theme or structure change.

const NARROW = matchMedia("(max-width: 640px)");
const app = document.getElementById("app");
let RUN = null;

Object.assign(state, { quantity: "", shows: "largest", relative: false, filter: "", chosen: new Set(), shot: null, moving: "" });

function setRun(data) {
  RUN = data;
  Object.assign(DATA.zh, data.zh);
  for (const [name, table] of Object.entries(data.tables)) RUN.tables[name] = table && new Bins(table);
  RUN.alarms = alarmsOf();
  RUN.began = firstTime();
  if (!quantities().includes(state.quantity)) state.quantity = usualQuantity();
  document.title = `isograd${DATA.events ? " live" : ""} · ${RUN.name}`;
}

function firstTime() {
  const bins = RUN.tables.steps;
  const time = bins && bins.scalar("time");
  return time && bins.used ? time.block.low[time.index * time.block.columns] : NaN;
}

function spanOfRun() {
  const all = Object.values(RUN.tables).filter((bins) => bins && bins.used);
  const steps = [...all.flatMap((bins) => [bins.firstStep, bins.lastStep]), ...RUN.shots.map((shot) => shot.step)];
  return steps.length ? [Math.min(...steps), Math.max(...steps)] : [0, 1];
}

// Which scalars are charts and which are still: when that changes, the page is drawn again.
function movingScalars() {
  const bins = RUN.tables.steps;
  return bins ? bins.scalars.filter((name) => constant(bins, name) === null).join() : "";
}

function header() {
  const icon = () => (state.theme === "dark" ? "☀" : "☾");
  const theme = h("button", { type: "button", id: "theme", "aria-label": t("switch between light and dark"), onclick: () => {
    state.theme = state.theme === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = state.theme;
    theme.textContent = icon();
    readInk();
    redrawAll();
  } }, icon());
  const language = h("button", { type: "button", id: "language", lang: state.lang === "zh" ? "en" : "zh", onclick: () => {
    state.lang = state.lang === "zh" ? "en" : "zh";
    draw();
    document.getElementById("language").focus();
  } }, state.lang === "zh" ? "English" : "中文");
  return h("header", {}, h("div", { class: "brand" }, h("b", {}, "isograd"), h("span", {}, RUN ? RUN.name : ""), linkChip()), h("div", { class: "buttons" }, language, theme));
}

function overTime() {
  const strip = RUN.alarms.length ? new Strip() : null;
  const charts = scalarCharts();
  if (!RUN.tables.steps) return null;
  return section("over-time", t("over the training"),
    strip ? h("figure", { class: "over-steps" }, h("figcaption", {}, t("alarms"), " ", SEVERITIES.filter((severity) => RUN.alarms.some((alarm) => alarm.severity === severity)).map((severity) =>
      h("span", { class: "severity " + severity }, { error: "▲ ", warning: "◆ ", info: "● " }[severity], t(severity)))), strip.box) : null,
    charts, h("p", { class: "hint" }, t("Drag to see a part, double-click for all. Keys: arrows move, + and − zoom, 0 shows all.")));
}

function layerSection() {
  if (!quantities().length) return null;
  const heat = new Heat();
  const lines = new Lines({ id: "speed-lines", label: t("the layers as lines"), series: layerLines, log: "auto", height: NARROW.matches ? 220 : 280, layers: true });
  const bins = RUN.tables[quantityOf(state.quantity).table];
  return section("layers", t("layers over the steps"), controls(), h("div", { class: "heat-frame" }, heat.box), h("p", { class: "legend", id: "heat-legend" }),
    h("output", { id: "now", class: "now", "aria-live": "polite" }, t("Point at the map, or move with the arrow keys: the exact values appear here. Enter chooses a layer.")),
    bins && bins.width > 1 ? h("p", { class: "hint" }, t("A column stands for {n} steps and keeps the least, the greatest and the last value of each layer; around alarms and at the end every step is kept.", { n: bins.width })) : null,
    h("h3", {}, t("the layers as lines")), h("p", { class: "legend ramp-of-layers" }, h("span", {}, t("first layer")), h("i"), h("span", {}, t("last layer"))), lines.box);
}

function draw() {
  hideTip();
  pictures = [];
  document.documentElement.lang = state.lang === "zh" ? "zh-CN" : "en";
  if (!RUN) return app.replaceChildren(header(), h("div", { class: "verdict plain", id: "verdict" }, h("h1", {}, t("connecting"))));
  spanAxis(...spanOfRun());
  readInk();
  const sections = [findingSection(), overTime(), layerSection(), RUN.tables.steps ? section("table", t("all layers"), layerTable()) : null, shotSection(),
    RUN.alarms.length ? section("alarms", t("alarms"), alarmTable(), RUN.eventsLeft ? h("p", { class: "hint" }, t("{n} more are in the run file", { n: RUN.eventsLeft })) : null) : null, metaSection()].filter(Boolean);
  const links = sections.map((part) => h("a", { href: "#" + part.id }, part.querySelector("h2").textContent));
  app.replaceChildren(header(), head(), h("nav", { "aria-label": t("sections") }, links), h("main", {}, sections));
  state.moving = movingScalars();
  redrawAll();
}

let resized = null;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(() => RUN && redrawAll(), 60);
});
addEventListener("beforeprint", redrawAll);

if (DATA.run) setRun(DATA.run);
draw();
if (DATA.events) connect();
