// What all pictures over steps have in common: a canvas, the cursor above it, pointer and keys.

let pictures = [];

// All widths are read before anything is drawn: reading one after a change lays the page out again.
function redrawAll() {
  for (const picture of pictures) picture.width = picture.box.isConnected ? picture.box.clientWidth : 0;
  for (const picture of pictures) picture.draw();
}

const INK = {};

// Colours of the theme, read once for each drawing of the page.
function readInk() {
  const probe = h("i", { hidden: true });
  document.body.append(probe);
  for (const name of ["text", "muted", "line", "soft", "card", "accent", "error", "warning", "first", "last", ...Object.keys(DATA.kind_names).map((kind) => "k-" + kind)]) {
    probe.style.color = `var(--${name})`;
    INK[name] = getComputedStyle(probe).color;
  }
  probe.remove();
}

// From the first layer to the last: hue and lightness both move, as in `page.css`.
function layerInk(at) {
  return state.theme === "dark" ? `oklch(${0.62 + 0.25 * at} 0.13 ${275 - 205 * at})` : `oklch(${0.36 + 0.3 * at} 0.14 ${275 - 225 * at})`;
}

class Picture {
  // `label`: what it shows, for the screen reader; `height` in pixels; margins for names and ticks.
  constructor({ id, label, height, margin }) {
    Object.assign(this, { label, height, margin });
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.over = h("canvas", { class: "over", id, tabindex: "0", role: "img", "aria-label": label, "aria-describedby": "now" });
    this.box = h("div", { class: "picture", style: { height: height + "px" } }, this.canvas, this.over);
    this.drag = null;
    this.listen();
    pictures.push(this);
  }

  listen() {
    const { over } = this;
    over.addEventListener("pointerdown", (event) => this.press(event));
    over.addEventListener("pointermove", (event) => this.move(event));
    over.addEventListener("pointerup", (event) => this.release(event));
    over.addEventListener("pointercancel", () => (this.drag = null));
    over.addEventListener("pointerleave", () => (hideTip(), document.activeElement === over || this.leave()));
    over.addEventListener("dblclick", zoomOut);
    over.addEventListener("keydown", (event) => this.key(event));
    over.addEventListener("focus", () => over.matches(":focus-visible") && this.look(axis.cursor ?? axis.last));
    over.addEventListener("blur", hideTip);
  }

  leave() {
    moveCursor(null);
  }

  get plot() {
    const { left, right, top, bottom } = this.margin;
    return { left, top, width: Math.max(this.width - left - right, 10), height: Math.max(this.height - top - bottom, 4) };
  }

  x(step) {
    const { left, width } = this.plot;
    return left + (width * (step - axis.low)) / (axis.high - axis.low);
  }

  stepAt(clientX) {
    const { left, width } = this.plot;
    const share = (clientX - this.over.getBoundingClientRect().left - left) / width;
    return axis.low + Math.min(1, Math.max(0, share)) * (axis.high - axis.low);
  }

