// Full measurements of single steps: the decades by cause over time, and one step's chain.

function causeLines() {
  const kinds = [...new Set(RUN.shots.flatMap((shot) => Object.keys(shot.kinds)))];
  const lines = kinds.map((kind) => ({ name: kindName(kind), ink: INK["k-" + kind], strong: true, dots: true, points: RUN.shots.map((shot) => [shot.step, real(shot.kinds[kind] ?? 0)]) }));
  return [...lines, { name: t("all together"), ink: INK.text, strong: true, dots: true, points: RUN.shots.map((shot) => [shot.step, real(shot.total)]) }];
}

const viewed = () => RUN.shots.filter((shot) => shot.view);

function currentShot() {
  const known = viewed();
  return known.find((shot) => shot.step === state.shot) || known.at(-1);
}

function chooseShot(step) {
  const focused = document.activeElement?.id;
  state.shot = step;
  document.getElementById("shot")?.replaceWith(shotPart());
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

function shotPart() {
  const shot = currentShot();
  const known = viewed();
  const at = known.indexOf(shot);
  const { view } = shot;
  Object.assign(DATA, { classes: view.classes, slowest: view.slowest, main: view.main, speeds: view.speeds });
  lookAt(view.snapshot);
  const select = h("select", { id: "shot-step", onchange: () => chooseShot(Number(select.value)) }, known.map((each) => h("option", { value: each.step, selected: each === shot }, stepText(each.step))));
  const beside = (sign, label, to) => h("button", { type: "button", id: to > at ? "shot-next" : "shot-before", "aria-label": label, disabled: !known[to], onclick: () => chooseShot(known[to].step) }, sign);
  if (!LEAVES.has(state.parameter)) state.parameter = view.slowest;
  const parameter = h("select", { id: "parameter", onchange: () => ((state.parameter = parameter.value), chooseShot(shot.step)) },
    [...LEAVES.keys()].map((name) => h("option", { value: name, selected: name === state.parameter }, name)));
  const tools = h("div", { class: "tools" }, h("label", {}, t("step"), " ", select), beside("←", t("measurement before"), at - 1), beside("→", t("next measurement"), at + 1),
    LEAVES.size ? h("label", {}, t("parameter"), " ", parameter) : null, h("span", { class: "count" }, `${t("loss")} ${number(shot.loss)}`));
  if (!LEAVES.size) return h("div", { id: "shot" }, tools, h("p", {}, t("no gradient reached any parameter, so there is no product to take apart")));
  const links = shownChain(state.parameter);
  const kinds = decadesBy(links, (link) => link.kind, kindName);
  kinds.forEach((entry) => (entry.kind = entry.id));
  return h("div", { id: "shot" }, tools,
    h("p", { class: "count" }, rich(t(links.length === 1 ? "{n} link, " : "{n} links, ", { n: links.length }) + ending(state.parameter, links))), waterfall(links),
    h("h3", {}, t("decades by kind")), divergingBars(kinds),
    view.snapshot.layers.length ? [h("h3", {}, t("learning speed of each layer")), speedBars(view.snapshot.layers)] : null);
}

function shotSection() {
  if (!RUN.shots.length) return null;
  const lines = new Lines({ id: "causes", label: t("decades by cause over the training"), series: causeLines, log: false, height: 220, named: true });
  const legend = h("p", { class: "legend" }, [...new Set(RUN.shots.flatMap((shot) => Object.keys(shot.kinds)))].map((kind) => h("span", {}, h("i", { class: "swatch k-" + kind }), kindName(kind))));
  return section("causes-over-time", t("decades by cause over time"),
    h("p", { class: "hint" }, t("Along the chain to the first layer: below 0 a cause makes the gradient smaller, above 0 larger.")), legend, lines.box,
    viewed().length ? [h("h3", {}, t("the chain at one step")), shotPart()] : null);
}
