// One plot: lines, dots, bars, bands and rules on linear or log axes; pointer and arrow keys read it off.

const CHARACTER = 6.6; // pixels of the plot's text

function ticksOf(axis, room) {
  if (axis.ticks) return axis.ticks.map((at) => [axis.log ? Math.log10(at) : at, plain(at)]);
  if (axis.log && axis.high - axis.low < 1.7) {
    const exponents = [-1, 0, 1, 2].map((i) => Math.floor(axis.low) + i);
    const round = exponents.flatMap((i) => [1, 2, 5].map((m) => m * 10 ** i));
    return round.map((at) => [Math.log10(at), plain(at)]).filter(([at]) => at >= axis.low && at <= axis.high);
  }
  const raw = (axis.high - axis.low) / room;
  const size = 10 ** Math.floor(Math.log10(raw));
  let step = [1, 2, 5, 10].map((m) => m * size).find((s) => s >= raw);
  if (axis.log) step = Math.max(1, Math.ceil(step));
  const ticks = [];
  for (let i = Math.ceil(axis.low / step - 1e-9); i * step <= axis.high + 1e-9; i++) {
    const at = Number((i * step).toPrecision(12));
    ticks.push([at, axis.log ? (Math.abs(at) <= 3 ? plain(10 ** at) : power(at)) : plain(at)]);
  }
  return ticks;
}

// Axes are { low, high, log, name, ticks }; on a log axis low and high are decades, values are not.
function plot({ id, label, x, y, lines = [], dots = [], bars = [], bands = [], rules = [], height = 240 }) {
  const width = NARROW.matches ? 330 : 520;
  const yTicks = ticksOf(y, 5);
  const left = 10 + CHARACTER * Math.max(...yTicks.map(([, name]) => name.length), 2);
  const box = { w: width - left - 14, h: height - 24 - 38, top: 24 };
  const place = (axis, value) => ((axis.log ? Math.log10(value) : value) - axis.low) / (axis.high - axis.low);
  const px = (value) => left + box.w * place(x, value);
  const py = (value) => box.top + box.h * (1 - place(y, value));
  const inside = (value, axis) => Number.isFinite(value) && (!axis.log || value > 0);
  const clamp = (v) => Math.min(Math.max(v, box.top - 400), box.top + box.h + 400).toFixed(2);
  const bottom = box.top + box.h;
  const xTicks = ticksOf(x, NARROW.matches ? 5 : 8);
  const grid = [
    yTicks.map(([at, name]) => {
      const level = bottom - (box.h * (at - y.low)) / (y.high - y.low);
      return [svg("line", { x1: left, x2: left + box.w, y1: level, y2: level, class: "grid" }), svg("text", { x: left - 6, y: level + 4, class: "y" }, name)];
    }),
    xTicks.map(([at, name]) => {
      const where = left + (box.w * (at - x.low)) / (x.high - x.low);
      return [svg("line", { x1: where, x2: where, y1: bottom, y2: bottom + 4, class: "tick" }), svg("text", { x: where, y: bottom + 16, class: "x mid" }, name)];
    }),
    svg("text", { x: left + box.w / 2, y: height - 5, class: "x mid axis-name" }, x.name),
    svg("text", { x: 2, y: 12, class: "axis-name" }, y.name),
  ];
  const drawn = [
    bands.map(([a, b]) => svg("rect", { x: px(a), width: Math.max(px(b) - px(a), 0), y: box.top, height: box.h, class: "band" })),
    bars.map(([a, b, value]) => svg("rect", { x: px(a) + 0.5, width: Math.max(px(b) - px(a) - 1, 0.5), y: py(value), height: Math.max(bottom - py(value), 0), class: "count-bar" })),
    lines.map(({ points, kind, dashed }) => {
      let pen = "M";
      const path = points.map(([a, b]) => {
        if (!inside(a, x) || !inside(b, y)) return (pen = "M"), "";
        const part = `${pen}${px(a).toFixed(2)},${clamp(py(b))}`;
        pen = "L";
        return part;
      });
      return svg("path", { d: path.join("") || "M0,0", class: `curve c-${kind}${dashed ? " dashed" : ""}` });
    }),
    rules.filter((rule) => rule.at !== undefined).map(({ at, kind }) => svg("line", { x1: px(at), x2: px(at), y1: box.top, y2: bottom, class: `rule c-${kind || "muted"}` })),
    rules.filter((rule) => rule.level !== undefined).map(({ level, kind }) => svg("line", { x1: left, x2: left + box.w, y1: py(level), y2: py(level), class: `rule c-${kind || "muted"}` })),
    dots.filter(([a, b]) => inside(a, x) && inside(b, y)).map(([a, b, kind, name]) => [
      svg("circle", { cx: px(a), cy: py(b), r: 4.5, class: `dot c-${kind}` }), name ? svg("text", { x: px(a), y: py(b) - 9, class: "x mid name" }, name) : null]),
  ];
  const frame = svg("clipPath", { id: id + "-clip" }, svg("rect", { x: left - 6, y: box.top - 20, width: box.w + 12, height: box.h + 26 }));
  const cursor = svg("line", { y1: box.top, y2: bottom, class: "cursor", visibility: "hidden" });
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: lines.length ? 0 : null, "aria-label": label, id },
    frame, grid, svg("g", { "clip-path": `url(#${id}-clip)` }, drawn), cursor);
  if (lines.length) readable(picture, { lines, x, px, cursor, left, box, width });
  const named = [...lines, ...rules].filter((item) => item.name);
  const legend = named.length ? h("p", { class: "legend" }, named.map((item) => h("span", {}, h("i", { class: `key c-${item.kind || "muted"}${item.dashed || item.points === undefined ? " dashed" : ""}` }), rich(item.name)))) : null;
  return h("figure", { class: "chart" }, legend, picture);
}

