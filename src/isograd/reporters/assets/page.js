// The page: sections in reading order; drawn again when language or parameter changes.

const app = document.getElementById("app");

// --- Header with the verdict

function header() {
  const flip = { light: "dark", dark: "light" };
  const theme = h("button", { type: "button", id: "theme", "aria-label": t("switch between light and dark"), onclick: () => {
    state.theme = flip[state.theme];
    document.documentElement.dataset.theme = state.theme;
    theme.textContent = state.theme === "dark" ? "☀" : "☾";
  } }, state.theme === "dark" ? "☀" : "☾");
  const language = h("button", { type: "button", id: "language", lang: state.lang === "zh" ? "en" : "zh", onclick: () => {
    state.lang = state.lang === "zh" ? "en" : "zh";
    draw();
    document.getElementById("language").focus();
  } }, state.lang === "zh" ? "English" : "中文");
  return h("header", {}, h("div", { class: "brand" }, h("b", {}, "isograd"), h("span", {}, DIAGNOSIS.target || t("model"))),
    h("div", { class: "buttons" }, language, theme));
}

function verdict() {
  const [what, where, then] = DATA.lines[state.lang];
  const alarm = DIAGNOSIS.findings.find((finding) => finding.severity !== "info");
  const mood = DIAGNOSIS.ok ? "good" : alarm ? alarm.severity : "error";
  const facts = [[t("loss"), number(SNAPSHOT.loss)], [t("ops"), SNAPSHOT.ops.length], [t("parameters"), Object.keys(SNAPSHOT.parameters).length],
    [t("dtype"), SNAPSHOT.dtype], SNAPSHOT.samples === null ? null : [t("batch"), SNAPSHOT.samples]].filter(Boolean);
  return h("div", { class: "verdict " + mood, id: "verdict" },
    h("h1", {}, h("span", { class: "mark", "aria-hidden": "true" }, DIAGNOSIS.ok ? "✓" : mood === "error" ? "✗" : "!"), h("span", {}, rich(what))),
    h("p", {}, rich(where)), h("p", { class: "then" }, DIAGNOSIS.ok ? null : "→ ", rich(then)),
    h("dl", { class: "facts" }, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))));
}

// --- Findings

function findings() {
  return DIAGNOSIS.findings.length ? section("findings", t("findings"), h("div", { class: "cards" }, DIAGNOSIS.findings.map(findingCard))) : null;
}

// --- The chain, for the chosen parameter

function chainSection() {
  if (!LEAVES.size) return section("chain", t("chain"), h("p", {}, t("no gradient reached any parameter, so there is no product to take apart")));
  const links = shownChain(state.parameter);
  const select = h("select", { id: "parameter", onchange: () => choose(select.value) },
    [...LEAVES.keys()].map((name) => h("option", { value: name, selected: name === state.parameter }, name)));
  const fold = h("input", { type: "checkbox", id: "fold", checked: state.fold, onchange: () => ((state.fold = fold.checked), redraw("chain", chainSection, "fold")) });
  const kinds = decadesBy(links, (link) => link.kind, kindName);
  kinds.forEach((entry) => (entry.kind = entry.id));
  const modules = decadesBy(links, (link) => link.op.module, placeName);
  const near = modules.filter((entry) => !(Math.abs(entry.decades) < DATA.fold.near));
  const kept = near.slice(0, 10);
  const rest = modules.filter((entry) => !kept.includes(entry));
  if (rest.length) kept.push({ name: t(rest.length === 1 ? "({n} other module)" : "({n} other modules)", { n: rest.length }), decades: rest.reduce((sum, entry) => sum + entry.decades, 0) });
  const count = t(links.length === 1 ? "{n} link, " : "{n} links, ", { n: links.length }) + ending(state.parameter, links);
  const note = DATA.main && state.parameter === DATA.slowest ? ` (${said(DATA.main.note)})` : "";
  const legend = h("p", { class: "legend" }, kinds.map((entry) => h("span", {}, h("i", { class: "swatch k-" + entry.kind }), entry.name)));
  return section("chain", t("chain from the loss to the parameter"),
    h("div", { class: "tools" }, h("label", { for: "parameter" }, t("parameter")), select,
      h("label", {}, fold, " ", t("fold links of gain near 1")),
      h("span", { class: "count" }, rich(count + note))),
    legend, waterfall(links),
    h("p", { class: "hint" }, t("Each bar starts where the one above ends: to the left the gradient shrinks, to the right it grows. Arrow keys move, Enter opens.")),
    h("div", { class: "two" }, h("div", {}, h("h3", {}, t("decades by kind")), divergingBars(kinds)), h("div", {}, h("h3", {}, t("decades by module")), divergingBars(kept))));
}

function treeSection() {
  if (!SNAPSHOT.ops.length) return null;
  return section("modules", t("modules"), h("p", { class: "hint" }, t("Decades of the chain chosen above, and norms over all parameters, summed over children.")), moduleTree(shownChain(state.parameter)));
}

function redraw(id, make, focus) {
  hideTip();
  document.getElementById(id)?.replaceWith(make());
  if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
}

