// The heat map: rows are layers in the model's order, columns are steps.

// Cividis (Nuñez et al., 2018): lightness rises for every eye. Blue to orange for what has two sides.
const RISING = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"];
const SIDES = { light: ["#08519c", "#6baed6", "#f3f4f6", "#fdae6b", "#a63603"], dark: ["#8fd0f5", "#2f78b0", "#2c333d", "#b5651d", "#ffb066"] };
const BROKEN = [230, 0, 126]; // no colour of cividis or of the two sides is near
const ZERO = { light: [255, 255, 255], dark: [0, 0, 0] };
const SAME = { light: [128, 136, 146], dark: [120, 128, 140] }; // between the two sides, but darker (lighter) than their middle
const MOST_DECADES = 12;
const HELD = 80; // of 255: how strong a value is after its time, until the next is recorded
const ROW = { least: 4, most: 20, words: 12 };

function ramp(colours) {
  const parts = colours.map((c) => [1, 3, 5].map((k) => parseInt(c.slice(k, k + 2), 16)));
  return Array.from({ length: 256 }, (_, n) => {
    const place = (n / 255) * (parts.length - 1);
    const i = Math.min(parts.length - 2, Math.floor(place));
    return parts[i].map((v, k) => Math.round(v + (parts[i + 1][k] - v) * (place - i)));
  });
}

// --- How a quantity is coloured: `at(value)` in [0, 1], and the words at the ends.

function scaleFor(quantity, rows, bins) {
  const found = sampled(rows, bins);
  const ends = (a, b, show) => [show(a), show(b)];
  if (state.relative) {
    const most = Math.min(3, Math.max(0.3, quantile(found.map(({ value, middle }) => Math.abs(Math.log10(value / middle))).filter(Number.isFinite), 0.99)));
    return { sided: true, log: true, at: (value, middle) => 0.5 + Math.log10(value / middle) / most / 2, ends: [`÷ ${number(10 ** most)}`, `× ${number(10 ** most)}`] };
  }
  const values = found.map(({ value }) => value).filter(Number.isFinite);
  if (quantity === "ratio") {
    const most = Math.min(3, Math.max(0.05, quantile(values.filter((value) => value > 0).map((value) => Math.abs(Math.log10(value))), 0.99) || 0));
    return { sided: true, same: true, at: (value) => 0.5 + Math.log10(value) / most / 2, ends: [`÷ ${number(10 ** most)}`, `× ${number(10 ** most)}`] };
  }
  if (/fraction$/.test(quantity)) return { at: (value) => value, ends: ["0", "1"] };
  if (values.some((value) => value < 0)) {
    const most = quantile(values.map(Math.abs), 0.99) || 1;
    return { sided: true, at: (value) => 0.5 + value / most / 2, ends: ends(-most, most, number) };
  }
  if (quantity === "nonfinite") {
    const most = values.reduce((a, b) => Math.max(a, b), 1);
    return { at: (value) => value / most, ends: ends(0, most, plain) };
  }
  const logs = values.filter((value) => value > 0).map(Math.log10);
  let [low, high] = logs.length ? [quantile(logs, 0.005), quantile(logs, 0.995)] : [-1, 0];
  if (high - low < 0.5) [low, high] = [(low + high) / 2 - 0.25, (low + high) / 2 + 0.25];
  low = Math.max(low, high - MOST_DECADES);
  return { log: true, at: (value) => (Math.log10(value) - low) / (high - low), ends: ends(10 ** low, 10 ** high, number) };
}

const shownPart = () => ({ largest: "high", smallest: "low", last: "last" })[state.shows];

// Values of some columns, with the median of their row.
function sampled(rows, bins) {
  const every = Math.max(1, Math.floor((rows.length * bins.used) / 20000));
  const out = [];
  for (const row of rows) {
    const { block, index } = row.series;
    const part = block[shownPart()];
    const values = [];
    for (let column = 0; column < bins.used; column += every) {
      const value = part[index * block.columns + column];
      if (Number.isFinite(value)) values.push(value);
    }
    row.middle = quantile(values.filter((value) => value > 0), 0.5);
    for (const value of values) out.push({ value, middle: row.middle });
  }
  return out;
}

function quantile(values, share) {
  if (!values.length) return NaN;
  const sorted = new Float64Array(values).sort();
  return sorted[Math.round(share * (sorted.length - 1))];
}

// The map and the lines below it lie on one axis.
const layerMargin = (top) => ({ left: NARROW.matches ? 88 : 190, right: 46, top, bottom: 24 });

class Heat extends Picture {
  constructor() {
    super({ id: "heat", label: t("heat map of the layers over the steps"), height: 200, margin: layerMargin(2) });
    this.row = 0;
  }

