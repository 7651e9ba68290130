// The page: sections in reading order; built again when the language or the width class changes.

const state = {
  lang: DATA.lang,
  theme: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light",
  preset: "drawn",
  drawn: 4, // a median one: neuron 4 is 786 times as fast as neuron 1
  chain: { cost: "square" },
  ripple: { eps: 0.1 },
  condition: { w: 8, b: -4 },
  draws: { activation: "sigmoid", depth: 3, sigma: 1, seed: 1 },
  wide: { activation: "sigmoid", width: 30, depth: 10, scale: "fan", seed: 1 },
  training: { activation: "linear", depth: 8, start: 0.6, target: 4, rate: 0.01, seed: 1, step: STEPS },
};

function header() {
  const icon = () => (state.theme === "dark" ? "☀" : "☾");
  const theme = button("theme", icon(), () => {
    state.theme = state.theme === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = state.theme;
    theme.textContent = icon();
  });
  theme.setAttribute("aria-label", t("control.theme"));
  const other = state.lang === "zh" ? "en" : "zh";
  const language = button("language", other === "en" ? "English" : "中文", () => {
    state.lang = other;
    draw();
    document.getElementById("language").focus();
  });
  language.setAttribute("lang", other === "en" ? "en" : "zh-CN");
  return h("header", {}, h("div", { class: "brand" }, h("b", {}, "isograd"), h("span", {}, "explain")), h("div", { class: "buttons" }, language, theme));
}

function lead() {
  return h("div", { class: "verdict lead" }, h("h1", {}, t("page.title")), h("p", { class: "formula" }, rich(t("product.formula"))), text("page.lead"));
}

function showLoose() {
  const points = Array.from({ length: 7 }, (_, i) => h("li", {}, rich(t(`loose.${i + 1}`))));
  return section("loose", text("loose.what"), h("ul", { class: "points" }, points));
}

function showReal() {
  return section("real", text("real.what"), h("pre", {}, "isograd demo\nisograd check FILE.py:target\nisograd explain G101"), text("real.more"), hint("real.sources"));
}

function draw() {
  stopPlaying();
  hideTip();
  watchers = [];
  document.documentElement.lang = state.lang === "zh" ? "zh-CN" : "en";
  document.title = "isograd · " + t("page.title");
  const sections = [showChain, showProduct, showRipple, showSlope, showCondition, showDraws, showWide, showTraining, showLoose, showReal].map((show) => show());
  const links = sections.map((part) => h("a", { href: "#" + part.id }, t(part.id + ".short")));
  document.getElementById("app").replaceChildren(header(), lead(), h("nav", { "aria-label": t("page.sections") }, links), h("main", {}, sections));
}

NARROW.addEventListener("change", draw);
usePreset();
draw();
