// Two runs beside each other: what was found, both losses, the ratio of every layer, the table.

const FOUND = DATA.compare;

function answer() {
  const { headline, sentences, how } = FOUND.said[state.lang];
  const mood = FOUND.identical ? "good" : FOUND.parts ? "warning" : "plain";
  return h("div", { class: "verdict " + mood, id: "verdict" },
    h("h1", {}, h("span", { class: "mark", "aria-hidden": "true" }, FOUND.identical ? "=" : FOUND.parts ? "≠" : "≈"), h("span", {}, rich(headline))),
    sentences.map((text) => h("p", {}, rich(text))), FOUND.identical ? null : h("p", { class: "hint" }, how),
    h("p", { class: "legend names-of-runs" }, [FOUND.a, FOUND.b].map((name, i) => h("span", {}, h("i", { class: "swatch", style: { "--k": i ? "var(--last)" : "var(--first)" } }), h("code", {}, name)))));
}

function factSection() {
  const facts = Object.entries(FOUND.facts);
  if (!facts.length) return null;
  const plainly = (value) => (value === null ? "–" : Array.isArray(value) ? value.join(" ") : typeof value === "object" ? JSON.stringify(value) : String(value));
  return section("facts", t("what differs in the facts"), fixedTable([words(t("fact"), ([key]) => t(key)), words(FOUND.a, ([, pair]) => plainly(pair[0])), words(FOUND.b, ([, pair]) => plainly(pair[1]))], facts));
}

// Both runs' numbers of the whole step, in one picture each.
function pairs() {
  const bins = RUN.tables.steps;
  const strip = RUN.alarms.length ? h("figure", { class: "over-steps" }, h("figcaption", {}, t("where layers part")), new Strip().box) : null;
  const charts = FOUND.scalars.filter((name) => [0, 1].some((i) => constant(bins, `${name} ${i}`) === null)).map((name) => {
    const title = t(SCALARS[name] || name);
    const series = () => [0, 1].map((i) => ({ name: i ? FOUND.b : FOUND.a, bins, series: bins.scalar(`${name} ${i}`), ink: i ? INK.last : INK.first, strong: true }));
    const picture = new Lines({ id: "scalar-" + name, label: title, series, log: ["lr", "skipped"].includes(name) ? false : "auto", height: name === "loss" ? 170 : 130, marks: false });
    return h("figure", { class: name === "loss" ? "over-steps wide" : "over-steps" }, h("figcaption", {}, title), picture.box);
  });
  if (!strip && !charts.length) return null;
  return section("over-time", t("over the training"), strip, h("div", { class: "scalars" }, charts), h("p", { class: "hint" }, t("Drag to see a part, double-click for all. Keys: arrows move, + and − zoom, 0 shows all.")));
}

function partingTable() {
  const step = (label, get) => figure(label, (row) => (row[get] === null ? Infinity : row[get]), (row) => (row[get] === null ? "–" : stepText(row[get]) + (get === "parts_at" && row.resolution ? ` ±${row.resolution}` : "")));
  const size = (label, get) => figure(label, (row) => Math.abs(real(row[get])), (row) => (row.first_different === null || Number.isNaN(real(row[get])) ? "–" : row.unit === "decades" ? "×" + number(10 ** real(row[get])) : number(row[get])));
  return sortableTable({ id: "parting-table", label: t("layers"), rows: FOUND.rows, columns: [
    words(t("number"), (row) => row.name || t(row.statistic), (row) => (row.name ? h("button", { type: "button", class: "link", onclick: () => toggleChosen(row.name) }, row.name) : h("b", {}, t(SCALARS[row.statistic] || row.statistic)))),
    figure(t("steps"), (row) => row.steps, (row) => row.steps), figure(t("bit-identical"), (row) => row.identical, (row) => stepText(row.identical)),
    step(t("same to"), "identical_through"), step(t("differs at"), "first_different"), step(t("parts at"), "parts_at"), size(t("then a/b"), "size"), size(t("end a/b"), "end"),
    figure(t("noises"), (row) => (row.first_different === null ? NaN : Math.abs(real(row.end)) / real(row.noise)), (row) => (row.first_different === null || !(real(row.noise) > 0) ? "–" : number(Math.abs(real(row.end)) / real(row.noise)))),
    words(t("note"), (row) => said(row.note)),
  ] });
}

function draw() {
  hideTip();
  pictures = [];
  document.documentElement.lang = state.lang === "zh" ? "zh-CN" : "en";
  spanAxis(...spanOfRun());
  readInk();
  const sections = [factSection(), RUN.tables.steps ? pairs() : null, layerSection(), FOUND.rows.length ? section("table", t("numbers and layers"), partingTable()) : null].filter(Boolean);
  const links = sections.map((part) => h("a", { href: "#" + part.id }, part.querySelector("h2").textContent));
  app.replaceChildren(header(), answer(), h("nav", { "aria-label": t("sections") }, links), h("main", {}, sections));
  redrawAll();
}

setRun(DATA.run);
draw();
