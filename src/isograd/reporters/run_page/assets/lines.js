// Lines over steps: each column from its least to its greatest value, through recorded values only.

class Lines extends Picture {
  // `series()`: list of { name, bins, series, ink, strong } or { name, points: [[step, value]], ink, strong, dots }.
  // `marks`: alarms as vertical lines. `named`: names beside the ends. `layers`: on the axis of the heat map, with the
  // names beside the beginnings.
  constructor({ id, label, series, log, height = 150, marks = false, named = false, layers = false }) {
    const right = named && !NARROW.matches ? 168 : 8;
    super({ id, label, height, margin: layers ? layerMargin(8) : { left: 52, right, top: 8, bottom: 22 } });
    Object.assign(this, { series, logged: log, marks, layers, named: layers || right > 100 });
  }

  paint(pen) {
    const lines = (this.lines = this.series());
    this.bins = lines.length ? lines[0].bins : null;
    const { left, top, width, height } = this.plot;
    const drawn = lines.map((line) => ({ line, points: this.points(line) }));
    const values = [];
    for (const { points } of drawn) for (const [, low, high] of points) values.push(low, high);
    const sound = values.filter(Number.isFinite);
    this.log = this.logged === "auto" ? sound.length > 1 && least(sound) > 0 && most(sound) / least(sound) > 50 : this.logged;
    const scaled = this.log ? sound.filter((v) => v > 0).map(Math.log10) : sound;
    let [low, high] = scaled.length ? [least(scaled), most(scaled)] : [0, 1];
    const room = (high - low) * 0.06 || Math.max(Math.abs(high) * 0.05, this.log ? 0.3 : 1e-12);
    [low, high] = [low - room, high + room];
    const y = (value) => top + height * (1 - ((this.log ? Math.log10(value) : value) - low) / (high - low));
    this.paintSteps(pen, true);
    this.grid(pen, low, high);
    pen.save();
    pen.beginPath();
    pen.rect(left, top - 2, width, height + 4);
    pen.clip();
    if (this.marks) this.alarms(pen);
    drawn.filter(({ line }) => !line.strong).forEach((each) => this.line(pen, each, y));
    drawn.filter(({ line }) => line.strong).forEach((each) => this.line(pen, each, y));
    pen.restore();
    if (this.named) this.names(pen, drawn, y);
  }

  // [x, low, high, last, broken] of each column or whole row that is seen.
  points(line) {
    if (line.points) return line.points.map(([step, value]) => [this.x(step), value, value, value, !Number.isFinite(value)]);
    const { bins, series } = line;
    const { block, index } = series;
    const out = [];
    const column = (step) => Math.floor(step / bins.width) - bins.start;
    const [from, to] = [Math.max(0, column(axis.low) - 1), Math.min(bins.used - 1, column(axis.high) + 1)];
    const wide = (this.plot.width / (axis.high - axis.low)) * bins.width > 3; // a column is seen as such
    const rows = bins.whole.rows;
    for (let c = from; c <= to; c++) {
      if (!bins.count[c]) continue;
      if (wide && bins.count[c] > 1) {
        const [a, b] = [bins.whole.indexOf(bins.first[c]), bins.whole.indexOf(bins.end[c] + 1)];
        if (b - a === bins.count[c]) {
          for (const row of rows.slice(a, b)) this.point(out, this.x(row.step), series.wide(row), bins.broken(row, series));
          continue;
        }
      }
      const at = index * block.columns + c;
      if (Number.isNaN(block.low[at]) && !block.bad[at]) continue;
      out.push([this.x(bins.count[c] > 1 ? (bins.first[c] + bins.end[c]) / 2 : bins.first[c]), block.low[at], block.high[at], block.last[at], block.bad[at] > 0]);
    }
    return out;
  }

  point(out, x, value, broken) {
    if (!Number.isNaN(value) || broken) out.push([x, value, value, value, broken]);
  }

