// What is known of the run as a whole: how it stands, its facts, its findings.

function duration(seconds) {
  if (!Number.isFinite(seconds) || seconds < 0) return "–";
  if (seconds < 0.1) return number(1000 * seconds) + " ms";
  if (seconds < 60) return seconds.toFixed(seconds < 10 ? 1 : 0) + " s";
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const STATUS = { waiting: "waiting for the first step", running: "running", ended: "ended", interrupted: "interrupted: its process is gone and it wrote no verdict" };

function lastOf(name) {
  const bins = RUN.tables.steps;
  const scalar = bins && bins.scalar(name);
  if (!scalar) return NaN;
  for (let c = bins.used - 1; c >= 0; c--) {
    const at = scalar.index * scalar.block.columns + c;
    if (!Number.isNaN(scalar.block.last[at]) || scalar.block.bad[at]) return scalar.block.last[at];
  }
  return NaN;
}

function head() {
  const bins = RUN.tables.steps;
  const worst = SEVERITIES.find((severity) => RUN.alarms.some((alarm) => alarm.severity === severity) || RUN.findings.some((finding) => finding.severity === severity));
  const mood = RUN.status === "waiting" ? "plain" : RUN.ok === false || worst === "error" ? "error" : worst === "warning" || RUN.ending || RUN.status === "interrupted" ? "warning" : RUN.ok ? "good" : "plain";
  const mark = { error: "✗", warning: "!", good: "✓", plain: RUN.status === "waiting" ? "…" : "▶" }[mood];
  const count = (severity) => RUN.alarms.filter((alarm) => alarm.severity === severity).length;
  const said_of = RUN.verdict ? said(RUN.verdict) : t(STATUS[RUN.status] || RUN.status);
  const cost = costEvent() ? real(costEvent().data.share) : lastOf("cost");
  const facts = bins ? [
    [t("last step"), stepText(bins.lastStep)], [t("steps recorded"), stepText(bins.rows)], Number.isNaN(lastOf("loss")) && bins.scalars.indexOf("loss") < 0 ? null : [t("loss"), number(lastOf("loss"))],
    [t("lasted"), duration(lastOf("time") - RUN.began)], [t("parameters"), bins.names.length],
    count("error") + count("warning") ? [t("alarms"), count("error") + count("warning")] : null,
    Number.isNaN(cost) ? null : [t("cost of watching"), cost < 1 ? number(100 * cost) + " %" : duration(spentSeconds())],
    RUN.ranks.length > 1 ? [t("rank"), t("{rank} of {n}", { rank: RUN.rank, n: RUN.ranks.length })] : null,
  ].filter(Boolean) : [];
  return h("div", { class: "verdict " + mood, id: "verdict" },
    h("h1", {}, h("span", { class: "mark", "aria-hidden": "true" }, mark), h("span", {}, rich(said_of))),
    RUN.ending ? h("p", {}, h("span", { class: "severity warning" }, "◆ "), t("the program: {how}", { how: said(RUN.ending) })) : null,
    RUN.verdict && RUN.status !== "ended" ? h("p", {}, t(STATUS[RUN.status] || RUN.status)) : null,
    RUN.status === "waiting" ? h("p", { class: "hint" }, t("Start the training; its steps appear here by themselves.")) : null,
    facts.length ? h("dl", { class: "facts" }, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))) : null,
    RUN.damage.map((text) => h("p", { class: "hint" }, said(text))));
}

