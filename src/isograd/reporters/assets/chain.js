// The chain of a parameter: computed as `Snapshot.chain` does, folded, and drawn as a waterfall.

const LEAVES = new Map();

function lookAt(snapshot) {
  SNAPSHOT = snapshot;
  LEAVES.clear();
  for (const edge of snapshot.edges) {
    if (edge.parameter !== null && !LEAVES.has(edge.parameter)) LEAVES.set(edge.parameter, edge);
  }
}

if (SNAPSHOT) lookAt(SNAPSHOT);

function ratio(top, bottom) {
  return bottom === 0 ? (top === 0 ? 0 : Infinity) : top / bottom;
}

// Ops through which a gradient passes unchanged: a direct term is the identity path.
const JOINS = ["residual", "reshape", "other"];

function chainOf(parameter) {
  let edge = LEAVES.get(parameter);
  if (!edge) return [];
  const path = [edge];
  while (edge.dominator !== null) path.push((edge = SNAPSHOT.edges[edge.dominator]));
  path.reverse();
  return measured(path.slice(1).map((below, i) => {
    const here = path[i];
    const op = SNAPSHOT.ops[here.op === null ? 0 : here.op];
    const terms = below.terms.map((term) => {
      const through = SNAPSHOT.ops[term.op];
      return { op: through, norm: real(term.norm), skip: term.op === here.op && JOINS.includes(through.kind) };
    });
    const looped = below.parameter !== null && terms.some((term) => term.op.loops);
    const joins = ["other", "reshape"].includes(op.kind) && terms.some((term) => term.skip);
    const [norm, leaving] = [real(here.norm), real(below.norm)];
    return { op, kind: looped ? "recurrence" : joins ? "residual" : op.kind, norm, gain: ratio(leaving, norm), terms, cross: real(below.cross) / leaving / leaving };
  }));
}

// The chain as it is shown: where a parameter has several paths, the one to look at first.
function shownChain(parameter) {
  if (!DATA.main || parameter !== DATA.slowest) return chainOf(parameter);
  return measured(DATA.main.links.map(({ op_index, kind, norm, gain, segment }) => {
    const leaving = real(norm) * real(gain);
    const terms = segment ? segment.terms.map((term) => ({ op: { name: term.op, module: term.module }, norm: real(term.norm), skip: term.skip })) : [];
    return { op: SNAPSHOT.ops[op_index], kind, norm: real(norm), gain: real(gain), terms, cross: segment ? real(segment.cross) / leaving / leaving : NaN };
  }));
}

// Decades and their running sum. `known`: a finite gradient arrives, so that the gain says
// something; of the links where it does not, only the first (`stop`) is booked and shown.
function measured(links) {
  let soFar = 0;
  let stopped = false;
  for (const link of links) {
    link.decades = link.gain === 0 ? -Infinity : Math.log10(link.gain);
    link.sound = link.norm > 0 && link.norm < Infinity && Number.isFinite(link.decades);
    link.stop = !link.sound && !stopped;
    link.known = link.sound || link.stop;
    link.before = soFar;
    soFar = link.after = link.known ? soFar + link.decades : NaN;
    if (link.stop) (stopped = true), (soFar = NaN);
    link.count = 1;
  }
  return links;
}

const sum = (links) => links.reduce((all, link) => (link.known ? all + link.decades : all), 0);

// What a chain comes to, in words where it has no decades.
function ending(parameter, links) {
  const stop = links.find((link) => link.stop);
  const start = links.length ? links[0].norm : NaN;
  const main = DATA.main && parameter === DATA.slowest;
  const total = main ? real(DATA.main.end_to_end) : ratio(real(SNAPSHOT.parameters[parameter].grad_norm), start);
  const decades = signed(total === 0 ? -Infinity : Math.log10(total));
  if (!stop) return t("{decades} decades", { decades });
  if (stop.gain === 0 && total === 0) return t("exactly zero below `{op}`", { op: stop.op.name });
  if (Number.isFinite(total) && total > 0) return t("{decades} decades, not finite on the way below `{op}`", { decades, op: stop.op.name });
  return t("not finite below `{op}`", { op: stop.op.name });
}

// What branches do to each other; beyond -100 % the factor is easier to read than the share.
function crossText(share) {
  if (!Number.isFinite(share)) return "";
  if (share > 1) return t("branches add");
  if (share >= -1) return t("cross term {percent} of the squared norm", { percent: percent(share) });
  const factor = Math.sqrt(1 - share);
  return t("branches cancel to 1/{n}", { n: factor.toFixed(factor >= 9.95 ? 0 : 1) });
}

// --- Folding: runs of near-unit links, then all but the ends and the costliest.

function dull(link) {
  const rule = DATA.fold;
  if (!rule.dull_kinds.includes(link.kind) || !link.sound || !(Math.abs(link.decades) < rule.dull)) return false;
  return !link.terms.length || !(Math.abs(link.cross) > rule.notable);
}

