// The axis of steps that all pictures share: what part is seen, and which step is looked at.

const axis = { low: 0, high: 1, whole: true, cursor: null, first: 0, last: 1 };
const LEAST_SPAN = 8; // steps

// The steps there are; while all of them are seen, the view grows with them.
function spanAxis(first, last) {
  axis.first = first;
  axis.last = Math.max(last, first + 1);
  if (axis.whole) [axis.low, axis.high] = [axis.first, axis.last];
}

function zoomTo(low, high) {
  const middle = (low + high) / 2;
  const span = Math.max(high - low, Math.min(LEAST_SPAN, axis.last - axis.first));
  low = Math.max(axis.first, Math.min(middle - span / 2, axis.last - span));
  high = Math.min(axis.last, low + span);
  axis.whole = low <= axis.first && high >= axis.last;
  [axis.low, axis.high] = [low, high];
  redrawAll();
}

const zoomOut = () => zoomTo(axis.first, axis.last);

function zoomBy(factor, around = axis.cursor ?? (axis.low + axis.high) / 2) {
  const share = Math.min(1, Math.max(0, (around - axis.low) / (axis.high - axis.low)));
  const span = (axis.high - axis.low) * factor;
  zoomTo(around - share * span, around + (1 - share) * span);
}

function moveCursor(step) {
  axis.cursor = step === null ? null : Math.min(Math.max(Math.round(step), axis.first), axis.last);
  if (axis.cursor !== null && (axis.cursor < axis.low || axis.cursor > axis.high)) {
    const span = axis.high - axis.low;
    zoomTo(axis.cursor - span / 2, axis.cursor + span / 2);
  }
  for (const picture of pictures) picture.drawCursor();
}

// The next step at which something is shown: a whole row, or the end of a column.
function neighbour(bins, step, direction) {
  if (!bins || !bins.used) return step;
  const { rows } = bins.whole;
  let column = bins.columnAt(step);
  const at = bins.whole.indexOf(step);
  const beside = rows[direction > 0 ? (rows[at]?.step === step ? at + 1 : at) : at - 1];
  if (beside && Math.abs(beside.step - step) <= bins.width) return beside.step;
  do column += direction;
  while (column >= 0 && column < bins.used && !bins.count[column]);
  if (column < 0) return bins.first[0];
  if (column >= bins.used) return bins.lastStep;
  return bins.end[column];
}

// Round steps for the labels of an axis.
function stepTicks(low, high, room) {
  const step = Math.max(1, roundStep((high - low) / Math.max(room, 1), 1));
  const ticks = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) ticks.push(i * step);
  return ticks;
}

const stepText = (step) => String(Math.round(step)).replace(/\B(?=(\d{3})+(?!\d))/g, "\u2009");
