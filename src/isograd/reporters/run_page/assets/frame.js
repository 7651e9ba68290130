// What the pages over steps share: the numbers they show, the head, the layers.

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

function header(chip) {
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
  return h("header", {}, h("div", { class: "brand" }, h("b", {}, "isograd"), h("span", {}, RUN ? RUN.name : ""), chip), h("div", { class: "buttons" }, language, theme));
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

let resized = null;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(() => RUN && redrawAll(), 60);
});
addEventListener("beforeprint", redrawAll);
