// One finding as a card: what, where, the numbers behind it, what to do.

function findingCard(finding) {
  const labels = [finding.cause === "none" ? null : t("cause: {cause}", { cause: t(finding.cause) }),
    real(finding.confidence) < 1 ? t("confidence {percent} %", { percent: Math.round(100 * real(finding.confidence)) }) : null,
    finding.step ? t("step {n}", { n: finding.step }) : null].filter(Boolean);
  const places = finding.where.slice(0, 6).map((name) => h("code", {}, placeName(name)));
  if (finding.where.length > 6) places.push(t("and {n} more", { n: finding.where.length - 6 }));
  if (finding.source) places.push(h("code", { class: "source" }, finding.source));
  const columns = [words(t("evidence"), (e) => said(e.name)), figure(t("value"), (e) => e.value, (e) => `${plain(e.value)} ${said(e.unit)}`),
    figure(t("threshold"), (e) => e.threshold, (e) => (e.threshold === null ? "" : plain(e.threshold))), words(t("how measured"), (e) => said(e.how))];
  return h("article", { class: "card " + finding.severity }, h("h3", {}, h("span", { class: "code" }, finding.code), " ", rich(said(finding.title))),
    h("p", { class: "labels" }, h("span", { class: "severity" }, t(finding.severity)), labels.map((label) => h("span", {}, label))),
    places.length ? h("p", { class: "places" }, places) : null,
    finding.evidence.length ? fixedTable(columns, finding.evidence) : null,
    finding.advice.length ? h("ul", { class: "advice" }, finding.advice.map((text) => h("li", {}, rich(said(text))))) : null);
}
