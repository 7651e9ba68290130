// Alarms and findings: a strip on the axis of steps, and a table.

const SHAPES = {
  error: (pen, x, y) => (pen.moveTo(x, y - 7), pen.lineTo(x + 7, y + 6), pen.lineTo(x - 7, y + 6)),
  warning: (pen, x, y) => (pen.moveTo(x, y - 7), pen.lineTo(x + 6, y), pen.lineTo(x, y + 7), pen.lineTo(x - 6, y)),
  info: (pen, x, y) => pen.arc(x, y, 4, 0, 7),
};
const SEVERITIES = ["error", "warning", "info"];

// All that has a step, in its order.
function alarmsOf() {
  const found = RUN.findings.filter((finding) => finding.step > 0).map((finding) => ({
    step: finding.step, name: finding.code, message: finding.title, severity: finding.severity, parameter: finding.where[0] || null, time: 0, data: {},
  }));
  return [...RUN.events.filter((event) => event.step >= 0 && event.name !== "cost"), ...found].sort((a, b) => a.step - b.step);
}

const alarmsSeen = () => RUN.alarms.filter((alarm) => alarm.severity !== "info" && alarm.step >= axis.low && alarm.step <= axis.high).slice(0, 400);

class Strip extends Picture {
  constructor() {
    super({ id: "strip", label: t("alarms on the axis of steps"), height: 46, margin: { left: 52, right: 8, top: 2, bottom: 22 } });
  }

  paint(pen) {
    this.bins = RUN.tables.steps;
    const { left, top, width, height } = this.plot;
    pen.fillStyle = INK.soft;
    pen.fillRect(left, top, width, height);
    this.paintSteps(pen, true);
    const middle = top + height / 2;
    const seen = RUN.alarms.filter((alarm) => alarm.step >= axis.low && alarm.step <= axis.high);
    for (const severity of [...SEVERITIES].reverse()) {
      let free = -Infinity;
      for (const alarm of seen) {
        const x = this.x(alarm.step);
        if (alarm.severity !== severity || x < free) continue; // one above another says no more
        free = x + 3;
        pen.beginPath();
        SHAPES[severity](pen, x, middle);
        pen.closePath();
        pen.fillStyle = INK[severity] || INK.accent;
        pen.strokeStyle = INK.card;
        pen.lineWidth = 1;
        pen.fill();
        pen.stroke();
      }
    }
  }

  describe(step) {
    const reach = ((axis.high - axis.low) / this.plot.width) * 8;
    const near = RUN.alarms.filter((alarm) => Math.abs(alarm.step - step) <= reach);
    if (!near.length) return [[t("step"), stepText(step)], ["", t("no alarm here")]];
    const shown = near.slice(0, 6).map((alarm) => [`${stepText(alarm.step)} ${alarm.name}`, said(alarm.message) + (alarm.parameter ? ` (${alarm.parameter})` : "")]);
    return near.length > 6 ? [...shown, ["", t("and {n} more", { n: near.length - 6 })]] : shown;
  }

  // Arrows go from alarm to alarm.
  key(event) {
    const direction = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!direction || !RUN.alarms.length) return super.key(event);
    const from = axis.cursor ?? (direction > 0 ? -1 : Infinity);
    const steps = RUN.alarms.map((alarm) => alarm.step);
    const next = direction > 0 ? steps.find((step) => step > from) : steps.findLast((step) => step < from);
    this.look(next ?? steps.at(direction > 0 ? -1 : 0));
    event.preventDefault();
  }

  click(event) {
    const near = RUN.alarms.reduce((best, alarm) => (Math.abs(this.x(alarm.step) - this.x(axis.cursor)) < Math.abs(this.x(best.step) - this.x(axis.cursor)) ? alarm : best), RUN.alarms[0]);
    if (near && Math.abs(this.x(near.step) - this.x(axis.cursor)) < 9) goTo(near);
    void event;
  }
}

// An alarm's surroundings: some columns, or the rows that were kept whole.
function goTo(alarm) {
  const bins = RUN.tables.steps;
  const around = Math.max(20, bins && !bins.whole.at(alarm.step) ? 4 * bins.width : 0);
  zoomTo(alarm.step - around, alarm.step + around);
  moveCursor(alarm.step);
  if (alarm.parameter) {
    const name = nameOf(alarm.parameter);
    if (name && !state.chosen.has(name)) toggleChosen(name);
  }
}

// A row of the heat map that an alarm means: the name itself, or the first below it.
function nameOf(place) {
  const names = RUN.tables.steps ? RUN.tables.steps.names : [];
  return names.includes(place) ? place : names.find((name) => name.startsWith(place + "."));
}

function alarmTable() {
  const began = RUN.tables.steps ? RUN.began : 0;
  return sortableTable({ id: "alarm-table", label: t("alarms"), rows: RUN.alarms, columns: [
    figure(t("step"), (alarm) => alarm.step, (alarm) => h("button", { type: "button", class: "link", onclick: () => (goTo(alarm), document.getElementById("over-time").scrollIntoView()) }, stepText(alarm.step))),
    words(t("severity"), (alarm) => t(alarm.severity), (alarm) => h("span", { class: "severity " + alarm.severity }, { error: "▲ ", warning: "◆ ", info: "● " }[alarm.severity], t(alarm.severity))),
    words(t("alarm"), (alarm) => alarm.name, (alarm) => h("b", {}, alarm.name)),
    words(t("layer"), (alarm) => alarm.parameter || "", (alarm) => (alarm.parameter ? h("code", {}, alarm.parameter) : "–")),
    words(t("what it says"), (alarm) => said(alarm.message), (alarm) => h("span", { class: "wraps" }, rich(said(alarm.message)))),
    figure(t("time since the start"), (alarm) => (alarm.time && began ? alarm.time - began : NaN), (alarm) => (alarm.time && began ? duration(alarm.time - began) : "–")),
  ] });
}
