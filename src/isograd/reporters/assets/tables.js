// Sortable tables with a filter, and the tree of modules.

const ROWS_AT_ONCE = 200;

// columns: {label, value(row) -> number or text, show(row) -> text or node, number: true for figures}
function sortableTable({ id, label, columns, rows, unsorted }) {
  let sortBy = -1;
  let down = false;
  let all = false;
  const textsOf = (list) => list.map((row) => columns.map((column) => String(column.value(row) ?? "")).join("\n").toLowerCase());
  let texts = textsOf(rows);
  const filter = h("input", { type: "search", id: id + "-filter", placeholder: t("filter"), "aria-label": `${t("filter")}: ${label}`, oninput: () => draw() });
  const count = h("span", { class: "count", "aria-live": "polite" });
  const body = h("tbody");
  const more = h("button", { type: "button", onclick: () => ((all = true), draw()) });
  const heads = columns.map((column, i) => h("th", { scope: "col", class: column.number ? "number" : null },
    h("button", { type: "button", onclick: () => sort(i) }, column.label, h("span", { "aria-hidden": "true" }))));

  function sort(i) {
    down = sortBy === i ? !down : Boolean(columns[i].number);
    sortBy = i;
    heads.forEach((head, j) => {
      if (j === i) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
      head.querySelector("span").textContent = j === i ? (down ? " ▼" : " ▲") : "";
    });
    draw();
  }

  function compare(a, b) {
    const column = columns[sortBy];
    const [x, y] = [column.value(rows[a]), column.value(rows[b])];
    if (!column.number) return (down ? -1 : 1) * String(x ?? "").localeCompare(String(y ?? ""), "en", { numeric: true });
    const [p, q] = [Number.isNaN(x), Number.isNaN(y)]; // what is not a number goes last
    return p || q ? p - q : (down ? y - x : x - y) || a - b;
  }

  function draw() {
    const wanted = filter.value.trim().toLowerCase();
    let found = [...rows.keys()].filter((i) => texts[i].includes(wanted));
    if (sortBy >= 0) found.sort(compare);
    count.textContent = t("{n} of {all}", { n: found.length, all: rows.length });
    const hidden = all ? 0 : Math.max(0, found.length - ROWS_AT_ONCE);
    if (hidden) found = found.slice(0, ROWS_AT_ONCE);
    more.hidden = !hidden;
    more.textContent = t("show {n} more", { n: hidden });
    body.replaceChildren(...found.map((i) => h("tr", {}, columns.map((column) =>
      h("td", { class: column.number ? "number" : null }, column.show ? column.show(rows[i]) : column.number ? number(column.value(rows[i])) : column.value(rows[i]))))));
  }

  draw();
  const tools = unsorted ? null : h("div", { class: "tools" }, filter, count);
  const box = h("div", { class: "sortable", id }, tools,
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, h("table", {}, h("thead", {}, h("tr", {}, heads)), body)), more);
  // Other rows in the same columns; order, filter, and the button that has the focus stay.
  box.refresh = (others) => {
    const held = body.contains(document.activeElement) ? document.activeElement.textContent : null;
    [rows, texts] = [others, textsOf(others)];
    draw();
    if (held !== null) [...body.querySelectorAll("button")].find((button) => button.textContent.replace("● ", "") === held.replace("● ", ""))?.focus({ preventScroll: true });
  };
  return box;
}

const figure = (label, value, show) => ({ label, value, number: true, show });
const words = (label, value, show) => ({ label, value, show });
const optional = (value) => (Number.isNaN(value) ? "–" : undefined);

function opTable() {
  const share = (label, get) => figure(label, (op) => real(get(op)), (op) => percent(get(op)));
  return sortableTable({ id: "op-table", label: t("ops"), rows: SNAPSHOT.ops, columns: [
    figure("#", (op) => op.index, (op) => op.index),
    words(t("op"), (op) => op.name, (op) => h("b", {}, op.name)),
    words(t("module"), (op) => op.module, (op) => placeName(op.module)),
    words(t("type"), (op) => op.module_type),
    words(t("source"), (op) => op.source || ""),
    words(t("kind"), (op) => t(op.kind), (op) => [h("i", { class: "swatch k-" + op.kind }), t(op.kind)]),
    figure(t("gradient norm"), (op) => real(op.grad_norm), (op) => (op.on_path ? number(op.grad_norm) : t("off the path"))),
    figure(t("not finite"), (op) => op.grad_nonfinite, (op) => op.grad_nonfinite || "–"),
    figure(t("output RMS"), (op) => real(op.output?.rms), (op) => optional(real(op.output?.rms)) ?? number(op.output.rms)),
    share(t("dead units"), (op) => op.units?.dead_fraction),
    share(t("saturated"), (op) => op.units?.saturated_fraction),
  ] });
}

