// Gradient descent on a chain, step by step: weights grow until factors pass 1.

const STEPS = 200;
const SECONDS = 6; // that a whole training takes to play

let playing = 0; // id of the frame asked for, 0 when still

function stopPlaying() {
  cancelAnimationFrame(playing);
  playing = 0;
}

function trainingPlots(run, { depth, step, rate }) {
  const axis = { low: 0, high: STEPS, name: t("training.step") };
  const cursor = { at: step, kind: "muted" };
  const at = run.loss.map((_, i) => i);
  const clipped = (value) => Math.min(Math.max(value, 1e-6), 1e6);
  const [low, high] = closely(run.factors.flat().map((v) => Math.min(Math.max(v, 1e-3), 1e3)));
  const ramp = (j) => (depth > 1 ? j / (depth - 1) : 0);
  const layers = Array.from({ length: depth }, (_, j) => ({ kind: "layer" + Math.round(4 * ramp(j)), name: depth <= 4 || j === 0 || j === depth - 1 ? t("training.factor", { j: j + 1 }) : "", points: at.map((i) => [i, run.factors[i][j]]) }));
  const factorsPlot = plot({ id: "training-factors", label: t("training.factorsPlot"), x: axis, y: { low, high, log: true, name: t("training.factors") }, lines: layers, rules: [cursor, { level: 1, kind: "muted" }] });
  const [bottom, top] = decades([...run.loss.map((v) => Math.max(v, 1e-6)), ...run.sharpness, 2 / rate].map(clipped));
  const lossPlot = plot({ id: "training-loss", label: t("training.lossPlot"), x: axis, y: { low: bottom, high: top, log: true, name: "" },
    lines: [{ kind: "first", name: t("training.loss"), points: at.map((i) => [i, Math.max(run.loss[i], 1e-12)]) }, { kind: "last", name: t("training.sharpness"), points: at.map((i) => [i, run.sharpness[i]]) }],
    rules: [cursor, { level: 2 / rate, kind: "good", name: t("training.limit") }] });
  return [factorsPlot, lossPlot];
}

function trainingNote(run, { step, rate }) {
  const i = Math.min(step, run.loss.length - 1);
  const above = run.factors[i].filter((factor) => factor >= 1).length;
  const values = { step: i, loss: number(run.loss[i], 3), product: number(run.factors[i].reduce((p, v) => p * v, 1), 3), above, of: run.factors[i].length, sharpness: number(run.sharpness[i], 3), limit: number(2 / rate, 3) };
  return t("training.note", values) + (run.broken && i === run.loss.length - 1 ? " " + t("training.broken") : "");
}

function showTraining() {
  const of = () => state.training;
  let run = null;
  watch(["training"], () => (run = trainChain({ ...state.training, steps: STEPS })));
  const play = button("play", t("training.play"), () => {
    if (playing) return stopPlaying(), (play.textContent = t("training.play"));
    const from = state.training.step >= STEPS ? 0 : state.training.step;
    if (STILL.matches) return (state.training.step = STEPS), changed("training-step");
    const began = performance.now() - (from / STEPS) * SECONDS * 1000;
    play.textContent = t("training.pause");
    const frame = (now) => {
      state.training.step = Math.min(STEPS, Math.max(0, Math.round(((now - began) / SECONDS / 1000) * STEPS)));
      changed("training-step");
      if (state.training.step < STEPS) playing = requestAnimationFrame(frame);
      else (playing = 0), (play.textContent = t("training.play"));
    };
    playing = requestAnimationFrame(frame);
  });
  const knob = (id, name, field, options) => slider({ id: "training-" + id, name: t(name), of, field, key: "training", ...options });
  return section("training", text("training.what"), text("training.edge"),
    h("div", { class: "tools" }, activationChoice("training-activation", of, "training", ["linear", "tanh", "relu", "sigmoid", "gelu"]), play,
      button("training-again", t("control.again"), () => (state.training.seed++, changed("training")))),
    knob("depth", "training.depth", "depth", { min: 2, max: 12, step: 1, whole: true }), knob("start", "training.start", "start", { min: 0.1, max: 2, step: 0.01 }),
    knob("target", "training.target", "target", { min: 0.1, max: 10, step: 0.1 }), knob("rate", "training.rate", "rate", { min: 0.001, max: 0.3, log: true }),
    slider({ id: "training-step", name: t("training.step"), of, field: "step", key: "training-step", min: 0, max: STEPS, step: 1, whole: true }),
    live(["training", "training-step"], "div", { class: "two" }, () => trainingPlots(run, state.training)),
    live(["training", "training-step"], "p", { class: "note", id: "training-note" }, () => rich(trainingNote(run, state.training))));
}