  pen(canvas) {
    const ratio = devicePixelRatio || 1;
    const [w, t] = [Math.round(this.width * ratio), Math.round(this.height * ratio)];
    if (canvas.width !== w || canvas.height !== t) [canvas.width, canvas.height] = [w, t];
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, this.width, this.height);
    pen.font = "11.5px system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans CJK SC', sans-serif";
    return pen;
  }

  draw() {
    if (!this.width) return;
    this.paint(this.pen(this.canvas));
    this.drawCursor();
  }

  drawCursor() {
    if (!this.width) return;
    const pen = this.pen(this.over);
    const { top, height, left, width } = this.plot;
    if (this.drag && this.drag.moved) {
      pen.fillStyle = INK.accent;
      pen.globalAlpha = 0.18;
      const [a, b] = [this.x(this.drag.from), this.x(this.drag.to)];
      pen.fillRect(Math.min(a, b), top, Math.abs(b - a), height);
      pen.globalAlpha = 1;
    }
    if (axis.cursor === null || axis.cursor < axis.low || axis.cursor > axis.high) return;
    const x = Math.min(Math.max(this.x(axis.cursor), left), left + width);
    for (const [colour, thick] of [[INK.card, 3], [INK.text, 1]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = thick;
      pen.beginPath();
      pen.moveTo(x, top);
      pen.lineTo(x, top + height);
      pen.stroke();
    }
    this.paintOver(pen, x);
  }

  paintOver() {}

  // Labels of steps below the picture, or only their lines.
  paintSteps(pen, words) {
    const { left, top, width, height } = this.plot;
    const ticks = stepTicks(axis.low, axis.high, width / 90);
    pen.textBaseline = "top";
    pen.lineWidth = 1;
    let free = -Infinity;
    for (const tick of ticks) {
      const x = this.x(tick);
      pen.strokeStyle = INK.line;
      pen.beginPath();
      pen.moveTo(x, top + (words ? height : 0));
      pen.lineTo(x, top + height + (words ? 4 : 0));
      pen.stroke();
      if (!words) continue;
      const text = stepText(tick);
      const half = pen.measureText(text).width / 2;
      const middle = Math.min(Math.max(x, left + half - 4), left + width - half + 2);
      if (middle - half < free) continue;
      free = middle + half + 12;
      pen.fillStyle = INK.muted;
      pen.textAlign = "center";
      pen.fillText(text, middle, top + height + 6);
    }
  }

  // --- Pointer: moving looks, dragging chooses the part that is seen.

  press(event) {
    if (event.pointerType === "touch") return this.look(this.stepAt(event.clientX), event);
    if (event.button !== 0) return;
    const step = this.stepAt(event.clientX);
    this.drag = { from: step, to: step, at: event.clientX, moved: false };
    this.over.setPointerCapture(event.pointerId);
  }

  move(event) {
    if (this.drag) {
      this.drag.to = this.stepAt(event.clientX);
      this.drag.moved ||= Math.abs(event.clientX - this.drag.at) > 5;
      if (this.drag.moved) return hideTip(), this.drawCursor();
    }
    this.look(this.stepAt(event.clientX), event);
  }

  release(event) {
    const { drag } = this;
    this.drag = null;
    if (!drag) return;
    if (drag.moved) zoomTo(Math.min(drag.from, drag.to), Math.max(drag.from, drag.to));
    else this.click(event);
  }

  click() {}

  // --- Keys

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = axis.cursor ?? axis.last;
    const page = (axis.high - axis.low) / 10;
    const goal = {
      ArrowRight: () => neighbour(this.bins, step, 1), ArrowLeft: () => neighbour(this.bins, step, -1),
      PageDown: () => step + page, PageUp: () => step - page, Home: () => axis.first, End: () => axis.last,
    }[event.key];
    if (goal) this.look(goal());
    else if (event.key === "+" || event.key === "=") zoomBy(0.5), this.look(step);
    else if (event.key === "-") zoomBy(2), this.look(step);
    else if (event.key === "0") zoomOut();
    else if (event.key === "Escape") hideTip(), moveCursor(null);
    else if (!this.otherKey(event)) return;
    event.preventDefault();
  }

  otherKey() {
    return false;
  }

  // The values at a step: in the tooltip, and as a sentence for the screen reader.
  look(step, event) {
    moveCursor(step);
    const pairs = this.describe(axis.cursor, event);
    if (!pairs) return hideTip();
    const frame = this.over.getBoundingClientRect();
    const anchor = event ? { getBoundingClientRect: () => ({ top: event.clientY - 10, bottom: event.clientY + 10, left: event.clientX, width: 0 }) } : this.over;
    showTip(anchor, h("dl", {}, pairs.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])), event ? event.clientX : frame.left + this.x(axis.cursor));
    if (!event) document.getElementById("now").textContent = pairs.map(([name, value]) => `${name} ${value}`).join(" · ");
  }
}

// --- Values as they were recorded

// The shortest decimal that is this float32 again; of a float64 JavaScript's own.
function exact(value, single = true) {
  if (!Number.isFinite(value)) return number(value);
  if (!single || value === 0) return String(value);
  for (let digits = 6; digits < 10; digits++) {
    const text = Number(value.toPrecision(digits));
    if (Math.fround(text) === value) return String(text);
  }
  return String(value);
}

// What is known of a series at a step: a whole row if there is one, else its column.
function readSeries(bins, series, step) {
  const single = series.block.Type === Float32Array;
  const row = bins.whole.at(step);
  if (row && (!Number.isNaN(series.wide(row)) || bins.broken(row, series))) return { from: step, to: step, text: exact(series.wide(row), single), value: series.wide(row), rows: 1 };
  let column = bins.columnAt(step);
  const { block, index } = series;
  const at = () => index * block.columns + column;
  const known = () => bins.count[column] && (block.bad[at()] || !Number.isNaN(block.low[at()]));
  while (column > 0 && !known()) column--;
  if (!known()) return null;
  const [low, high, last, bad] = [block.low[at()], block.high[at()], block.last[at()], block.bad[at()]];
  const wrong = [bad & NAN_BIT ? "nan" : "", bad & INFINITE_BIT ? "inf" : ""].filter(Boolean).join(", ");
  const range = low === high || Number.isNaN(low) ? exact(last, single) : t("{low} to {high}, last {last}", { low: exact(low, single), high: exact(high, single), last: exact(last, single) });
  return { from: bins.first[column], to: bins.end[column], rows: bins.count[column], text: wrong && Number.isFinite(last) ? `${range} (${wrong})` : range, value: last };
}

const stepsText = (seen) => (seen.from === seen.to ? stepText(seen.from) : `${stepText(seen.from)}–${stepText(seen.to)} (${t(seen.rows === 1 ? "{n} row" : "{n} rows", { n: seen.rows })})`);
