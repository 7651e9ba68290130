// The chain of a parameter: computed as `Snapshot.chain` does, folded, and drawn as a waterfall.

const LEAVES = new Map();
for (const edge of SNAPSHOT.edges) {
  if (edge.parameter !== null && !LEAVES.has(edge.parameter)) LEAVES.set(edge.parameter, edge);
}

function ratio(top, bottom) {
  return bottom === 0 ? (top === 0 ? 0 : Infinity) : top / bottom;
}

function chainOf(parameter) {
  let edge = LEAVES.get(parameter);
  if (!edge) return [];
  const path = [edge];
  while (edge.dominator !== null) path.push((edge = SNAPSHOT.edges[edge.dominator]));
  path.reverse();
  let soFar = 0;
  return path.slice(1).map((below, i) => {
    const here = path[i];
    const op = SNAPSHOT.ops[here.op === null ? 0 : here.op];
    const norm = real(here.norm);
    const gain = ratio(real(below.norm), norm);
    const decades = gain === 0 ? -Infinity : Math.log10(gain);
    const terms = below.terms.map((term) => ({ op: SNAPSHOT.ops[term.op], norm: real(term.norm), skip: term.op === here.op }));
    const joins = terms.some((term) => term.skip) && op.kind !== "recurrence" && op.kind !== "attention";
    const before = soFar;
    soFar += decades;
    const cross = real(below.cross) / real(below.norm) / real(below.norm);
    return { op, kind: joins ? "residual" : op.kind, norm, gain, decades, before, after: soFar, terms, cross, count: 1 };
  });
}

// --- Folding: runs of near-unit links, then all but the ends and the costliest.

function folded(links) {
  const rule = DATA.fold;
  const shown = new Set(links.keys());
  let run = [];
  for (let i = 0; i <= links.length; i++) {
    if (i < links.length && Math.abs(links[i].decades) < rule.near && !links[i].terms.length) run.push(i);
    else {
      if (run.length >= rule.run) run.forEach((j) => shown.delete(j));
      run = [];
    }
  }
  if (shown.size <= rule.above) return shown;
  const cost = (i) => (Number.isNaN(links[i].decades) ? Infinity : Math.abs(links[i].decades));
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
      if (i === from) rows.push(links[i]);
      else {
        const decades = links.slice(from, i + 1).reduce((sum, link) => sum + link.decades, 0);
        rows.push({ links: links.slice(from, i + 1), count: i + 1 - from, decades, before: links[from].before, after: links[i].after });
      }
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

// --- What a link is, in full: for the tooltip and the opened row.

function describe(row) {
  const pairs = row.links
    ? [[t("links"), row.count]]
    : [
        [t("op"), row.op.name],
        [t("module"), row.op.module || "–"],
        [t("source"), row.op.source || "–"],
        [t("kind"), kindName(row.kind)],
        [t("norm arriving"), number(row.norm)],
        [t("gain"), number(row.gain)],
      ];
  pairs.push([t("decades"), signed(row.decades)], [t("so far"), signed(row.after)]);
  const list = h("dl", {}, pairs.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  if (!row.terms || !row.terms.length) return list;
  const terms = row.terms.map((term) =>
    h("li", {}, h("b", {}, term.skip ? t("skip") : term.op.name), " ", term.skip ? "" : term.op.module, " ",
      t("norm {norm}, gain {gain}", { norm: number(term.norm), gain: number(ratio(term.norm, row.norm)) })));
  const cross = h("li", {}, t("cross term {percent} of the squared norm", { percent: percent(row.cross) }));
  return h("div", {}, list, h("p", {}, t("paths that add up here:")), h("ul", {}, terms, cross));
}

// --- The waterfall: one row a link; arrows move between rows, Enter opens one.

function bar(row, scale) {
  const sound = Number.isFinite(row.decades) && Number.isFinite(row.before);
  const before = Number.isFinite(row.before) ? row.before : 0;
  const after = sound ? row.after : row.decades === Infinity ? scale.high : scale.low;
  const [a, b] = [scale.at(Math.min(before, after)), scale.at(Math.max(before, after))];
  const kind = row.links ? "fold" : row.kind;
  const box = h("i", { class: `bar k-${kind}${sound ? "" : " broken"}`, style: { left: a + "%", width: `max(2px, ${b - a}%)` } });
  const note = sound ? null : h("b", { class: "broken-label" }, row.decades === -Infinity ? t("zero") : t("not finite"));
  return [box, h("i", { class: "end", style: { left: (sound ? scale.at(after) : 0) + "%" } }), note];
}

function waterfallRow(row, scale, redraw) {
  const label = row.links
    ? h("span", { class: "label fold" }, t("… {n} links together", { n: row.count }))
    : h("span", { class: "label" }, h("b", {}, row.op.name), row.terms.length ? h("em", {}, t("{n} paths", { n: row.terms.length })) : null,
        h("span", {}, row.op.module || "–"), h("small", {}, row.op.source || ""));
  const name = row.links ? t("… {n} links together", { n: row.count }) : `${row.op.name} ${row.op.module}`;
  const item = h("li", { class: "row", tabindex: -1, "aria-label": `${name}, ${signed(row.decades)} ${t("decades")}` },
    label, h("span", { class: "track" }, bar(row, scale)), h("span", { class: "gain" }, signed(row.decades)));
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
  const box = h("div", { class: "waterfall", style: { "--tick": 100 / (scale.ticks.length - 1) + "%", "--zero": scale.at(0) + "%" } }, axis, list);
  return h("div", {}, links.length > DATA.fold.above ? overview(links, scale, list, () => rows) : null, box);
}

// --- Overview of a long chain: the whole staircase at once; a click goes to that link.

function overview(links, scale, list, rows) {
  const y = (value) => 100 - scale.at(Number.isFinite(value) ? value : scale.low);
  const n = links.length;
  const path = "M0," + y(0) + links.map((link, i) => `H${i}V${y(link.after).toFixed(2)}`).join("") + `H${n}`;
  const worst = [...links.keys()].filter((i) => !(Math.abs(links[i].decades) < 0.3)).slice(0, 400);
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
