// One heat map on a canvas: cells, axes, the theory's line, and the cell that is looked at.

// Cividis (Nuñez et al., 2018) for success: lightness rises for every eye.
const SUCCESS = ["#00224e", "#35456c", "#666970", "#948e77", "#c8b866", "#fee838"];
// Blue to orange for decades, the middle of the colour of the ground.
const GAIN = { light: ["#08519c", "#6baed6", "#f3f4f6", "#fdae6b", "#a63603"], dark: ["#8fd0f5", "#2f78b0", "#262c35", "#b5651d", "#ffb066"] };
const MARGIN = { left: 46, right: 10, top: 16, bottom: 42 };

const mix = (colours, at) => {
  const place = Math.min(1, Math.max(0, at)) * (colours.length - 1);
  const i = Math.min(colours.length - 2, Math.floor(place));
  const [a, b] = [colours[i], colours[i + 1]].map((c) => [1, 3, 5].map((k) => parseInt(c.slice(k, k + 2), 16)));
  return `rgb(${a.map((v, k) => Math.round(v + (b[k] - v) * (place - i))).join(" ")})`;
};

// Where a value lies among the cells' middles, in cells; beyond the ends it is continued by half a cell and cut.
function placeAmong(values, value, scale = (x) => x) {
  const n = values.length;
  if (Number.isNaN(value)) return NaN;
  if (n === 1) return value < values[0] ? -1 : value > values[0] ? 1 : 0;
  let i = values.findIndex((v) => v > value) - 1;
  if (i < 0) i = value < values[0] ? 0 : n - 2;
  const at = i + (scale(value) - scale(values[i])) / (scale(values[i + 1]) - scale(values[i]));
  return Math.min(n, Math.max(-1, at));
}