  // The rows and their table, for the chosen quantity and the filter.
  load() {
    const { table, statistic } = quantityOf(state.quantity);
    this.bins = RUN.tables[table];
    this.statistic = statistic;
    const wanted = state.filter.trim().toLowerCase();
    this.rows = !this.bins ? [] : this.bins.names.filter((name) => name.toLowerCase().includes(wanted)).map((name) => ({ name, series: this.bins.series(name, statistic) }));
    const room = Math.floor((NARROW.matches ? 380 : 460) / Math.max(this.rows.length, 1));
    this.size = Math.min(ROW.most, Math.max(ROW.least, room));
    this.height = this.rows.length * this.size + this.margin.top + this.margin.bottom;
    this.box.style.height = this.height + "px";
    this.row = Math.min(this.row, Math.max(this.rows.length - 1, 0));
  }

  draw() {
    this.load(); // the height follows from the number of rows
    super.draw();
  }

  paint(pen) {
    if (!this.rows.length) return;
    const scale = (this.scale = scaleFor(this.statistic, this.rows, this.bins));
    this.holds = false;
    const { left, top, width, height } = this.plot;
    const shades = ramp(scale.sided ? SIDES[state.theme] : RISING);
    const pixels = Math.max(1, Math.min(2000, Math.round(width * Math.min(devicePixelRatio || 1, 2))));
    const image = new ImageData(pixels, this.rows.length);
    const where = this.columnsOf(pixels);
    this.rows.forEach((row, i) => this.fill(image, i, row, where, scale, shades));
    legend(scale, this.holds);
    const sheet = new OffscreenCanvas(pixels, this.rows.length);
    sheet.getContext("2d").putImageData(image, 0, 0);
    pen.imageSmoothingEnabled = false;
    this.hatch(pen);
    pen.drawImage(sheet, left, top, width, height);
    this.names(pen);
    this.paintSteps(pen, true);
  }

  // For each pixel the columns under it, or the whole row.
  columnsOf(pixels) {
    const { bins } = this;
    const span = (axis.high - axis.low) / pixels;
    return Array.from({ length: pixels }, (_, p) => {
      const [from, to] = [axis.low + p * span, axis.low + (p + 1) * span];
      if (2 * span < bins.width) {
        const rows = span < 1 ? [bins.whole.at(Math.round(from + span / 2))].filter(Boolean) : bins.whole.rows.slice(bins.whole.indexOf(Math.ceil(from)), bins.whole.indexOf(Math.ceil(to)));
        if (rows.length) return { rows, b: bins.columnAt(rows[0].step) };
      }
      const a = Math.max(0, Math.floor(from / bins.width) - bins.start);
      const b = Math.min(bins.used - 1, Math.max(a, Math.ceil(to / bins.width) - 1 - bins.start));
      return a >= bins.used || to < bins.first[0] ? null : { a, b };
    });
  }

  fill(image, i, row, where, scale, shades) {
    const { block, index } = row.series;
    const base = index * block.columns;
    const part = block[shownPart()];
    const zero = ZERO[state.theme];
    const hold = this.holdOf(base, block);
    const same = SAME[state.theme];
    const pixels = new Uint32Array(image.data.buffer);
    let held = null;
    let heldAt = -Infinity;
    for (let p = 0; p < where.length; p++) {
      const spot = where[p];
      if (!spot) continue;
      let value = NaN;
      let bad = 0;
      let alike = Boolean(scale.same);
      if (spot.rows) {
        for (const each of spot.rows) {
          const next = row.series.wide(each);
          if (this.bins.broken(each, row.series)) bad = 1;
          else value = this.more(value, next);
          alike &&= next === 1;
        }
      } else {
        for (let column = spot.a; column <= spot.b; column++) {
          bad |= block.bad[base + column];
          value = this.more(value, part[base + column]);
          if (alike) alike = block.low[base + column] === 1 && block.high[base + column] === 1;
        }
      }
      let colour = null;
      if (bad) colour = BROKEN;
      else if (alike && value === 1) colour = same;
      else if (!Number.isNaN(value)) colour = value === 0 && scale.log ? zero : shades[Math.min(255, Math.max(0, Math.round(255 * scale.at(value, row.middle))))];
      let strength = 255;
      if (colour) [held, heldAt] = [colour, spot.b];
      else if (held) {
        colour = held;
        if (spot.b - heldAt > hold) [strength, this.holds] = [HELD, true];
      }
      if (!colour) continue;
      pixels[i * image.width + p] = (strength << 24) | (colour[2] << 16) | (colour[1] << 8) | colour[0]; // little-endian, as every browser's machine is
    }
  }

  // Of two values of a pixel the one that is shown.
  more(value, next) {
    if (Number.isNaN(next)) return value;
    return Number.isNaN(value) || state.shows === "last" || (state.shows === "largest" ? next > value : next < value) ? next : value;
  }

