// Following a run: the server sends what it knows, then what is new. Each message carries the
// number of its last record, so that a connection that broke goes on where it stood.

const link = { status: DATA.events ? "connecting" : "none", last: "", source: null };

function showLink(status) {
  link.status = status;
  const chip = document.getElementById("link");
  if (chip) chip.replaceWith(linkChip());
}

function linkChip() {
  if (link.status === "none") return null;
  const words = { connecting: t("connecting"), open: t("live"), lost: t("connection lost, trying again") };
  return h("span", { id: "link", class: "link-" + link.status, role: "status" }, words[link.status]);
}

function takeRows(message) {
  const bins = RUN.tables[message.table];
  const [steps, flagged, numbers] = [unpacked(message.steps, Float64Array), unpacked(message.flagged, Uint8Array), unpacked(message.numbers, Float64Array)];
  const values = unpacked(message.values, bins.cells.Type);
  const [n, series] = [bins.scalars.length, bins.cells.series];
  steps.forEach((step, i) => bins.add(step, flagged[i] > 0, numbers.subarray(i * n, (i + 1) * n), values.subarray(i * series, (i + 1) * series)));
  fresh.rows = true;
}

function takeNews(message) {
  for (const name of ["status", "verdict", "ok", "ending", "ranks", "meta", "damage"]) if (name in message) RUN[name] = message[name];
  Object.assign(DATA.zh, message.zh || {});
  for (const rows of message.rows || []) takeRows(rows);
  for (const event of message.events || []) {
    RUN.events.push(event);
    if (event.severity !== "info") for (const bins of Object.values(RUN.tables)) if (bins) bins.whole.mark(event.step);
  }
  RUN.findings.push(...(message.findings || []));
  RUN.shots.push(...(message.shots || []));
  if (Object.keys(message).some((name) => name !== "rows" && name !== "zh")) fresh.facts = true;
  if (message.shots) fresh.shots = true;
}

function connect() {
  const address = DATA.events + (link.last ? `?last=${encodeURIComponent(link.last)}` : "");
  const source = (link.source = new EventSource(address));
  const on = (name, take) => source.addEventListener(name, (event) => {
    link.last = event.lastEventId || link.last;
    take(JSON.parse(event.data));
    later();
  });
  on("state", (data) => (setRun(data), (fresh.all = true)));
  on("news", takeNews);
  source.onopen = () => showLink("open");
  source.onerror = () => {
    showLink("lost");
    // After a refusal the browser gives up; the server may be starting again.
    if (source.readyState === EventSource.CLOSED && link.source === source) setTimeout(connect, 1500);
  };
}

// A browser keeps few connections to one server: a page that nobody sees gives its own back.
const HIDDEN_MS = 20000;
let leaving = null;

document.addEventListener("visibilitychange", () => {
  clearTimeout(leaving);
  if (!DATA.events) return;
  if (document.hidden) leaving = setTimeout(() => (link.source?.close(), (link.source = null)), HIDDEN_MS);
  else if (!link.source) connect();
});

// --- Drawing what is new: a few times a second, whatever arrives.

const fresh = { rows: false, facts: false, shots: false, all: false };
const PAUSE = 250;
let due = null;

function later() {
  if (due === null) due = setTimeout(() => requestAnimationFrame(renew), PAUSE);
}

function renew() {
  due = null;
  const { rows, facts, shots, all } = { ...fresh };
  Object.assign(fresh, { rows: false, facts: false, shots: false, all: false });
  RUN.alarms = alarmsOf();
  if (all) return draw();
  const structure = facts && (RUN.alarms.length > 0) !== Boolean(document.getElementById("alarm-table"));
  const moved = rows && document.getElementById("over-time") && movingScalars() !== state.moving;
  if (shots || structure || moved || (facts && RUN.findings.length !== document.querySelectorAll("#findings .card").length)) return draw();
  spanAxis(...spanOfRun());
  document.getElementById("verdict")?.replaceWith(head());
  document.getElementById("layer-table")?.refresh(layerRows());
  if (facts) document.getElementById("alarm-table")?.refresh(RUN.alarms);
  if (facts) document.getElementById("meta")?.replaceWith(metaSection());
  redrawAll();
}
