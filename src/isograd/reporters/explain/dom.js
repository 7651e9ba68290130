"use strict";
// Language, numbers, mathematics and DOM helpers. Text reaches the page only through text nodes.

const DATA = JSON.parse(document.getElementById("data").textContent);
const LANGUAGES = ["en", "zh"];
const STILL = matchMedia("(prefers-reduced-motion: reduce)");
const NARROW = matchMedia("(max-width: 640px)");

// --- Language: a text is a pair, English and Chinese.

function t(id, values) {
  const text = DATA.texts[id][LANGUAGES.indexOf(state.lang)];
  return values ? text.replace(/\{(\w+)\}/g, (all, name) => (name in values ? String(values[name]) : all)) : text;
}

// --- Numbers: four significant digits, as few zeros as the size allows.

function number(value, digits = 4) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "–" : value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e6) {
    const [digitsShown, exponent] = value.toExponential(digits - 1).split("e");
    return `${digitsShown.replace("-", "−")}×${power(Number(exponent))}`;
  }
  const text = value.toPrecision(digits);
  return (text.includes("e") ? String(Number(text)) : text).replace("-", "−");
}

// Without trailing zeros: what was set by hand, and ticks.
const plain = (value) => number(value).replace(/(\.\d*?)0+(?=×|$)/, "$1").replace(/\.(?=×|$)/, "");
const percent = (share) => number(100 * share, 3) + " %";
const signed = (value) => (Number.isFinite(value) ? (value > 0 ? "+" : "") + value.toFixed(2).replace("-", "−") : number(value));
const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";
const power = (n) => "10" + String(n).replace("-", "⁻").replace(/\d/g, (digit) => RAISED[digit]);

// --- DOM

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, item] of Object.entries(value)) node.style.setProperty(key, item);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) node.append(child instanceof Node ? child : String(child));
  }
  return node;
}

const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

// Between backticks code, between dollars mathematics, between asterisks emphasis.
function rich(text) {
  return text.split(/(`[^`]+`|\$[^$]+\$|\*[^*]+\*)/).map((part) =>
    part[0] === "`" ? h("code", {}, part.slice(1, -1)) : part[0] === "$" ? math(part.slice(1, -1)) : part[0] === "*" ? h("b", {}, part.slice(1, -1)) : part);
}

// In one font whatever the page's language. Single letters are variables and slanted, words upright; _ lowers and ^ raises a letter, a number or {...}.
function math(text) {
  return h("span", { class: "math", lang: "en" }, [...text.matchAll(/([_^])(?:\{([^}]*)\}|(\w))|([A-Za-zα-ωσ]+)|([^_^A-Za-zα-ω]+)/g)].map(([, shift, group, one, word, other]) => {
    if (shift) return h(shift === "_" ? "sub" : "sup", {}, letters(group ?? one));
    return word ? letters(word) : other;
  }));
}

function letters(text) {
  return text.split(/([A-Za-zα-ω]+)/).map((part) => (/^[A-Za-zα-ω]$/.test(part) ? h("i", {}, part) : part));
}

const text = (id, values) => h("p", {}, rich(t(id, values)));
const hint = (id, values) => h("p", { class: "hint" }, rich(t(id, values)));
const note = (id, values) => h("p", { class: "note" }, rich(t(id, values)));

function section(id, ...children) {
  const title = h("h2", { id: id + "-title" }, rich(t(id + ".title")));
  return h("section", { id, "aria-labelledby": id + "-title" }, title, ...children);
}

// --- State: whoever shows something watches what it depends on.

let watchers = [];

function watch(keys, update) {
  watchers.push([keys, update]);
  update();
}

function changed(...keys) {
  hideTip();
  for (const [watched, update] of [...watchers]) if (watched.some((key) => keys.includes(key))) update();
}

// A place that is filled again whenever one of the keys changes.
function live(keys, tag, attributes, make) {
  const node = h(tag, attributes);
  watch(keys, () => node.replaceChildren(...[make()].flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false)));
  return node;
}

// --- Tooltip: one for the page, inside the window.

const tip = document.getElementById("tip");

function showTip(anchor, content, x) {
  tip.replaceChildren(content);
  tip.hidden = false;
  const box = anchor.getBoundingClientRect();
  const below = box.bottom + 6 + tip.offsetHeight < innerHeight;
  tip.style.top = (below ? box.bottom + 6 : Math.max(4, box.top - tip.offsetHeight - 6)) + "px";
  tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - tip.offsetWidth - 8)) + "px";
}

function hideTip() {
  tip.hidden = true;
}

addEventListener("scroll", hideTip, { passive: true, capture: true });
addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