  // For how many columns a value holds in full: twice the usual distance of those recorded.
  holdOf(base, block) {
    let known = 0;
    for (let column = 0; column < this.bins.used; column++) if (!Number.isNaN(block.last[base + column]) || block.bad[base + column]) known++;
    const gap = known ? this.bins.used / known : 1;
    return gap > 1.2 ? Math.ceil(2 * gap) : 0;
  }

  hatch(pen) {
    const { left, top, width, height } = this.plot;
    pen.save();
    pen.beginPath();
    pen.rect(left, top, width, height);
    pen.clip();
    pen.fillStyle = INK.soft;
    pen.fillRect(left, top, width, height);
    pen.strokeStyle = INK.line;
    pen.lineWidth = 1;
    pen.beginPath();
    for (let k = -height; k < width; k += 7) pen.moveTo(left + k, top + height), pen.lineTo(left + k + height, top);
    pen.stroke();
    pen.restore();
  }

  names(pen) {
    const { left, top } = this.plot;
    const every = Math.ceil(ROW.words / this.size);
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    pen.font = `${Math.min(11.5, Math.max(9, this.size * every - 1))}px ${getComputedStyle(document.body).getPropertyValue("--mono")}`;
    const room = Math.floor((left - 16) / (pen.measureText("m").width || 7));
    this.rows.forEach((row, i) => {
      const chosen = state.chosen.has(row.name);
      if (i % every && !chosen) return;
      pen.fillStyle = chosen ? INK.accent : INK.muted;
      const y = top + (i + 0.5) * this.size;
      if (chosen) pen.fillRect(left - 4, top + i * this.size, 3, this.size);
      if (i % every === 0) pen.fillText(shorten(row.name, room), left - 8, y);
    });
  }

  paintOver(pen, x) {
    if (!this.rows || !this.rows.length || this.pointed === null) return;
    const { left, top, width } = this.plot;
    const y = top + this.row * this.size;
    for (const [colour, thick] of [["#000", 3], ["#fff", 1.2]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = thick;
      pen.strokeRect(left, y, width, this.size);
      pen.strokeRect(x - 3, y, 6, this.size);
    }
  }

  rowAt(event) {
    const y = event.clientY - this.over.getBoundingClientRect().top - this.plot.top;
    return Math.min(this.rows.length - 1, Math.max(0, Math.floor(y / this.size)));
  }

  leave() {
    this.pointed = null;
    super.leave();
  }

  describe(step, event) {
    if (!this.rows || !this.rows.length) return null;
    if (event) this.row = this.rowAt(event);
    this.pointed = true;
    this.drawCursor();
    const row = this.rows[this.row];
    const seen = readSeries(this.bins, row.series, step);
    if (!event) this.keepInSight();
    return [[t("layer"), row.name], [t("step"), seen ? stepsText(seen) : stepText(step)], [wordOf(this.statistic), seen ? seen.text : t("not recorded")]];
  }

  keepInSight() {
    const frame = this.box.parentNode;
    const y = this.plot.top + this.row * this.size;
    if (y < frame.scrollTop) frame.scrollTop = y;
    else if (y + this.size > frame.scrollTop + frame.clientHeight) frame.scrollTop = y + this.size - frame.clientHeight;
  }

  click() {
    if (this.rows[this.row]) toggleChosen(this.rows[this.row].name);
  }

  otherKey(event) {
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (move) {
      this.row = Math.min(Math.max(this.row + move, 0), this.rows.length - 1);
      this.look(axis.cursor ?? axis.last);
    } else if (event.key === "Enter" || event.key === " ") this.click();
    else return false;
    return true;
  }
}

// --- What the colours mean, under the map.

function legend(scale, holds) {
  const place = document.getElementById("heat-legend");
  if (!place) return;
  const colours = scale.sided ? SIDES[state.theme] : RISING;
  const swatch = (colour, text) => h("span", {}, h("i", { class: "swatch ringed", style: { background: colour } }), text);
  place.replaceChildren(
    h("span", { class: "ramp" }, h("span", {}, `≤ ${scale.ends[0]}`), h("i", { style: { background: `linear-gradient(90deg, ${colours.join(", ")})` } }), h("span", {}, `≥ ${scale.ends[1]}`)),
    scale.same ? swatch(`rgb(${SAME[state.theme].join(" ")})`, t("bit-identical")) : "", scale.log ? swatch(`rgb(${ZERO[state.theme].join(" ")})`, t("exactly zero")) : "", swatch(`rgb(${BROKEN.join(" ")})`, t("not finite")),
    h("span", {}, h("i", { class: "swatch ringed hatched" }), holds ? t("not recorded: the last value, faint") : t("not recorded")));
}
