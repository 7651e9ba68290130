// Numbers over steps in columns, as `bins.py` keeps them; rows that arrive are taken in the same way.

const NAN_BIT = 1;
const INFINITE_BIT = 2;
const PARTS = ["low", "high", "last", "bad"];

function unpacked(text, Type) {
  if (Uint8Array.fromBase64) return new Type(Uint8Array.fromBase64(text).buffer);
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new Type(bytes.buffer);
}

// Series over columns; the series' own columns lie side by side, with room for `columns` of them.
class Block {
  constructor(series, columns, Type, packed, places) {
    Object.assign(this, { series, columns, Type });
    for (const part of PARTS) {
      const PartType = part === "bad" ? Uint8Array : Type;
      this[part] = new PartType(series * columns).fill(part === "bad" ? 0 : NaN);
      const given = unpacked(packed[part], PartType);
      const n = places.length;
      const side = n > 0 && places[n - 1] === n - 1; // no column is empty
      for (let i = 0; i < series; i++) {
        if (side) this[part].set(given.subarray(i * n, (i + 1) * n), i * columns);
        else for (let k = 0; k < n; k++) this[part][i * columns + places[k]] = given[i * n + k];
      }
    }
  }

  add(column, values, brokenAt) {
    const { low, high, last, bad, columns } = this;
    for (let i = 0; i < this.series; i++) {
      const value = values[i];
      const at = i * columns + column;
      if (Number.isFinite(value)) {
        if (!(low[at] <= value)) low[at] = value;
        if (!(high[at] >= value)) high[at] = value;
        last[at] = value;
      } else if (!Number.isNaN(value)) (bad[at] |= INFINITE_BIT), (last[at] = value);
      else if (brokenAt(i)) (bad[at] |= NAN_BIT), (last[at] = NaN);
    }
  }

  // Column i goes to target(i); of two that meet the later one's last value counts.
  join(target, used) {
    const { low, high, last, bad, columns } = this;
    for (let i = 0; i < this.series; i++) {
      const base = i * columns;
      let to = -1;
      for (let from = 0; from < used; from++) {
        const [a, b] = [base + target(from), base + from];
        if (target(from) !== to) {
          to = target(from);
          for (const part of PARTS) this[part][a] = this[part][b];
          continue;
        }
        if (!(low[a] <= low[b]) && !Number.isNaN(low[b])) low[a] = low[b];
        if (!(high[a] >= high[b]) && !Number.isNaN(high[b])) high[a] = high[b];
        if (!Number.isNaN(last[b]) || bad[b]) last[a] = last[b];
        bad[a] |= bad[b];
      }
      for (const part of PARTS) this[part].fill(part === "bad" ? 0 : NaN, base + to + 1, base + used);
    }
  }
}

class Bins {
  constructor(data) {
    Object.assign(this, data); // names, statistics, scalars, columns, width, start, used, rows, lastStep
    const Type = data.dtype === "float64" ? Float64Array : Float32Array;
    const places = unpacked(data.at, Uint32Array); // columns with rows
    for (const [name, PartType] of [["count", Uint32Array], ["first", Float64Array], ["end", Float64Array], ["flagged", Uint8Array]]) {
      this[name] = new PartType(data.columns);
      unpacked(data[name], PartType).forEach((value, k) => (this[name][places[k]] = value));
    }
    this.numbers = new Block(data.scalars.length, data.columns, Float64Array, data.numbers, places);
    this.cells = new Block(data.names.length * data.statistics.length, data.columns, Type, data.cells, places);
    this.told = data.scalars.indexOf("nonfinite");
    this.measured = data.scalars.map((name) => name === "loss" || name === "grad_norm");
    this.whole = new Whole(data.whole, data.scalars.length, data.names.length * data.statistics.length, Type);
  }

  get firstStep() {
    return this.used ? this.first[0] : 0;
  }

  add(step, flagged, numbers, values) {
    while (Math.floor(step / this.width) - this.start >= this.columns) this.join();
    const column = Math.floor(step / this.width) - this.start;
    if (!this.count[column]) this.first[column] = step;
    this.end[column] = step;
    this.count[column]++;
    this.flagged[column] |= flagged ? 1 : 0;
    this.used = Math.max(this.used, column + 1);
    const wrong = this.told >= 0 && numbers[this.told] > 0;
    this.numbers.add(column, numbers, (i) => wrong && this.measured[i]);
    this.cells.add(column, values, (i) => wrong && this.recorded(i % this.statistics.length, values));
    this.whole.add({ step, flagged, numbers, values });
    this.rows++;
    this.lastStep = step;
  }

