// Two entries of a board on the same mixtures: scatter, difference per level, mixtures to look at.
const { boards, student, steps_per_db: stepsPerDb } = JSON.parse(document.querySelector("#data").textContent);
const main = document.querySelector("main");
const SHOWN = 20; // mixtures in the table
const TO_DB = 10 / Math.log(10);
const get = (name) => main.querySelector(`[name="${name}"]`);
const [boardBox, firstBox, secondBox, typeBox, metricBox, orderBox] = ["board", "first", "second", "type", "metric", "order"].map(get);

const signed = (value, digits = 2) => value.toFixed(digits).replace("-", "−").replace(/^−(0\.?0*)$/, "$1");
const rate = (value) => (value === 0 ? "0" : value >= 0.01 ? value.toFixed(3) : value.toExponential(1).replace("-", "−"));
const sum = (values) => values.reduce((total, value) => total + value, 0);
const mean = (values) => sum(values) / values.length;

function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return [...new Int32Array(bytes.buffer)];
}

function element(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  made.append(...children);
  return made;
}

function options(select, entries, value) {
  select.replaceChildren(...entries.map(([key, text]) => new Option(text, key)));
  select.value = entries.some(([key]) => `${key}` === `${value}`) ? value : entries[0]?.[0];
}

// From violet at the lowest level to orange at the highest.
const colour = (level, count) => `hsl(${270 - 240 * (count > 1 ? level / (count - 1) : 0)} 62% 52%)`;

// Every mixture of a type: level, what is swapped together, and both entries' MSE and wrong bits.
function mixturesOf(kind, first, second) {
  const [level, recording, bits] = [kind.level, kind.recording, kind.num_bits].map(unpack);
  const errors = [first, second].map((row) => row.types[kind.label]);
  const [mse, wrong] = ["mse", "wrong"].map((key) => errors.map((one) => unpack(one[key])));
  return level.map((at, row) => ({
    row,
    level: at,
    recording: recording[row],
    group: recording[row] >= 0 ? `recording ${recording[row]}` : `mixture ${row}`,
    bits: bits[row],
    db: mse.map((values) => values[row] / stepsPerDb),
    wrong: wrong.map((values) => values[row]),
  }));
}

const linear = (one, metric) => (metric === "mse" ? one.db.map((db) => 10 ** (db / 10)) : one.wrong.map((wrong) => wrong / one.bits));

// Difference of the means of a level with its interval: of the MSE in dB, by the delta method, of the BER itself.
// Mixtures of one recording are one observation.
function difference(mixtures, metric) {
  const values = mixtures.map((one) => linear(one, metric));
  const means = [0, 1].map((side) => mean(values.map((pair) => pair[side])));
  const scale = metric === "mse" ? means : [1, 1];
  const value = metric === "mse" ? TO_DB * Math.log(means[0] / means[1]) : means[0] - means[1];
  const groups = new Map();
  values.forEach((pair, index) => {
    const part = (pair[0] - means[0]) / scale[0] - (pair[1] - means[1]) / scale[1];
    const name = mixtures[index].group;
    groups.set(name, (groups.get(name) ?? 0) + part);
  });
  const freedom = groups.size - 1;
  if (freedom < 1) return { means, value, half: null };
  const variance = (groups.size / freedom) * sum([...groups.values()].map((part) => part ** 2)) / mixtures.length ** 2;
  const half = student[Math.min(freedom, student.length) - 1] * Math.sqrt(variance) * (metric === "mse" ? TO_DB : 1);
  return { means, value, half };
}

// About `count` round numbers between two ends.
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) found.push(Math.abs(value) < step / 1e6 ? 0 : value);
  return found;
}

const tens = (value) => (Number.isInteger(value) ? `10${[..."" + value].map((sign) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign] ?? "⁻").join("")}` : "");
const plain = (value) => `${+value.toPrecision(6)}`.replace("-", "−");