function folded(links) {
  const rule = DATA.fold;
  const shown = new Set(links.keys());
  const near = (link) => Math.abs(link.decades) < rule.near && !link.terms.length;
  let run = [];
  for (let i = 0; i <= links.length; i++) {
    if (i > 0 && i < links.length - 1 && (dull(links[i]) || near(links[i]))) run.push(i);
    else {
      if (run.length >= rule.run || (run.length >= rule.dull_run && run.every((j) => dull(links[j])))) run.forEach((j) => shown.delete(j));
      run = [];
    }
  }
  if (shown.size <= rule.above) return shown;
  const cost = (i) => (links[i].stop ? Infinity : links[i].sound ? Math.abs(links[i].decades) : 0);
  const costly = [...shown].sort((a, b) => (cost(a) === cost(b) ? a - b : cost(b) - cost(a))).slice(0, rule.costly);
  const ends = [...links.keys()].filter((i) => i < rule.ends || i >= links.length - rule.ends);
  return new Set([...costly, ...ends]);
}

function rowsOf(links) {
  const shown = state.fold ? folded(links) : new Set(links.keys());
  const rows = [];
  for (let i = 0; i < links.length; i++) {
    if (shown.has(i)) rows.push(links[i]);
    else {
      const from = i;
      while (i + 1 < links.length && !shown.has(i + 1)) i++;
      const part = links.slice(from, i + 1);
      if (part.length === 1) rows.push(part[0]);
      else rows.push({ links: part, count: part.length, decades: sum(part), known: part.some((link) => link.known), before: part[0].before, after: links[i].after });
    }
  }
  return rows;
}

// --- Scale: decades, 0 included, with round ticks.

// The smallest 1, 2 or 5 times a power of ten that is at least `size`.
function roundStep(size, smallest) {
  const power = 10 ** Math.floor(Math.log10(Math.max(size, smallest)));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= Math.max(size, smallest) * (1 - 1e-9));
}

function scaleOf(links) {
  const values = finite(links.map((link) => link.after));
  let low = least(values, 0);
  let high = most(values, 0);
  const step = roundStep((high - low) / 7, 0.1);
  low = Math.floor(low / step + 1e-9) * step;
  high = Math.max(Math.ceil(high / step - 1e-9) * step, low + step);
  const ticks = [];
  for (let i = Math.round(low / step); i <= Math.round(high / step); i++) ticks.push(i * step);
  const at = (value) => (100 * (Math.min(Math.max(value, low), high) - low)) / (high - low);
  return { low, high, step, ticks, at };
}

const soFar = (row) => (Number.isNaN(row.after) && !row.stop ? "–" : signed(row.after));

// --- What a link is, in full: for the tooltip and the opened row.

function describe(row) {
  const pairs = row.links
    ? [[t("links"), row.count]]
    : [
        [t("op"), row.op.name],
        [t("module"), placeName(row.op.module)],
        [t("source"), row.op.source || "–"],
        [t("kind"), kindName(row.kind)],
        [t("norm arriving"), number(row.norm)],
        [t("gain"), row.known ? number(row.gain) : "–"],
      ];
  pairs.push([t("decades"), row.known ? signed(row.decades) : "–"], [t("so far"), soFar(row)]);
  const list = h("dl", {}, pairs.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  if (!row.terms || !row.terms.length) return list;
  const terms = row.terms.map((term) =>
    h("li", {}, h("b", {}, term.skip ? t("skip") : term.op.name), " ", term.skip ? "" : term.op.module, " ",
      t("norm {norm}, gain {gain}", { norm: number(term.norm), gain: number(ratio(term.norm, row.norm)) })));
  const cross = h("li", {}, crossText(row.cross));
  return h("div", {}, list, h("p", {}, t("paths that add up here:")), h("ul", {}, terms, cross));
}

// --- The waterfall: one row a link; arrows move between rows, Enter opens one.

function bar(row, scale) {
  if (!row.known || !Number.isFinite(row.before)) return null;
  const zero = row.decades === -Infinity;
  const after = row.stop ? (zero ? scale.low : scale.high) : row.after;
  const [a, b] = [scale.at(Math.min(row.before, after)), scale.at(Math.max(row.before, after))];
  const kind = row.links ? "fold" : row.kind;
  const box = h("i", { class: `bar k-${kind}${row.stop ? " broken" : ""}`, style: { left: a + "%", width: `max(2px, ${b - a}%)` } });
  if (row.stop) return [box, h("b", { class: "broken-label" }, zero ? t("zero") : t("not finite"))];
  return [box, h("i", { class: "end", style: { left: scale.at(after) + "%" } })];
}

const together = (n) => t("… {n} links together", { n });

function waterfallRow(row, scale, redraw) {
  const label = row.links
    ? h("span", { class: "label fold" }, together(row.count))
    : h("span", { class: "label" }, h("span", { class: "op" }, h("b", { title: row.op.name }, row.op.name), row.terms.length ? h("em", {}, t("{n} paths", { n: row.terms.length })) : null),
        row.op.module ? tail("span", { class: "module" }, placeName(row.op.module)) : h("span", { class: "module" }, "–"), tail("small", {}, row.op.source || ""));
  const name = row.links ? together(row.count) : `${row.op.name} ${row.op.module}`;
  const figures = row.known ? signed(row.decades) : "–";
  const item = h("li", { class: "row", tabindex: -1, "aria-label": `${name}, ${figures} ${t("decades")}` },
    label, h("span", { class: "track" }, bar(row, scale)), h("span", { class: "gain" }, figures));
  const toggle = () => {
    hideTip();
    if (row.links) return redraw(row);
    const open = item.querySelector(".detail");
    if (open) open.remove();
    else item.append(h("div", { class: "detail" }, describe(row)));
    item.setAttribute("aria-expanded", String(!open));
  };
  item.addEventListener("click", toggle);
  item.addEventListener("toggle-row", toggle);
  item.addEventListener("mouseenter", (event) => item.querySelector(".detail") || showTip(item, describe(row), event.clientX));
  item.addEventListener("mouseleave", hideTip);
  item.addEventListener("focus", () => item.matches(":focus-visible") && !item.querySelector(".detail") && showTip(item, describe(row)));
  item.addEventListener("blur", hideTip);
  return item;
}

function moveFocus(event) {
  const item = event.target.closest(".row");
  if (!item) return;
  const rows = [...item.parentNode.children];
  const here = rows.indexOf(item);
  const goal = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: rows.length - 1, PageDown: here + 12, PageUp: here - 12 }[event.key];
  if (goal !== undefined) {
    const next = rows[Math.min(Math.max(goal, 0), rows.length - 1)];
    item.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  } else if (event.key === "Enter" || event.key === " ") item.dispatchEvent(new Event("toggle-row"));
  else return;
  event.preventDefault();
}

