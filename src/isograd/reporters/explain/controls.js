// Sliders with a number beside them, choices and buttons; each bound to a place in the state.

// On a log slider the handle moves in decades; the number field shows the value itself.
function slider({ id, name, of, field, key, min, max, step, log, whole, unit }) {
  const toHandle = (value) => (log ? Math.log10(value) : value);
  const fromHandle = (handle) => {
    const value = log ? 10 ** handle : handle;
    return whole ? Math.round(value) : log ? Number(value.toPrecision(3)) : value;
  };
  const label = (suffix) => ({ "aria-label": plainText(name) + suffix });
  const handle = h("input", { type: "range", id, step: log ? 0.01 : step, ...label("") });
  const digits = h("input", { type: "number", id: id + "-number", step: log ? "any" : step, ...label(" " + t("control.number")) });
  const set = (value, from) => {
    if (!Number.isFinite(value) || (log && value <= 0) || (whole && value < min)) return;
    of()[field] = whole ? Math.min(Math.round(value), max) : value;
    changed(key);
    if (from === digits) return;
    digits.value = of()[field];
  };
  handle.addEventListener("input", () => set(fromHandle(handle.valueAsNumber), handle));
  digits.addEventListener("input", () => set(digits.valueAsNumber, digits));
  digits.addEventListener("change", () => (digits.value = of()[field]));
  watch([key], () => {
    const value = of()[field];
    handle.min = Math.min(toHandle(min), toHandle(value)); // a number typed in may lie outside
    handle.max = Math.max(toHandle(max), toHandle(value));
    handle.value = toHandle(value);
    handle.setAttribute("aria-valuetext", number(value) + (unit || ""));
    if (document.activeElement !== digits) digits.value = value;
  });
  return h("div", { class: "slider" }, h("label", { for: id }, rich(name)), handle, digits);
}

const plainText = (name) => name.replace(/[$`*{}]/g, "");

function choice({ id, name, of, field, key, options, then }) {
  const node = h("select", { id }, options.map(([value, shown]) => h("option", { value, selected: of()[field] === value }, shown)));
  node.addEventListener("change", () => {
    of()[field] = node.value;
    if (then) then();
    changed(key);
  });
  watch([key], () => (node.value = of()[field]));
  return h("label", { class: "choice" }, rich(name), " ", node);
}

const button = (id, name, onclick) => h("button", { type: "button", id, onclick }, name);

const activationOptions = (names = Object.keys(ACTIVATIONS)) =>
  names.map((id) => [id, id === "linear" ? t("activation.linear") : ACTIVATIONS[id].name]);

const activationChoice = (id, of, key, names) =>
  choice({ id, name: t("control.activation"), of, field: "activation", key, options: activationOptions(names) });
