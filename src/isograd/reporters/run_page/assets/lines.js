// Lines over steps, drawn by uPlot: each column's last value, and from its least to its greatest; recorded values only.

const WIDE = 3; // pixels from which on the rows of a column are drawn one by one

class Lines extends Picture {
  // `series()`: list of { name, bins, series, ink, strong, faint } or { name, points: [[step, value]], ink, strong, dots }.
  // `marks`: alarms as vertical lines. `named`: names beside the ends. `layers`: on the axis of the heat map, with the
  // names beside the beginnings.
  constructor({ id, label, series, log, height = 150, marks = false, named = false, layers = false }) {
    const right = named && !NARROW.matches ? 168 : 8;
    super({ id, label, height, margin: layers ? layerMargin(8) : { left: 52, right, top: 8, bottom: 22 } });
    Object.assign(this, { series, logged: log, marks, layers, named: layers || right > 100 });
    this.place = h("div", { "aria-hidden": "true" });
    this.canvas.replaceWith(this.place);
  }

  draw() {
    if (!this.width) return;
    const given = this.series();
    this.lines = [...given.filter((line) => !line.strong), ...given.filter((line) => line.strong)]; // the strong ones above
    this.bins = this.lines.length ? this.lines[0].bins : null;
    const spots = this.bins ? this.spots(this.bins) : [...new Set(this.lines.flatMap((line) => line.points.map(([step]) => step)))].sort((a, b) => a - b).map((step) => ({ step }));
    const drawn = this.lines.map((line) => (line.points ? fewValues(line, spots) : values(line, spots, this.ranged(line))));
    this.broken = drawn.map((each) => each.broken).flatMap((at) => at.map((i) => spots[i].step));
    const [low, high] = this.scale(drawn);
    this.chart?.destroy();
    this.chart = this.plotted(spots.map((spot) => spot.step), drawn, low, high);
    this.drawCursor();
  }

  // True if a line shows the least and the greatest value of each column.
  ranged(line) {
    return !line.points && (!this.layers || line.strong);
  }

  // The places where something may be recorded: columns, or whole rows where a column is seen as such.
  spots(bins) {
    const column = (step) => Math.floor(step / bins.width) - bins.start;
    const [from, to] = [Math.max(0, column(axis.low) - 1), Math.min(bins.used - 1, column(axis.high) + 1)];
    const wide = (this.plot.width / (axis.high - axis.low)) * bins.width > WIDE;
    const out = [];
    for (let c = from; c <= to; c++) {
      if (!bins.count[c]) continue;
      if (wide && bins.count[c] > 1) {
        const [a, b] = [bins.whole.indexOf(bins.first[c]), bins.whole.indexOf(bins.end[c] + 1)];
        if (b - a === bins.count[c]) {
          for (const row of bins.whole.rows.slice(a, b)) out.push({ step: row.step, row });
          continue;
        }
      }
      out.push({ step: bins.count[c] > 1 ? (bins.first[c] + bins.end[c]) / 2 : bins.first[c], column: c });
    }
    return out;
  }

  // What is seen from below to above, in decades on a log axis, to which the values are brought.
  scale(drawn) {
    const ends = (above) => {
      let [low, high] = [Infinity, -Infinity];
      for (const each of drawn) for (const part of each.parts) for (const value of part) {
        if (value == null || value <= above) continue;
        if (value < low) low = value;
        if (value > high) high = value;
      }
      return [low, high];
    };
    let [low, high] = ends(-Infinity);
    this.log = this.logged === "auto" ? low > 0 && high < Infinity && high / low > 50 : this.logged;
    if (this.log) {
      [low, high] = ends(0).map(Math.log10);
      for (const each of drawn) for (const part of each.parts)
        for (let i = 0; i < part.length; i++) if (part[i] != null) part[i] = part[i] > 0 ? Math.log10(part[i]) : undefined;
    }
    if (!(low <= high)) [low, high] = [0, 1];
    const room = (high - low) * 0.06 || Math.max(Math.abs(high) * 0.05, this.log ? 0.3 : 1e-12);
    return [low - room, high + room];
  }

