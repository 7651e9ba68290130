"use strict";
// Data, state, language, numbers and DOM helpers. Text reaches the page only through text nodes.

const DATA = JSON.parse(document.getElementById("data").textContent);
const DIAGNOSIS = DATA.diagnosis || null; // the page of a run has none, and looks at several snapshots
let SNAPSHOT = DIAGNOSIS && DIAGNOSIS.snapshot;

const state = {
  lang: DATA.lang,
  theme: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light",
  parameter: DATA.slowest,
  fold: true,
};

// --- Language: `t` for text of this page, `said` for text that rules and measurements wrote.

function t(key, values) {
  let text = state.lang === "zh" && Object.hasOwn(DATA.zh, key) ? DATA.zh[key] : key;
  if (values) text = text.replace(/\{(\w+)\}/g, (all, name) => (name in values ? String(values[name]) : all));
  return text;
}

function said(text) {
  return state.lang === "zh" && Object.hasOwn(DATA.zh, text) ? DATA.zh[text] : text;
}

// A path that is only a number gets the class of the module.
const placeName = (path) => (!path ? t("(top level)") : Object.hasOwn(DATA.classes, path) ? `${path} (${DATA.classes[path]})` : path);
const kindName = (kind) => t(DATA.kind_names[kind] || kind);

// --- Numbers: JSON has no NaN, so they travel as strings; shown with three significant digits.

function real(value) {
  if (typeof value !== "string") return value === null || value === undefined ? NaN : value;
  return { nan: NaN, inf: Infinity, "-inf": -Infinity }[value];
}

function number(value) {
  value = real(value);
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e5) return value.toExponential(2).replace("e+", "e");
  return size >= 999.5 ? String(Number(value.toPrecision(3))) : value.toPrecision(3);
}

function plain(value) {
  value = real(value);
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return String(value);
  if (!Number.isFinite(value)) return number(value);
  const short = Number(value.toPrecision(3));
  return size < 1e-4 || size >= 1e6 ? short.toExponential().replace("e+", "e") : String(short);
}

function signed(value) {
  if (!Number.isFinite(value)) return value === Infinity ? "+inf" : number(value);
  const text = value.toFixed(Math.abs(value) >= 9.995 ? 1 : 2);
  return Number(text) === 0 ? "0.00" : value > 0 ? "+" + text : text;
}

const percent = (share) => (Number.isFinite(real(share)) ? Math.round(100 * real(share)) + " %" : "–");
const times = (ratio) => (Number.isFinite(real(ratio)) ? number(ratio) + "×" : number(ratio));
const log10 = (value) => (real(value) > 0 ? Math.log10(real(value)) : NaN);
const finite = (values) => values.filter(Number.isFinite);

// Extremes without spreading the array, which fails beyond about 1e5 arguments.
const least = (values, start = Infinity) => values.reduce((a, b) => Math.min(a, b), start);
const most = (values, start = -Infinity) => values.reduce((a, b) => Math.max(a, b), start);

// --- DOM

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, item] of Object.entries(value)) node.style.setProperty(key, item);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) {
      node.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
  }
  return node;
}

const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

// Text that gives way at its front, where a path says least.
const tail = (tag, attributes, text) => h(tag, { ...attributes, title: text, class: `${attributes.class || ""} tail` }, h("bdi", { dir: "ltr" }, text));

// Names between backticks, as code.
function rich(text) {
  return text.split(/`([^`]+)`/).map((part, i) => (i % 2 ? h("code", {}, part) : part));
}

function section(id, title, ...children) {
  return h("section", { id, "aria-labelledby": id + "-title" }, h("h2", { id: id + "-title" }, title), ...children);
}

// --- Tooltip: one for the page, for pointer and keyboard; it stays inside the window.

const tip = document.getElementById("tip");

let tipAnchor = null; // set while the tooltip belongs to the keyboard focus, and so follows scrolling

function showTip(anchor, content, x) {
  tip.replaceChildren(content);
  tip.hidden = false;
  tipAnchor = x === undefined ? anchor : null;
  placeTip(anchor, x);
}

function placeTip(anchor, x) {
  const box = anchor.getBoundingClientRect();
  const left = x === undefined ? box.left + box.width / 3 : x + 14;
  const top = box.bottom + 6 + tip.offsetHeight < innerHeight ? box.bottom + 6 : Math.max(4, box.top - tip.offsetHeight - 6);
  tip.style.left = Math.max(4, Math.min(left, innerWidth - tip.offsetWidth - 8)) + "px";
  tip.style.top = top + "px";
}

function hideTip() {
  tip.hidden = true;
}

addEventListener("scroll", () => (tipAnchor && !tip.hidden ? placeTip(tipAnchor) : hideTip()), { passive: true, capture: true });
addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