function scatter(mixtures, kind, metric, names) {
  const [size, edge] = [460, 58];
  const svg = main.querySelector(".scatter");
  const at = (one) => (metric === "mse" ? one.db : one.wrong.map((wrong) => Math.log10(Math.max(wrong, 0.5) / one.bits)));
  const all = mixtures.flatMap(at);
  const room = 0.04 * (Math.max(...all) - Math.min(...all)) || 1;
  const [low, high] = [Math.min(...all) - room, Math.max(...all) + room];
  const place = (value) => edge + ((value - low) / (high - low)) * (size - edge - 24);
  const [x, y] = [place, (value) => size - place(value)];
  const unit = metric === "mse" ? "MSE (dB)" : "BER; none at half a bit";
  const text = metric === "mse" ? plain : tens;
  const marks = ticks(low, high, 6).filter((value) => text(value));
  const short = (name) => (name.length > 34 ? `${name.slice(0, 33)}…` : name);
  svg.setAttribute("viewBox", `0 0 ${size} ${size}`);
  svg.replaceChildren(
    ...marks.flatMap((value) => [
      element("path", { class: "tick", d: `M${x(value)} ${y(low)}V${y(high)}M${x(low)} ${y(value)}H${x(high)}` }),
      element("text", { x: x(value), y: size - edge + 18, "text-anchor": "middle" }, text(value)),
      element("text", { x: edge - 6, y: y(value) + 4, "text-anchor": "end" }, text(value)),
    ]),
    element("path", { class: "frame", d: `M${x(low)} ${y(low)}V${y(high)}H${x(high)}V${y(low)}Z` }),
    element("path", { class: "equal", d: `M${x(low)} ${y(low)}L${x(high)} ${y(high)}` }),
    element("text", { x: (edge + size) / 2, y: size - 14, "text-anchor": "middle" }, `${unit} of ${short(names[0])}`),
    element("text", { transform: `translate(14 ${(size - edge) / 2})rotate(-90)`, "text-anchor": "middle" }, `${unit} of ${short(names[1])}`),
    ...mixtures.map((one) => {
      const [first, second] = at(one);
      const said = `mixture ${one.row}, ${plain(kind.sinr_db[one.level])} dB: ${signed(one.db[0])} and ${signed(one.db[1])} dB, ${one.wrong[0]} and ${one.wrong[1]} wrong bits`;
      const look = { cx: x(first), cy: y(second), r: 3.4, fill: colour(one.level, kind.sinr_db.length), "data-level": one.level, "data-row": one.row };
      return element("circle", look, element("title", {}, said));
    }),
  );
}

function levelsKey(kind) {
  const svg = main.querySelector(".scatter");
  const chosen = new Set();
  const items = kind.sinr_db.map((sinr, level) => {
    const [item, button, dot] = ["li", "button", "i"].map((name) => document.createElement(name));
    dot.style.background = colour(level, kind.sinr_db.length);
    button.type = "button";
    button.append(dot, `${plain(sinr)} dB`);
    button.setAttribute("aria-pressed", false);
    button.addEventListener("click", () => {
      if (!chosen.delete(level)) chosen.add(level);
      button.setAttribute("aria-pressed", chosen.has(level));
      svg.classList.toggle("some", chosen.size > 0);
      svg.querySelectorAll("circle").forEach((circle) => circle.classList.toggle("on", chosen.has(+circle.dataset.level)));
    });
    item.append(button);
    return item;
  });
  svg.classList.remove("some");
  main.querySelector(".levels-key").replaceChildren(...items);
}