  plotted(steps, drawn, low, high) {
    const { margin } = this;
    const font = "11.5px system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans CJK SC', sans-serif";
    const lines = { stroke: INK.line, width: 1 };
    const [series, data, bands] = [[{}], [steps], []];
    this.lines.forEach((line, i) => {
      const { low: least, high: greatest, last } = drawn[i];
      if (this.ranged(line)) {
        const ink = mixed(line.ink, this.layers ? 40 : 60);
        bands.push({ series: [series.length, series.length + 1], fill: ink });
        // Drawn as lines, too: a band over a single column is too thin to be seen.
        for (const end of [greatest, least]) series.push({ scale: "y", width: 0.75, stroke: ink, points: { show: false } }), data.push(end);
      }
      series.push({
        scale: "y", stroke: line.faint && !line.strong ? mixed(line.ink, 35) : line.ink, width: line.strong ? 1.6 : 0.9,
        points: line.strong ? { size: line.dots ? 6 : 4, fill: line.ink, ...(line.dots ? { show: true } : {}) } : { show: false },
      });
      data.push(last);
    });
    let ticks = roundTicks(low, high, this.log);
    if (ticks.length > 7) ticks = ticks.filter((_, i) => i % Math.ceil(ticks.length / 6) === 0);
    const word = (tick) => (!this.log ? plain(tick) : Number.isInteger(tick) ? "1e" + tick : number(10 ** tick));
    return new uPlot({
      width: this.width, height: this.height, pxAlign: 0,
      padding: [margin.top, this.layers ? 0 : margin.right, 0, this.layers ? margin.left : 0],
      cursor: { show: false }, legend: { show: false }, select: { show: false },
      scales: { x: { time: false, range: () => [axis.low, axis.high] }, y: { range: () => [low, high] } },
      axes: [
        { size: margin.bottom, gap: 3, font, stroke: INK.muted, grid: { show: false }, ticks: { ...lines, size: 4 },
          splits: () => stepTicks(axis.low, axis.high, this.plot.width / 90), values: (_, all) => all.map(stepText) },
        { scale: "y", side: this.layers ? 1 : 3, size: this.layers ? margin.right : margin.left, gap: 6, font, stroke: INK.muted, grid: lines, ticks: { show: false },
          splits: () => ticks, values: (_, all) => all.map(word) },
      ],
      series, bands, hooks: { draw: [(chart) => this.above(chart, drawn, low, high)] },
    }, data, this.place);
  }

  // What no plotting library knows: steps that broke, alarms, names.
  above(chart, drawn, low, high) {
    const { left, top, width, height } = this.plot;
    const pen = chart.ctx;
    pen.save();
    pen.scale(uPlot.pxRatio, uPlot.pxRatio);
    pen.fillStyle = `rgb(${BROKEN.join(" ")})`;
    for (const step of new Set(this.broken)) if (step >= axis.low && step <= axis.high) pen.fillRect(this.x(step) - 1, top, 2.5, height);
    if (this.marks) this.alarms(pen);
    if (this.named) this.names(pen, drawn, (value) => top + height * (1 - (value - low) / (high - low)), left, width);
    pen.restore();
  }

  alarms(pen) {
    pen.globalAlpha = 0.55;
    pen.lineWidth = 1;
    pen.setLineDash([3, 3]);
    for (const alarm of alarmsSeen()) {
      pen.strokeStyle = INK[alarm.severity] || INK.accent;
      pen.beginPath();
      pen.moveTo(this.x(alarm.step), this.plot.top);
      pen.lineTo(this.x(alarm.step), this.plot.top + this.plot.height);
      pen.stroke();
    }
    pen.setLineDash([]);
    pen.globalAlpha = 1;
  }