// Reading off: the values of every named line at one x.
function readable(picture, { lines, x, px, cursor, left, box, width }) {
  const grid = lines[0].points.map(([a]) => a);
  let here = Math.floor(grid.length / 2);
  const read = (at, pointer) => {
    here = Math.min(Math.max(at, 0), grid.length - 1);
    const value = grid[here];
    cursor.setAttribute("visibility", "visible");
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, px(value));
    const rows = lines.filter((line) => line.name).map((line) => {
      const nearest = line.points.reduce((best, point) => (Math.abs(point[0] - value) < Math.abs(best[0] - value) ? point : best));
      return [h("dt", {}, rich(line.name)), h("dd", {}, number(nearest[1]))];
    });
    const frame = picture.getBoundingClientRect();
    showTip(picture, h("dl", {}, h("dt", {}, x.name), h("dd", {}, number(value)), rows), pointer ?? frame.left + (px(value) / width) * frame.width);
  };
  const leave = () => (hideTip(), cursor.setAttribute("visibility", "hidden"));
  picture.addEventListener("pointermove", (event) => {
    const frame = picture.getBoundingClientRect();
    const share = (((event.clientX - frame.left) / frame.width) * width - left) / box.w;
    const at = x.low + share * (x.high - x.low);
    const distance = (a) => Math.abs((x.log ? Math.log10(a) : a) - at);
    read(grid.reduce((best, a, i) => (distance(a) < distance(grid[best]) ? i : best), 0), event.clientX);
  });
  picture.addEventListener("pointerleave", leave);
  picture.addEventListener("blur", leave);
  picture.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1, PageUp: 10, PageDown: -10 }[event.key];
    if (move) event.preventDefault(), read(here + move);
  });
}

// Limits of a log axis close to the values, for what stays within a few decades.
function closely(values) {
  const logs = values.filter((v) => Number.isFinite(v) && v > 0).map(Math.log10);
  return [Math.min(...logs, -0.1) - 0.1, Math.max(...logs, 0.1) + 0.1];
}

// Whole decades that hold all the values; `least` decades at the least.
function decades(values, least = 1) {
  const logs = values.filter((v) => Number.isFinite(v) && v > 0).map(Math.log10);
  if (!logs.length) return [-1, 0];
  const [low, high] = [Math.floor(Math.min(...logs)), Math.ceil(Math.max(...logs))];
  return [low, Math.max(high, low + least)];
}