function differences(found, kind, metric) {
  const [width, height, left, below] = [460, 460, 62, 58];
  const svg = main.querySelector(".differences");
  const reach = 1.1 * Math.max(...found.map(({ value, half }) => Math.abs(value) + (half ?? 0)), 1e-6);
  const [least, most] = [kind.sinr_db[0], kind.sinr_db[kind.sinr_db.length - 1]];
  const x = (sinr) => left + 24 + (most > least ? (sinr - least) / (most - least) : 0.5) * (width - left - 58);
  const y = (value) => 10 + ((reach - value) / (2 * reach)) * (height - below - 10);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren(
    ...ticks(-reach, reach, 6).flatMap((value) => [
      element("path", { class: value ? "tick" : "equal", d: `M${left} ${y(value)}H${width - 10}` }),
      element("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, plain(value)),
    ]),
    element("path", { class: "frame", d: `M${left} 10V${height - below}H${width - 10}V10Z` }),
    element("text", { x: (left + width) / 2, y: height - 14, "text-anchor": "middle" }, "SINR (dB)"),
    element("text", { transform: `translate(14 ${(height - below) / 2})rotate(-90)`, "text-anchor": "middle" }, metric === "mse" ? "difference of the MSE (dB)" : "difference of the BER"),
    ...found.flatMap(({ value, half }, level) => {
      const [across, fill] = [x(kind.sinr_db[level]), colour(level, found.length)];
      const bar = half === null ? "" : `M${across} ${y(value - half)}V${y(value + half)}M${across - 5} ${y(value - half)}h10M${across - 5} ${y(value + half)}h10`;
      return [
        element("text", { x: across, y: height - below + 18, "text-anchor": "middle" }, found.length > 12 && level % 2 ? "" : plain(kind.sinr_db[level])),
        element("path", { class: "bar", stroke: fill, d: bar }),
        element("circle", { cx: across, cy: y(value), r: 5, fill }),
      ];
    }),
  );
}

function line(cells) {
  const made = document.createElement("tr");
  cells.forEach((text, index) => {
    const cell = document.createElement(index ? "td" : "th");
    if (!index) cell.scope = "row";
    cell.className = `${text}`.startsWith("[") ? "interval" : "number";
    cell.textContent = text;
    made.append(cell);
  });
  return made;
}

function byLevel(found, parts, kind, metric) {
  const text = metric === "mse" ? (value) => signed(10 * Math.log10(value)) : rate;
  const apart = metric === "mse" ? signed : (value) => signed(value, 4);
  main.querySelector(".by-level tbody").replaceChildren(...found.map(({ means, value, half }, level) => {
    const wins = [0, 1].map((side) => parts[level].filter((one) => {
      const pair = linear(one, metric);
      return pair[side] < pair[1 - side];
    }).length);
    const interval = half === null ? "–" : `[${apart(value - half)}, ${apart(value + half)}]`;
    return line([plain(kind.sinr_db[level]), ...means.map(text), apart(value), interval, ...wins, parts[level].length]);
  }));
}

// How far each mixture stands out in the chosen order, best first.
function standsOut(mixtures, found, metric) {
  const above = (one, side) => {
    const [value, level] = [linear(one, metric)[side], found[one.level].means[side]];
    return metric === "mse" ? Math.log10(value / level) : value - level;
  };
  const apart = (one) => (metric === "mse" ? one.db[0] - one.db[1] : (one.wrong[0] - one.wrong[1]) / one.bits);
  const orders = {
    behind: apart,
    ahead: (one) => -apart(one),
    first: (one) => above(one, 0),
    second: (one) => above(one, 1),
    both: (one) => Math.min(above(one, 0), above(one, 1)),
  };
  return orders[orderBox.value];
}

function lookAt(mixtures, found, kind, metric) {
  const key = standsOut(mixtures, found, metric);
  const worst = [...mixtures].sort((a, b) => key(b) - key(a)).slice(0, SHOWN);
  main.querySelector(".mixtures tbody").replaceChildren(...worst.map((one) => {
    const wrong = one.bits ? [...one.wrong, one.bits.toLocaleString("en")] : ["–", "–", "–"];
    const made = line([one.row, plain(kind.sinr_db[one.level]), one.recording < 0 ? "–" : one.recording, ...one.db.map((db) => signed(db)), signed(one.db[0] - one.db[1]), ...wrong]);
    const show = (on) => main.querySelector(`circle[data-row="${one.row}"]`)?.classList.toggle("found", on);
    made.addEventListener("mouseenter", () => show(true));
    made.addEventListener("mouseleave", () => show(false));
    return made;
  }));
}

// What the board's test says of the pair, over all mixture types.
function verdict(board, first, second, metric) {
  const turned = first.place > second.place;
  const { pairs, swapped } = board.duels[metric];
  const told = pairs[turned ? `${second.place},${first.place}` : `${first.place},${second.place}`];
  const name = metric.toUpperCase();
  if (first === second) return "Choose two different entries.";
  if (!told) return "Oracles and baselines do not compete, so the board does not test this pair.";
  const better = told[2] === first.place ? first : told[2] === second.place ? second : null;
  const said = better ? `${better.name} is better beyond doubt` : "the two are not told apart";
  if (told[1] === null) return `By ${name}, compared by intervals: ${said}.`;
  const db = turned ? -told[0] : told[0];
  const amount = metric === "mse" ? `is ${signed(db)} dB from` : `is ${(10 ** (db / 10)).toPrecision(3)} times`;
  const p = told[1] < 0.001 ? "p < 0.001" : `p = ${+told[1].toPrecision(2)}`;
  return `By ${name}, over all mixture types: ${said}. The ${name} of ${first.name} ${amount} that of ${second.name} in the mean over levels; ${p} in the board's paired test (swaps of ${swapped}), corrected for all its pairs.`;
}

function fillBoard(first, second) {
  const board = boards[boardBox.value];
  const rows = board.rows.map((row) => [row.place, row.kind === "blind" ? row.name : `${row.name} (${row.kind})`]);
  // Without a wish, the two best that compete.
  const competing = board.rows.filter((row) => board.duels.mse.competing.includes(row.place)).map((row) => row.place);
  const start = competing.length > 1 ? competing : board.rows.map((row) => row.place);
  options(firstBox, rows, first ?? start[0]);
  options(secondBox, rows, second ?? start[1]);
  // The first type that both have.
  const chosen = [firstBox, secondBox].map((box) => board.rows.find((row) => `${row.place}` === box.value));
  const shared = board.types.findIndex((one) => chosen.every((row) => !row.missing.includes(one.label)));
  options(typeBox, board.types.map((one, index) => [index, `${one.soi} in ${one.interference}`]), Math.max(0, shared));
}

function fill() {
  const board = boards[boardBox.value];
  const kind = board.types[typeBox.value];
  const [first, second] = [firstBox, secondBox].map((box) => board.rows.find((row) => `${row.place}` === box.value));
  const both = first.types[kind.label] && second.types[kind.label];
  const known = unpack(kind.num_bits).every((bits) => bits > 0);
  metricBox.options[1].disabled = !known;
  if (!known) metricBox.value = "mse";
  const metric = metricBox.value;
  main.querySelectorAll(".first").forEach((part) => { part.textContent = first.name; });
  main.querySelectorAll(".second").forEach((part) => { part.textContent = second.name; });
  main.querySelector(".verdict").textContent = verdict(board, first, second, metric);
  const without = [first, second].filter((row) => row.missing.includes(kind.label)).map((row) => row.name);
  const stands = main.querySelector(".stands");
  stands.hidden = both && !without.length;
  stands.textContent = both ? `${without.join(" and ")} ${without.length > 1 ? "have" : "has"} no estimates of this type: the mixture itself stands in.` : "The errors of one of the two are not kept for this type.";
  [...main.querySelectorAll("section")].slice(1).forEach((section) => { section.hidden = !both; });
  location.replace(`#${boardBox.value},${first.place},${second.place},${metric}`);
  if (!both) return;
  const mixtures = mixturesOf(kind, first, second);
  const parts = kind.sinr_db.map((_, level) => mixtures.filter((one) => one.level === level));
  const found = parts.map((part) => difference(part, metric));
  const recorded = mixtures.some((one) => one.recording >= 0);
  main.querySelectorAll(".over").forEach((part) => { part.textContent = recorded ? "recordings" : "mixtures"; });
  main.querySelectorAll(".unit").forEach((part) => { part.textContent = metric === "mse" ? "MSE (dB) of" : "BER of"; });
  main.querySelector(".file").textContent = `mixture/${kind.label}.h5`;
  scatter(mixtures, kind, metric, [first.name, second.name]);
  levelsKey(kind);
  differences(found, kind, metric);
  byLevel(found, parts, kind, metric);
  lookAt(mixtures, found, kind, metric);
}

// The address names board, both places and metric, as the cells of the leaderboard do.
function fromAddress() {
  const [board, first, second, metric] = location.hash.slice(1).split(",");
  const filled = boards.map((one, index) => [index, one.testset]).filter(([index]) => boards[index].rows.length > 1);
  options(boardBox, filled, board);
  boardBox.parentElement.hidden = filled.length < 2;
  fillBoard(first, second);
  if (metric === "ber" || metric === "mse") metricBox.value = metric;
  fill();
}

main.hidden = false;
boardBox.addEventListener("change", () => { fillBoard(); fill(); });
[firstBox, secondBox, typeBox, metricBox, orderBox].forEach((box) => box.addEventListener("change", fill));
get("turn").addEventListener("click", () => {
  [firstBox.value, secondBox.value] = [secondBox.value, firstBox.value];
  fill();
});
main.querySelectorAll("form").forEach((form) => form.addEventListener("submit", (event) => event.preventDefault()));
addEventListener("hashchange", () => {
  const shown = `#${boardBox.value},${firstBox.value},${secondBox.value},${metricBox.value}`;
  if (location.hash !== shown) fromAddress();
});
fromAddress();