  // Names beside the ends of strong lines; of too many only some.
  names(pen, drawn, y, left, width) {
    const { top, height } = this.plot;
    const known = (i) => drawn[i].last.filter(Number.isFinite);
    let strong = this.lines.map((line, i) => ({ line, i })).filter(({ line, i }) => line.strong && known(i).length);
    const most = Math.floor(height / LABEL);
    if (strong.length > most) strong = strong.filter((_, i) => i % Math.ceil(strong.length / most) === 0);
    const near = (of) => (this.layers ? of.slice(0, Math.ceil(of.length / 10)) : of.slice(-1));
    const places = strong.map(({ line, i }) => ({ line, at: quantile(near(known(i)).map(y), 0.5) }));
    const [from, side] = this.layers ? [left - 1, -1] : [left + width + 1, 1];
    const room = Math.floor((this.layers ? left - 18 : this.margin.right - 16) / 6.4);
    pen.font = "11.5px system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans CJK SC', sans-serif";
    pen.textAlign = this.layers ? "right" : "left";
    pen.textBaseline = "middle";
    for (const { line, at, y: beside } of spread(places, top + 4, top + height - 4)) {
      pen.strokeStyle = line.ink;
      pen.lineWidth = 1.2;
      pen.beginPath();
      pen.moveTo(from, Math.min(Math.max(at, top), top + height));
      pen.lineTo(from + 9 * side, beside);
      pen.stroke();
      pen.fillStyle = INK.text;
      pen.fillText(shorten(line.name, room), from + 12 * side, beside);
    }
  }

  describe(step) {
    const lines = this.lines || [];
    const first = lines.find((line) => line.bins);
    if (!first) return this.nearest(step, lines);
    const chosen = lines.filter((line) => line.strong);
    const some = chosen.length && chosen.length <= 14 ? chosen : lines.length <= 14 ? lines : [...lines.slice(0, 6), ...lines.slice(-6)];
    const seen = some.map((line) => [line, readSeries(line.bins, line.series, step)]);
    const where = seen.find(([, each]) => each)?.[1];
    return [[t("step"), where ? stepsText(where) : stepText(step)], ...seen.map(([line, each]) => [line.name, each ? each.text : t("not recorded")])];
  }

  // Where the lines are a few points: those of the nearest one.
  nearest(step, lines) {
    const steps = [...new Set(lines.flatMap((line) => line.points.map(([s]) => s)))];
    if (!steps.length) return null;
    const near = steps.reduce((a, b) => (Math.abs(b - step) < Math.abs(a - step) ? b : a));
    return [[t("step"), stepText(near)], ...lines.map((line) => [line.name, signed(line.points.find(([s]) => s === near)?.[1] ?? NaN)])];
  }
}

const mixed = (ink, percent) => `color-mix(in srgb, ${ink} ${percent}%, transparent)`;

// Last value at each place, and the least and greatest if asked. uPlot bridges `undefined` (not
// recorded) and breaks a line at null (not finite).
function values({ bins, series }, spots, ranged) {
  const { block, index } = series;
  const base = index * block.columns;
  const last = new Array(spots.length);
  const [low, high] = ranged ? [new Array(spots.length), new Array(spots.length)] : [last, last];
  const broken = [];
  for (let i = 0; i < spots.length; i++) {
    const { row, column } = spots[i];
    if (row) {
      const value = series.wide(row);
      if (Number.isFinite(value)) last[i] = low[i] = high[i] = value;
      else if (bins.broken(row, series)) broken.push(i);
    } else {
      const at = base + column;
      const least = block.low[at];
      if (least === least) {
        last[i] = block.last[at];
        if (ranged) [low[i], high[i]] = [least, block.high[at]];
      }
      if (block.bad[at]) broken.push(i);
    }
  }
  for (const i of broken) last[i] = null;
  return { low, high, last, broken, parts: ranged ? [low, high, last] : [last] };
}

function fewValues({ points }, spots) {
  const at = new Map(points);
  const last = spots.map(({ step }) => (!at.has(step) ? undefined : Number.isFinite(at.get(step)) ? at.get(step) : null));
  return { last, broken: last.flatMap((value, i) => (value === null ? [i] : [])), parts: [last] };
}