  // True where a whole row's value is not finite; NaN may also be a gap.
  broken(row, series) {
    const value = series.wide(row);
    if (Number.isFinite(value)) return false;
    if (!Number.isNaN(value)) return true;
    const told = this.told >= 0 && row.numbers[this.told] > 0;
    return told && (series.block === this.numbers ? this.measured[series.index] : this.recorded(series.index % this.statistics.length, row.values));
  }

  // A statistic that was not recorded at a step is NaN for all names.
  recorded(statistic, values) {
    if (this.statistics[statistic] === "grad_norm") return true;
    for (let i = statistic; i < values.length; i += this.statistics.length) if (!Number.isNaN(values[i])) return true;
    return false;
  }

  join() {
    const { start, used } = this;
    const target = (i) => Math.floor((start + i) / 2) - Math.floor(start / 2);
    this.numbers.join(target, used);
    this.cells.join(target, used);
    let to = -1;
    for (let i = 0; i < used; i++) {
      const [count, first, end, flagged] = [this.count[i], this.first[i], this.end[i], this.flagged[i]];
      if (target(i) !== to) {
        to = target(i);
        [this.count[to], this.first[to], this.end[to], this.flagged[to]] = [count, first, end, flagged];
        continue;
      }
      if (!this.count[to]) this.first[to] = first;
      if (count) this.end[to] = end;
      this.count[to] += count;
      this.flagged[to] |= flagged;
    }
    for (const name of ["count", "first", "end", "flagged"]) this[name].fill(0, to + 1, used);
    this.width *= 2;
    this.start = Math.floor(start / 2);
    this.used = to + 1;
  }

  // One series: { block, index, wide } where `wide` picks the same series out of a whole row.
  series(name, statistic) {
    const index = this.names.indexOf(name) * this.statistics.length + this.statistics.indexOf(statistic);
    return { block: this.cells, index, wide: (row) => row.values[index] };
  }

  scalar(name) {
    const index = this.scalars.indexOf(name);
    return index < 0 ? null : { block: this.numbers, index, wide: (row) => row.numbers[index] };
  }

  // The column of a step, or the last one with rows before it.
  columnAt(step) {
    let column = Math.min(Math.max(Math.floor(step / this.width) - this.start, 0), Math.max(this.used - 1, 0));
    while (column > 0 && !this.count[column]) column--;
    return column;
  }
}

// Rows around anomalies and the latest, as `whole.py` keeps them; by step.
class Whole {
  constructor(data, scalars, series, Type) {
    this.most = Math.max(64, Math.min(512, Math.floor((1 << 18) / Math.max(series, 1))));
    this.rows = [];
    this.latest = [];
    this.after = 0;
    const [steps, flagged] = [unpacked(data.steps, Float64Array), unpacked(data.flagged, Uint8Array)];
    const [numbers, values] = [unpacked(data.numbers, Float64Array), unpacked(data.values, Type)];
    steps.forEach((step, i) => this.rows.push({
      step, flagged: flagged[i] > 0,
      numbers: numbers.subarray(i * scalars, (i + 1) * scalars), values: values.subarray(i * series, (i + 1) * series),
    }));
    this.kept = new Set();
    this.latest = this.rows.slice(-Math.min(128, this.most));
    for (const row of this.rows.slice(0, -this.latest.length || undefined)) this.kept.add(row.step);
  }

  add(row) {
    this.rows.push(row);
    this.latest.push(row);
    if (row.flagged) this.mark(row.step);
    else if (this.after > 0) this.after--, this.keep(row);
    if (this.latest.length <= Math.min(128, this.most)) return;
    const gone = this.latest.shift();
    if (!this.kept.has(gone.step)) this.rows.splice(this.indexOf(gone.step), 1);
  }

  mark(step) {
    const at = this.latest.findIndex((row) => row.step >= step);
    if (at < 0) return;
    this.latest.slice(Math.max(0, at - 8), at + 9).forEach((row) => this.keep(row));
    this.after = Math.max(this.after, 9 - (this.latest.length - at));
  }

  keep(row) {
    if (this.kept.size < this.most) this.kept.add(row.step);
  }

  // Position of the first row at a step or after it.
  indexOf(step) {
    let [low, high] = [0, this.rows.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.rows[middle].step < step) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  at(step) {
    const row = this.rows[this.indexOf(step)];
    return row && row.step === step ? row : null;
  }
}
