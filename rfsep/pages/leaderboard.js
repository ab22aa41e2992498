// The boards: sorting, filters, curves brought out, and the signals of a submission.
const data = JSON.parse(document.querySelector("#data").textContent);
const still = matchMedia("(prefers-reduced-motion: reduce)");

// The element's content in a button, for elements that do something only where scripts run.
function asButton(element, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...element.childNodes);
  element.append(button);
  button.addEventListener("click", act);
  return button;
}

function filters(board) {
  const form = board.querySelector(".controls");
  const table = board.querySelector(".scores");
  const rows = [...table.tBodies[0].rows];
  const { find, kind, view } = form.elements;
  form.hidden = false;
  function apply() {
    const text = find.value.trim().toLowerCase();
    rows.forEach((row) => {
      row.hidden = !row.dataset.name.toLowerCase().includes(text) || (kind.value && row.dataset.kind !== kind.value);
    });
    table.dataset.view = view.value;
    form.querySelector("output").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  }
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();
  sortable(table);
}

// Choosing names in a legend brings their curves out in every figure of the board; pointing at one does for a while.
function curves(board) {
  const parts = [...board.querySelectorAll("[data-separator], [data-of]")];
  const nameOf = (part) => part.dataset.separator ?? part.dataset.of;
  const chosen = new Set();
  const buttons = [];
  function show(names) {
    board.classList.toggle("focus", names.size > 0);
    parts.forEach((part) => part.classList.toggle("on", names.has(nameOf(part))));
    buttons.forEach(([button, name]) => button.setAttribute("aria-pressed", chosen.has(name)));
  }
  const point = (name) => show(new Set([...chosen, name]));
  board.querySelectorAll("[data-pick]").forEach((item) => {
    const name = item.dataset.pick;
    const button = asButton(item, () => {
      if (!chosen.delete(name)) chosen.add(name);
      show(chosen);
    });
    buttons.push([button, name]);
    button.addEventListener("mouseenter", () => point(name));
    button.addEventListener("mouseleave", () => show(chosen));
  });
  parts.forEach((part) => {
    const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
    title.textContent = nameOf(part);
    part.prepend(title);
    part.addEventListener("mouseenter", () => point(nameOf(part)));
    part.addEventListener("mouseleave", () => show(chosen));
  });
  show(chosen);
}