function metaSection() {
  const shown = { ...RUN.meta };
  const take = (key) => [shown[key], delete shown[key]][0];
  const plainly = (value) => (value === null || value === undefined ? "–" : Array.isArray(value) ? value.join(" ") : typeof value === "object" ? JSON.stringify(value) : String(value));
  const started = real(take("started"));
  const rows = [[t("run"), RUN.path || RUN.name], [t("command"), plainly(take("command"))], Number.isFinite(started) ? [t("started"), new Date(started * 1000).toLocaleString(state.lang === "zh" ? "zh-CN" : "en-GB")] : null,
    ...took(), ...Object.entries(shown).filter(([, value]) => value !== null && value !== undefined).map(([key, value]) => [t(key), plainly(value)])].filter(Boolean);
  return section("meta", t("facts of the run"), h("dl", { class: "meta" }, rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
}

const KINDS_OF_COST = { light: "gradient norms", full: "whole records", probe: "measurements of all factors", tape: "the start, for a replay", row: "writing", loss: "losses" };

const costEvent = () => RUN.events.findLast((event) => event.name === "cost");

// Seconds that watching took; NaN before the end.
function spentSeconds() {
  const spent = costEvent();
  return spent ? Object.keys(KINDS_OF_COST).reduce((all, kind) => all + (real(spent.data[kind + "_seconds"]) || 0), 0) : NaN;
}

// What watching took in all, by what it was for.
function took() {
  const spent = costEvent();
  if (!spent) return [];
  const parts = Object.entries(KINDS_OF_COST).map(([kind, name]) => [name, real(spent.data[kind + "_seconds"]), spent.data[kind + "_times"]]).filter(([, seconds]) => seconds > 0);
  parts.sort((a, b) => b[1] - a[1]);
  return [[t("watching took"), parts.map(([name, seconds, times]) => `${t(name)} ${duration(seconds)}${times ? ` (${times}×)` : ""}`).join(" · ")]];
}

function findingSection() {
  return RUN.findings.length ? section("findings", t("findings"), h("div", { class: "cards" }, RUN.findings.map(findingCard))) : null;
}

// --- Numbers of the whole step

const SCALARS = {
  loss: "loss", lr: "learning rate", grad_norm: "gradient norm of all parameters", stepped_norm: "gradient norm that the optimizer saw", clip_ratio: "clip ratio",
  scale: "gradient scale (AMP)", skipped: "skipped steps", nonfinite: "step not finite", cost: "cost of watching (share of the time)",
};
const ROUNDING = 2e-6; // of a ratio of float32 norms
const GROUPS = [["loss"], ["grad_norm", "stepped_norm"], ["lr"], ["clip_ratio"], ["scale"], ["skipped"], ["cost"]];

// The value of a number that stays the same, but for rounding; null if it moves, NaN if it was
// recorded once among many steps, which tells neither.
function constant(bins, name) {
  const { block, index } = bins.scalar(name);
  let [low, high] = [NaN, NaN];
  let known = 0;
  for (let c = 0; c < bins.used; c++) {
    const at = index * block.columns + c;
    if (block.bad[at]) return null;
    if (Number.isNaN(block.low[at])) continue;
    known += 1;
    if (!(low <= block.low[at])) low = block.low[at];
    if (!(high >= block.high[at])) high = block.high[at];
    if (high - low > ROUNDING * Math.abs(high)) return null;
  }
  return known > 1 || bins.used === 1 ? high : NaN;
}

function scalarCharts() {
  const bins = RUN.tables.steps;
  if (!bins) return [];
  const others = bins.scalars.filter((name) => !["time", "nonfinite"].includes(name) && !GROUPS.flat().includes(name)).map((name) => [name]);
  const charts = [];
  const still = [];
  for (const group of [...GROUPS, ...others]) {
    const own = group.filter((name) => bins.scalars.includes(name));
    const moving = own.filter((name) => constant(bins, name) === null || name === "loss");
    own.filter((name) => !moving.includes(name)).forEach((name) => Number.isNaN(constant(bins, name)) || still.push([t(SCALARS[name] || name), plain(constant(bins, name))]));
    if (!moving.length) continue;
    const title = moving.map((name) => t(SCALARS[name] || name));
    const series = () => moving.map((name, i) => ({ name: t(SCALARS[name] || name), bins, series: bins.scalar(name), ink: i ? INK.last : INK.first, strong: true }));
    const picture = new Lines({ id: "scalar-" + moving[0], label: title.join(", "), series, log: ["skipped", "lr"].includes(moving[0]) ? false : "auto", height: group[0] === "loss" ? 170 : 130, marks: true });
    const key = moving.length > 1 ? h("p", { class: "legend" }, title.map((text, i) => h("span", {}, h("i", { class: "swatch", style: { "--k": i ? "var(--last)" : "var(--first)" } }), text))) : null;
    charts.push(h("figure", { class: group[0] === "loss" ? "over-steps wide" : "over-steps" }, key ? null : h("figcaption", {}, title[0]), key, picture.box));
  }
  return [charts.length ? h("div", { class: "scalars" }, charts) : null, still.length ? h("p", { class: "hint", id: "still" }, t("the same at every step"), ": ", still.map(([name, value]) => `${name} ${value}`).join(" · ")) : null];
}