function parameterTable(choose) {
  const rows = Object.entries(SNAPSHOT.parameters).map(([name, stats]) => ({ name, ...stats }));
  const start = SNAPSHOT.edges.length ? real(SNAPSHOT.edges[0].norm) : NaN;
  const chosen = (row) => LEAVES.has(row.name)
    ? h("button", { type: "button", class: "link", title: t("show its chain"), onclick: () => choose(row.name) }, row.name) : row.name;
  return sortableTable({ id: "parameter-table", label: t("parameters"), rows, columns: [
    words(t("parameter"), (row) => row.name, chosen),
    words(t("shape"), (row) => row.shape.join("×")),
    figure(t("gradient norm"), (row) => real(row.grad_norm)),
    figure(t("decades from the loss"), (row) => log10(row.grad_norm) - log10(start), (row) => signed(log10(row.grad_norm) - log10(start))),
    figure(t("gradient RMS"), (row) => real(row.grad_rms)),
    figure(t("largest entry"), (row) => real(row.grad_absmax)),
    figure(t("zeros"), (row) => real(row.zero_fraction), (row) => percent(row.zero_fraction)),
    figure(t("not finite"), (row) => row.nonfinite, (row) => row.nonfinite || "–"),
    figure(t("weight norm"), (row) => real(row.weight_norm)),
    words(t("why no gradient"), (row) => (row.missing ? said(row.missing.reason) : "")),
  ] });
}

// A small table that needs neither filter nor sorting; on a narrow screen each row is a block.
function fixedTable(columns, rows, chosen) {
  return h("div", { class: "scroll stack", tabindex: 0, role: "region", "aria-label": columns[0].label }, h("table", {},
    h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col", class: column.number ? "number" : null }, column.label)))),
    h("tbody", {}, rows.map((row) => h("tr", { class: chosen && chosen(row) ? "chosen" : null }, columns.map((column) =>
      h("td", { class: column.number ? "number" : null, "data-label": column.label }, column.show ? column.show(row) : column.number ? number(column.value(row)) : column.value(row))))))));
}

// --- Tree of modules: decades of the chosen chain and norms of parameters, summed over children.

function moduleTree(links) {
  const root = { name: "", path: "", children: new Map(), ops: 0, decades: 0, squares: 0, weights: 0, parameters: 0 };
  const visit = (path, add) => {
    let node = root;
    add(node);
    const parts = path ? path.split(".") : [];
    parts.forEach((part, i) => {
      if (!node.children.has(part)) {
        node.children.set(part, { name: part, path: parts.slice(0, i + 1).join("."), children: new Map(), ops: 0, decades: 0, squares: 0, weights: 0, parameters: 0 });
      }
      node = node.children.get(part);
      add(node);
    });
  };
  for (const op of SNAPSHOT.ops) visit(op.module, (node) => node.ops++);
  for (const link of links) if (link.known) visit(link.op.module, (node) => ((node.decades += link.decades), (node.crossed = true)));
  for (const [name, stats] of Object.entries(SNAPSHOT.parameters)) {
    visit(name.slice(0, Math.max(0, name.lastIndexOf("."))), (node) => {
      node.parameters++;
      node.squares += real(stats.grad_norm) ** 2;
      node.weights += real(stats.weight_norm) ** 2;
    });
  }
  const head = h("div", { class: "node head" }, h("span", {}, t("module")), [t("decades"), t("gradient norm"), t("weight norm"), t("ops")].map((text) => h("span", {}, text)));
  return h("div", { class: "tree" }, head, treeNode(root, true));
}

// Children are made when a node is opened, so that a large model costs nothing until asked for.
function treeNode(node, open) {
  const cells = [node.crossed ? signed(node.decades) : "–", node.parameters ? number(Math.sqrt(node.squares)) : "–", node.parameters ? number(Math.sqrt(node.weights)) : "–", node.ops];
  const line = [h("span", { title: node.path }, DATA.classes[node.path] ? `${node.name} (${DATA.classes[node.path]})` : node.name || t("model")), cells.map((cell) => h("span", {}, cell))];
  if (!node.children.size) return h("div", { class: "node leaf" }, line);
  const children = h("div", { class: "children" });
  const box = h("details", { open }, h("summary", { class: "node" }, line), children);
  const make = () => box.open && !children.firstChild && children.append(...[...node.children.values()].map((child) => treeNode(child, false)));
  box.addEventListener("toggle", make);
  make();
  return box;
}