class Heat {
  // `cells[i][j]`, `colour(value)`, `describe(i, j)` for the tooltip, `spoken(i, j)` for the line of text.
  constructor(id, cells, colour, chosen) {
    Object.assign(this, { cells, colour, chosen, at: null });
    this.canvas = h("canvas", { id, tabindex: "0", role: "img" });
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => (hideTip(), document.activeElement === this.canvas || this.look(null)));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("focus", () => this.look(this.at || [0, 0], true));
    this.canvas.addEventListener("blur", () => (hideTip(), this.look(null)));
  }

  box() {
    const { width, height } = this.canvas.getBoundingClientRect();
    const [rows, columns] = [MAP.depths.length, MAP.scales.length];
    const [w, t] = [width - MARGIN.left - MARGIN.right, height - MARGIN.top - MARGIN.bottom];
    return { width, height, w, t, dx: w / columns, dy: t / rows, rows, columns };
  }

  // Middle of a cell, row 0 at the bottom.
  x(j, box) { return MARGIN.left + (j + 0.5) * box.dx; }
  y(i, box) { return MARGIN.top + box.t - (i + 0.5) * box.dy; }

  draw() {
    const box = this.box();
    if (!(box.w > 0)) return;
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.round(box.width * ratio);
    this.canvas.height = Math.round(box.height * ratio);
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const style = getComputedStyle(this.canvas);
    const ink = style.color;
    for (let i = 0; i < box.rows; i++) {
      for (let j = 0; j < box.columns; j++) {
        const [left, top] = [MARGIN.left + j * box.dx, MARGIN.top + box.t - (i + 1) * box.dy];
        const value = this.cells[i][j];
        if (Number.isNaN(value)) this.hatch(pen, left, top, box, ink);
        else {
          pen.fillStyle = this.colour(value);
          pen.fillRect(left, top, box.dx + 0.6, box.dy + 0.6);
        }
      }
    }
    this.axes(pen, box, ink);
    pen.save();
    pen.beginPath();
    pen.rect(MARGIN.left, MARGIN.top, box.w, box.t);
    pen.clip();
    this.line(pen, box);
    pen.restore();
    if (this.at) {
      const [i, j] = this.at;
      pen.lineWidth = 3;
      for (const [colour, width] of [["#000", 4], ["#fff", 2]]) {
        pen.strokeStyle = colour;
        pen.lineWidth = width;
        pen.strokeRect(this.x(j, box) - box.dx / 2, this.y(i, box) - box.dy / 2, box.dx, box.dy);
      }
    }
  }

  hatch(pen, left, top, box, ink) {
    pen.save();
    pen.beginPath();
    pen.rect(left, top, box.dx, box.dy);
    pen.clip();
    pen.strokeStyle = ink;
    pen.globalAlpha = 0.35;
    for (let k = -box.dy; k < box.dx; k += 6) {
      pen.beginPath();
      pen.moveTo(left + k, top + box.dy);
      pen.lineTo(left + k + box.dy, top);
      pen.stroke();
    }
    pen.restore();
  }

  axes(pen, box, ink) {
    pen.fillStyle = ink;
    pen.font = "12px system-ui, sans-serif";
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    const everyRow = Math.ceil(16 / box.dy);
    MAP.depths.forEach((depth, i) => i % everyRow === 0 && pen.fillText(depth, MARGIN.left - 6, this.y(i, box)));
    pen.textAlign = "left";
    pen.fillText(`${t("axis.depth")} ↑`, 2, 7);
    pen.textAlign = "center";
    const everyColumn = Math.ceil(42 / box.dx);
    MAP.scales.forEach((scale, j) => j % everyColumn === 0 && pen.fillText(tick(scale), this.x(j, box), MARGIN.top + box.t + 12));
    pen.textAlign = "right";
    pen.fillText(`${axisName()} →`, MARGIN.left + box.w, MARGIN.top + box.t + 32);
    const edge = MAP.axis === "sigma_w" && MAP.theory ? MAP.theory.critical : null;
    if (edge !== null && edge > MAP.scales[0] && edge < MAP.scales.at(-1)) {
      const x = this.x(placeAmong(MAP.scales, edge, Math.log), box);
      this.double(pen, () => (pen.moveTo(x, MARGIN.top), pen.lineTo(x, MARGIN.top + box.t)), 1, [5, 5]);
      const middle = (a, b) => (a + b) / 2;
      const named = [["phase.ordered", middle(MARGIN.left, x), x - MARGIN.left], ["phase.chaotic", middle(x, MARGIN.left + box.w), MARGIN.left + box.w - x]];
      pen.textAlign = "center";
      for (const [name, where, room] of named) if (room > 60) pen.fillText(t(name), where, 7);
    }
  }

  line(pen, box) {
    if (!MAP.theory) return;
    // A point without a number interrupts the line.
    const points = MAP.axis === "sigma_w" ? DATA.line : [MAP.scales[0] / 2, MAP.scales.at(-1) * 2].map((scale) => [scale, DATA.line[0][1]]);
    const places = points.map(([scale, limit]) => [this.x(placeAmong(MAP.scales, scale, Math.log), box), this.y(placeAmong(MAP.depths, real(limit)), box)]);
    this.double(pen, () => {
      let down = false;
      for (const [x, y] of places) {
        if (Number.isNaN(y)) down = false;
        else if (down) pen.lineTo(x, y);
        else (pen.moveTo(x, y), (down = true));
      }
    }, 2.5, []);
  }

  // White on black, seen on every colour.
  double(pen, path, width, dash) {
    pen.setLineDash(dash);
    pen.lineJoin = "round";
    for (const [colour, more] of [["#000", 2.2], ["#fff", 0]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = width + more;
      pen.beginPath();
      path();
      pen.stroke();
    }
    pen.setLineDash([]);
  }

  look(at, tell = false) {
    this.at = at;
    this.draw();
    if (at && tell) this.show();
  }

  show() {
    const [i, j] = this.at;
    const box = this.box();
    const frame = this.canvas.getBoundingClientRect();
    this.chosen(i, j);
    const bottom = frame.top + this.y(i, box) + box.dy / 2;
    const anchor = { getBoundingClientRect: () => ({ top: bottom - box.dy, bottom, left: frame.left }) };
    showTip(anchor, details(i, j), frame.left + this.x(j, box));
  }

  point(event) {
    const box = this.box();
    const frame = this.canvas.getBoundingClientRect();
    const j = Math.floor((event.clientX - frame.left - MARGIN.left) / box.dx);
    const i = Math.floor((MARGIN.top + box.t - (event.clientY - frame.top)) / box.dy);
    if (i < 0 || j < 0 || i >= box.rows || j >= box.columns) return void (hideTip(), this.look(null));
    this.look([i, j], true);
  }

  key(event) {
    const step = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const [i, j] = this.at || [0, 0];
    const keep = (value, size) => Math.min(size - 1, Math.max(0, value));
    this.look([keep(i + step[0], MAP.depths.length), keep(j + step[1], MAP.scales.length)], true);
  }
}