function inside(board, { types, rows }) {
  const section = board.querySelector(".inside");
  const get = (name) => section.querySelector(`[name="${name}"]`);
  const [row, type, part, from, zoom, mixed] = ["row", "type", "part", "from", "zoom", "mixed"].map(get);
  const canvas = (name) => section.querySelector(`[data-picture="${name}"]`);
  let shown = null; // the waveforms that are drawn

  function drawWave() {
    if (!shown) return;
    const style = getComputedStyle(section);
    const colour = (name) => style.getPropertyValue(name).trim();
    const length = shown.truth.length / 2;
    const count = Math.round(length ** (1 - zoom.value / 100) * Math.min(24, length) ** (zoom.value / 100));
    from.max = length - count;
    const start = Math.min(Math.round(+from.value), length - count);
    const lines = [
      { waveform: shown.truth, colour: colour("--ink"), width: 1.6 },
      { waveform: shown.estimate, colour: colour("--estimate"), width: 1.8, dash: [6, 3] },
    ];
    if (mixed.checked) lines.unshift({ waveform: shown.mixture, colour: colour("--mixture"), width: 1 });
    const reach = 1.5 * shown.truth.reduce((most, value) => Math.max(most, Math.abs(value)), 0.1);
    drawWaves(canvas("wave"), lines, start, count, +part.value, reach, { soft: colour("--soft"), grid: colour("--grid") });
    canvas("wave").dataset.shown = `${start} ${count}`;
  }

  function drawSignals() {
    if (!shown) return;
    const duration = shown.truth.length / 2 / shown.rate;
    const all = ["mixture", "estimate", "truth"].map((name) => [name, spectra(shown[name])]);
    const top = Math.max(...all.map(([, columns]) => loudest(columns)));
    all.forEach(([name, columns]) => drawSpectra(canvas(name), columns, top, shown.rate, duration));
    section.querySelector(".constellations").hidden = shown.ideal.length === 0;
    if (shown.ideal.length) {
      drawSymbols(canvas("before"), shown.before, shown.ideal);
      drawSymbols(canvas("after"), shown.after, shown.ideal);
    }
    drawWave();
  }

  function levels(found) {
    const body = section.querySelector(".levels tbody");
    const order = [["number", 0], ["number", 1], ["number", 2], ["interval", 3], ["number", 4], ["interval", 5], ["number", 6]];
    body.replaceChildren(...found.map((level) => {
      const line = document.createElement("tr");
      order.forEach(([kind, index]) => {
        const cell = document.createElement(index ? "td" : "th");
        cell.className = kind;
        cell.textContent = level[index];
        if (!index) cell.scope = "row";
        line.append(cell);
      });
      return line;
    }));
  }

  function fill() {
    const [entry, kind] = [rows[row.value], types[type.value]];
    const found = entry.types[kind.label];
    const mixture = found?.example ? kind.examples[found.example.row] : null;
    section.querySelector(".empty").textContent = !found
      ? `${entry.name} has no estimates of ${kind.soi} in ${kind.interference}.`
      : mixture ? "" : "No signals of it are kept.";
    section.querySelector(".found").hidden = !found;
    section.querySelector(".signals").hidden = !mixture;
    shown = null;
    if (found) levels(found.levels);
    if (!mixture) return;
    section.querySelector(".sinr").textContent = mixture.sinr;
    section.querySelector(".row").textContent = found.example.row < 0 ? "One mixture" : `Mixture ${found.example.row}`;
    shown = {
      rate: mixture.rate_hz,
      ideal: unpack(mixture.ideal),
      before: unpack(mixture.symbols),
      after: unpack(found.example.symbols),
      mixture: unpack(mixture.mixture),
      truth: unpack(mixture.truth),
      estimate: unpack(found.example.estimate),
    };
    drawSignals();
  }

  function open(index) {
    row.value = index;
    if (!rows[index].types[types[type.value].label]) {
      type.value = Math.max(0, types.findIndex((one) => rows[index].types[one.label]));
    }
    fill();
    const head = section.querySelector("h3");
    head.focus({ preventScroll: true });
    section.scrollIntoView({ behavior: still.matches ? "auto" : "smooth" });
  }

  section.hidden = false;
  [row, type].forEach((select) => select.addEventListener("change", fill));
  [part, from, zoom, mixed].forEach((control) => control.addEventListener("input", drawWave));
  section.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  let width = 0;
  new ResizeObserver(([entry]) => {
    if (entry.contentRect.width === width) return;
    width = entry.contentRect.width;
    drawSignals();
  }).observe(section);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawSignals);
  canvas("wave").addEventListener("pointermove", (event) => {
    if (!event.buttons) return;
    const count = +canvas("wave").dataset.shown.split(" ")[1];
    from.value = +from.value - event.movementX * count / canvas("wave").clientWidth;
    drawWave();
  });
  const first = rows.findIndex((entry) => Object.values(entry.types).some((one) => one.example));
  row.value = Math.max(0, first);
  const start = types.findIndex((one) => rows[row.value].types[one.label]?.example);
  type.value = Math.max(0, start);
  fill();
  board.querySelectorAll("[data-open]").forEach((element) => {
    const index = rows.findIndex((entry) => entry.name === element.dataset.open);
    asButton(element, () => open(index)).title = "look inside";
  });
}

document.querySelectorAll(".board").forEach((board) => {
  filters(board);
  curves(board);
  inside(board, data[board.dataset.board]);
});
