// The page of a run: sections in reading order; drawn again when language, theme or structure change.

// Which scalars are charts and which are still: when that changes, the page is drawn again.
function movingScalars() {
  const bins = RUN.tables.steps;
  return bins ? bins.scalars.filter((name) => constant(bins, name) === null).join() : "";
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

function draw() {
  hideTip();
  pictures = [];
  document.documentElement.lang = state.lang === "zh" ? "zh-CN" : "en";
  if (!RUN) return app.replaceChildren(header(linkChip()), h("div", { class: "verdict plain", id: "verdict" }, h("h1", {}, t("connecting"))));
  spanAxis(...spanOfRun());
  readInk();
  const sections = [findingSection(), overTime(), layerSection(), RUN.tables.steps ? section("table", t("all layers"), layerTable()) : null, shotSection(),
    RUN.alarms.length ? section("alarms", t("alarms"), alarmTable(), RUN.eventsLeft ? h("p", { class: "hint" }, t("{n} more are in the run file", { n: RUN.eventsLeft })) : null) : null, metaSection()].filter(Boolean);
  const links = sections.map((part) => h("a", { href: "#" + part.id }, part.querySelector("h2").textContent));
  app.replaceChildren(header(linkChip()), head(), h("nav", { "aria-label": t("sections") }, links), h("main", {}, sections));
  state.moving = movingScalars();
  redrawAll();
}

if (DATA.run) setRun(DATA.run);
draw();
if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
if (DATA.events) connect();