function waterfall(links) {
  const scale = scaleOf(links);
  let rows = rowsOf(links);
  const list = h("ol", { class: "rows", "aria-label": t("chain"), onkeydown: moveFocus });
  const draw = (opened) => {
    if (opened) rows = rows.flatMap((row) => (row === opened ? opened.links : [row]));
    list.replaceChildren(...rows.map((row) => waterfallRow(row, scale, draw)));
    const first = opened ? rows.indexOf(opened.links[0]) : 0;
    if (!list.children[first]) return;
    list.children[first].tabIndex = 0;
    if (opened) list.children[first].focus({ preventScroll: true });
  };
  draw(null);
  const ticks = scale.ticks.map((tick) => h("span", { style: { left: scale.at(tick) + "%" } }, Number(tick.toPrecision(3))));
  const axis = h("div", { class: "axis", "aria-hidden": "true" }, h("span", { class: "label" }, t("decades since the loss")),
    h("span", { class: "track" }, ticks), h("span", { class: "gain" }, t("decades")));
  const op = most(links.map((link) => link.op.name.length + (link.terms.length ? 9 : 0)), 8);
  const box = h("div", { class: "waterfall", style: { "--op": Math.min(op, 36) + "ch", "--tick": 100 / (scale.ticks.length - 1) + "%", "--zero": scale.at(0) + "%" } }, axis, list);
  return h("div", {}, links.length > DATA.fold.above ? overview(links, scale, list, () => rows) : null, box);
}

// --- Overview of a long chain: the whole staircase at once; a click goes to that link.

function overview(links, scale, list, rows) {
  const y = (value) => 100 - scale.at(Number.isFinite(value) ? value : value === Infinity ? scale.high : scale.low);
  const n = links.length;
  const stop = links.findIndex((link) => link.stop);
  const drawn = stop < 0 ? links : links.slice(0, stop + 1);
  const path = "M0," + y(0) + drawn.map((link, i) => `H${i}V${y(link.after).toFixed(2)}`).join("") + `H${drawn.length}`;
  const worst = [...drawn.keys()].filter((i) => !(Math.abs(links[i].decades) < 0.3)).slice(0, 400);
  const drops = worst.map((i) => svg("line", { x1: i, x2: i, y1: y(links[i].before), y2: y(links[i].after), class: "k-" + links[i].kind }));
  const go = (event) => {
    const box = picture.getBoundingClientRect();
    const goal = links[Math.min(n - 1, Math.max(0, Math.floor((n * (event.clientX - box.left)) / box.width)))];
    const at = rows().findIndex((row) => row === goal || (row.links && row.links.includes(goal)));
    const item = list.children[at];
    item.scrollIntoView({ block: "center" });
    item.focus({ preventScroll: true });
  };
  const picture = svg("svg", { viewBox: `0 0 ${n} 100`, preserveAspectRatio: "none", class: "overview", "aria-hidden": "true", onclick: go },
    svg("line", { x1: 0, x2: n, y1: y(0), y2: y(0), class: "zero" }), svg("path", { d: path }), drops);
  return h("figure", {}, picture, h("figcaption", {}, t("all {n} links from the loss (left) to the parameter; click to go there", { n })));
}