  line(pen, { line, points }, y) {
    const { top, height } = this.plot;
    pen.strokeStyle = pen.fillStyle = line.ink;
    pen.lineWidth = line.strong ? 1.6 : 0.9;
    pen.globalAlpha = line.strong ? 1 : line.faint ? 0.35 : 0.85;
    pen.lineJoin = "round";
    pen.beginPath();
    let down = false;
    const to = (x, value) => {
      const at = y(value);
      if (!Number.isFinite(at)) return void (down = false);
      if (down) pen.lineTo(x, at);
      else pen.moveTo(x, at), (down = true);
    };
    const band = !this.layers || line.strong;
    if (band) {
      pen.globalAlpha *= this.layers ? 0.4 : 0.75;
      for (const [x, low, high] of points) {
        if (low === high || !Number.isFinite(low)) continue;
        down = false;
        to(x, this.log && low <= 0 ? high : low);
        to(x, high);
      }
      pen.stroke();
      pen.globalAlpha = 1;
      pen.beginPath();
      down = false;
    }
    for (const [x, , , last, broken] of points) {
      if (broken) down = false;
      else to(x, last);
    }
    pen.stroke();
    if (line.dots) for (const [x, , , last] of points) if (Number.isFinite(y(last))) pen.beginPath(), pen.arc(x, y(last), 3, 0, 7), pen.fill();
    pen.fillStyle = `rgb(${BROKEN.join(" ")})`;
    for (const [x, , , , broken] of points) if (broken) pen.fillRect(x - 1, top, 2.5, height);
    pen.globalAlpha = 1;
  }

  grid(pen, low, high) {
    const { left, top, width, height } = this.plot;
    let ticks = roundTicks(low, high, this.log);
    if (ticks.length > 7) ticks = ticks.filter((_, i) => i % Math.ceil(ticks.length / 6) === 0);
    pen.textAlign = this.layers ? "left" : "right";
    pen.textBaseline = "middle";
    for (const tick of ticks) {
      const at = top + height * (1 - (tick - low) / (high - low));
      pen.strokeStyle = INK.line;
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(left, at);
      pen.lineTo(left + width, at);
      pen.stroke();
      pen.fillStyle = INK.muted;
      pen.fillText(this.log ? (Number.isInteger(tick) ? "1e" + tick : number(10 ** tick)) : plain(tick), this.layers ? left + width + 6 : left - 6, at);
    }
  }

  alarms(pen) {
    for (const alarm of alarmsSeen()) {
      pen.strokeStyle = INK[alarm.severity] || INK.accent;
      pen.globalAlpha = 0.55;
      pen.lineWidth = 1;
      pen.setLineDash([3, 3]);
      pen.beginPath();
      pen.moveTo(this.x(alarm.step), this.plot.top);
      pen.lineTo(this.x(alarm.step), this.plot.top + this.plot.height);
      pen.stroke();
    }
    pen.setLineDash([]);
    pen.globalAlpha = 1;
  }

  // Names beside the ends of strong lines; of too many only some.
  names(pen, drawn, y) {
    const { left, top, width, height } = this.plot;
    let strong = drawn.filter(({ line, points }) => line.strong && points.length);
    const most = Math.floor(height / LABEL);
    if (strong.length > most) strong = strong.filter((_, i) => i % Math.ceil(strong.length / most) === 0);
    const near = (points) => (this.layers ? points.slice(0, Math.ceil(points.length / 10)) : points.slice(-1));
    const places = strong.map(({ line, points }) => ({ line, at: quantile(near(points).map((p) => y(p[3])).filter(Number.isFinite), 0.5) })).filter((place) => Number.isFinite(place.at));
    const [from, side] = this.layers ? [left - 1, -1] : [left + width + 1, 1];
    const room = Math.floor((this.layers ? left - 18 : this.margin.right - 16) / 6.4);
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