function choose(name) {
  const fromTable = document.activeElement?.classList.contains("link");
  state.parameter = name;
  redraw("chain", chainSection, "parameter");
  redraw("modules", treeSection);
  if (fromTable) document.getElementById("chain").scrollIntoView();
}

// --- Learning speeds, trainings, remedies

function speeds() {
  if (!SNAPSHOT.layers.length) return null;
  return section("speeds", t("learning speed of each layer"), speedBars(SNAPSHOT.layers), DATA.speeds.lines[state.lang].map((text) => h("p", { class: "note" }, text)));
}

function training() {
  const { history, comparison } = DIAGNOSIS;
  const list = [];
  if (history && (!comparison || JSON.stringify(comparison.before) !== JSON.stringify(history))) list.push([comparison ? t("short training") : "", history]);
  if (comparison) list.push([t("before"), comparison.before], [t("after"), comparison.after]);
  return list.length ? section("training", t("over the training"), trainings(list)) : null;
}

function remedies() {
  const { comparison } = DIAGNOSIS;
  if (!comparison) return null;
  const columns = [words(t("remedy"), (r) => r.name, (r) => (r.chosen ? "✓ " : "") + said(r.name)), figure(t("last/first"), (r) => r.spread, (r) => times(r.spread)),
    figure(t("decades"), (r) => r.decades, (r) => signed(real(r.decades))), figure(t("loss"), (r) => r.loss),
    figure(said(comparison.metric_name || t("score")), (r) => r.metric), words(t("why it failed"), (r) => said(r.reason))];
  return section("remedies", t("remedies tried"), fixedTable(columns, comparison.remedies, (r) => r.chosen));
}

// --- Attention, time, missing gradients, sentences

function attention() {
  if (!DATA.attention.length) return null;
  const cell = (label, i) => figure(label, (row) => row.cells[i], (row) => row.cells[i]);
  return section("attention", t("attention"), fixedTable([words(t("module"), (row) => placeName(row.module) + (row.calls > 1 ? ` ×${row.calls}` : "")),
    cell(t("keys"), 0), cell(t("max logit"), 1), cell(t("entropy"), 2), cell(t("gain to q"), 3), cell(t("to k"), 4), cell(t("to v"), 5)], DATA.attention));
}

function time() {
  const rows = SNAPSHOT.recurrent.filter((gains) => gains.norms.length > 1);
  if (!rows.length) return null;
  return section("time", t("gradient through time"), h("div", { class: "charts" }, rows.map((gains) =>
    lineChart({ title: `${placeName(gains.module)} ${gains.layer} ${t(gains.direction)}: ${t("gradient norm at each time step (log axis)")}`, log: true,
      steps: [...gains.norms.keys()], series: [{ name: t("norm"), values: gains.norms, colour: "var(--first)" }] }))));
}

function missing() {
  const groups = new Map();
  for (const [name, stats] of Object.entries(SNAPSHOT.parameters)) {
    if (!stats.missing) continue;
    const { reason } = stats.missing;
    if (!groups.has(reason)) groups.set(reason, { reason, why: stats.missing, names: [] });
    groups.get(reason).names.push(name);
  }
  if (!groups.size) return null;
  return section("missing", t("parameters without gradient"), [...groups.values()].map(({ reason, why, names }) =>
    h("details", { open: names.length < 6 }, h("summary", {}, h("b", {}, said(reason)), ` (${names.length}) `, h("span", { class: "hint" }, rich(said(why.detail)), why.source ? ` (${why.source})` : "")),
      h("ul", { class: "names" }, names.map((name) => h("li", {}, h("code", {}, name)))))));
}

function sentences(id, title, list) {
  return list.length ? section(id, title, h("ul", {}, list.map((text) => h("li", {}, rich(said(text)))))) : null;
}

// --- All of it

function draw() {
  hideTip();
  document.documentElement.lang = state.lang === "zh" ? "zh-CN" : "en";
  const sections = [findings(), chainSection(), speeds(), training(), remedies(), attention(), time(), missing(), treeSection(),
    Object.keys(SNAPSHOT.parameters).length ? section("parameters", t("parameters"), parameterTable(choose)) : null,
    SNAPSHOT.ops.length ? section("ops", t("ops"), opTable()) : null,
    sentences("notes", t("notes"), DIAGNOSIS.notes), sentences("unseen", t("could not observe"), SNAPSHOT.not_observed),
    sentences("unchecked", t("not checked"), DIAGNOSIS.not_checked)].filter(Boolean);
  const links = sections.map((part) => h("a", { href: "#" + part.id }, part.querySelector("h2").textContent));
  app.replaceChildren(header(), verdict(), h("nav", { "aria-label": t("sections") }, links), h("main", {}, sections));
}

// Paper cannot be clicked: lists are open and tables whole when it prints.
addEventListener("beforeprint", () => {
  hideTip();
  document.querySelectorAll(".sortable > button:not([hidden])").forEach((more) => more.click());
  for (const list of document.querySelectorAll("details:not([open])")) if (!list.querySelector(".node")) (list.open = true), list.setAttribute("data-shut", "");
});
addEventListener("afterprint", () => document.querySelectorAll("[data-shut]").forEach((list) => (list.open = false, list.removeAttribute("data-shut"))));

draw();
