// Pictures of signals on canvases: symbols, spectrograms, waveforms.
const SCREEN = "#0d1117";
const SCREEN_INK = "#c9d1d9";
const MAGMA = [[0, 0, 4], [59, 15, 112], [140, 41, 129], [222, 73, 104], [254, 159, 109], [252, 253, 191]];

// Samples in turn real and imaginary, as Float32Array.
function unpack({ scale, data }) {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const whole = new Int16Array(bytes.buffer);
  return Float32Array.from(whole, (value) => value * scale);
}

// A canvas made as fine as the screen; returns its context and its size in CSS pixels.
function prepared(canvas, ratio) {
  const width = Math.max(canvas.clientWidth, 60);
  const height = Math.round(width / ratio);
  const fine = window.devicePixelRatio || 1;
  canvas.width = width * fine;
  canvas.height = height * fine;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(fine, fine);
  return { context, width, height };
}

function drawSymbols(canvas, symbols, ideal) {
  const { context, width, height } = prepared(canvas, 1);
  const reach = 2 * ideal.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const at = (value, size) => (1 + value / reach) * size / 2;
  context.fillStyle = SCREEN;
  context.fillRect(0, 0, width, height);
  context.strokeStyle = "#c9d1d944";
  context.beginPath();
  context.moveTo(0, height / 2);
  context.lineTo(width, height / 2);
  context.moveTo(width / 2, 0);
  context.lineTo(width / 2, height);
  context.stroke();
  context.fillStyle = symbols.length > 2000 ? "#fe9f6d77" : "#fe9f6dbb";
  for (let i = 0; i < symbols.length; i += 2) {
    context.beginPath();
    context.arc(at(symbols[i], width), at(-symbols[i + 1], height), 1.8, 0, 7);
    context.fill();
  }
  context.strokeStyle = "#56b4e9";
  context.lineWidth = 1.4;
  for (let i = 0; i < ideal.length; i += 2) {
    context.beginPath();
    context.arc(at(ideal[i], width), at(-ideal[i + 1], height), 6, 0, 7);
    context.stroke();
  }
}

// In-place transform of a power of two of complex samples.
function transform(real, imaginary) {
  const size = real.length;
  for (let i = 1, j = 0; i < size; i++) {
    let bit = size >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [real[i], real[j]] = [real[j], real[i]];
      [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
    }
  }
  for (let half = 1; half < size; half *= 2) {
    for (let k = 0; k < half; k++) {
      const [c, s] = [Math.cos(Math.PI * k / half), -Math.sin(Math.PI * k / half)];
      for (let i = k; i < size; i += 2 * half) {
        const j = i + half;
        const [x, y] = [real[j] * c - imaginary[j] * s, real[j] * s + imaginary[j] * c];
        [real[j], imaginary[j]] = [real[i] - x, imaginary[i] - y];
        real[i] += x;
        imaginary[i] += y;
      }
    }
  }
}

// Power in dB over time and frequency: Hann windows, about 160 of them, the lowest frequency first.
function spectra(waveform) {
  const length = waveform.length / 2;
  const size = Math.min(256, Math.max(16, 2 ** Math.floor(Math.log2(length / 20 + 1))));
  const hop = Math.max(1, Math.floor((length - size) / 160));
  const columns = [];
  for (let start = 0; start + size <= length; start += hop) {
    const [real, imaginary] = [new Float64Array(size), new Float64Array(size)];
    for (let i = 0; i < size; i++) {
      const weight = 0.5 - 0.5 * Math.cos(2 * Math.PI * i / size);
      real[i] = waveform[2 * (start + i)] * weight;
      imaginary[i] = waveform[2 * (start + i) + 1] * weight;
    }
    transform(real, imaginary);
    columns.push(Float64Array.from(real, (_, i) => {
      const bin = (i + size / 2) % size;
      return 10 * Math.log10((real[bin] ** 2 + imaginary[bin] ** 2) / (0.375 * size * size) + 1e-12);
    }));
  }
  return columns;
}

const loudest = (columns) => columns.reduce((most, column) => Math.max(most, ...column), -Infinity);

function drawSpectra(canvas, columns, top, rate, duration) {
  const { context, width, height } = prepared(canvas, 4 / 3);
  const [left, below, above] = [42, 30, 8];
  const image = new ImageData(columns.length, columns[0].length);
  columns.forEach((column, x) => column.forEach((value, bin) => {
    const place = Math.min(1, Math.max(0, 1 + (value - top) / 60)) * (MAGMA.length - 1);
    const low = Math.min(Math.floor(place), MAGMA.length - 2);
    const colour = MAGMA[low].map((channel, i) => channel + (place - low) * (MAGMA[low + 1][i] - channel));
    image.data.set([...colour, 255], 4 * ((column.length - 1 - bin) * columns.length + x));
  }));
  const small = document.createElement("canvas");
  [small.width, small.height] = [image.width, image.height];
  small.getContext("2d").putImageData(image, 0, 0);
  context.fillStyle = SCREEN;
  context.fillRect(0, 0, width, height);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, left, above, width - left - 8, height - above - below);
  context.fillStyle = SCREEN_INK;
  context.font = "11px system-ui, sans-serif";
  const [unit, scale] = duration >= 1e-3 ? ["ms", 1e3] : ["µs", 1e6];
  for (const part of [0, 0.5, 1]) {
    context.textAlign = ["left", "center", "right"][2 * part];
    const text = (duration * scale * part).toPrecision(3).replace(/\.?0+$/, "") || "0";
    context.fillText(part === 0.5 ? `${text} ${unit}` : text, left + part * (width - left - 8), height - 11);
  }
  context.textAlign = "right";
  for (const part of [-1, 0, 1]) {
    const text = String(+(part * rate / 2e6).toPrecision(3)).replace("-", "−");
    context.fillText(part === 0 ? "0 MHz" : text, left - 4, above + (1 - part) / 2 * (height - above - below - 8) + 8);
  }
}

const PARTS = [(real) => real, (_, imaginary) => imaginary, Math.hypot];

// Lines of { waveform, colour, width } from sample `from`, `count` of them; the last line lies on top.
function drawWaves(canvas, lines, from, count, part, reach, colours) {
  const { context, width, height } = prepared(canvas, canvas.clientWidth < 500 ? 1.5 : 3.2);
  const [left, below] = [34, 22];
  const value = (waveform, i) => PARTS[part](waveform[2 * i], waveform[2 * i + 1]);
  const bottom = part === 2 ? 0 : -reach;
  const x = (i) => left + (i - from) / Math.max(count - 1, 1) * (width - left - 6);
  const y = (level) => (height - below) * (1 - (level - bottom) / (reach - bottom));
  context.font = "11px system-ui, sans-serif";
  context.fillStyle = colours.soft;
  context.strokeStyle = colours.grid;
  for (const part of [0, 0.25, 0.5, 0.75, 1]) {
    const i = Math.round(from + part * (count - 1));
    context.beginPath();
    context.moveTo(x(i), 0);
    context.lineTo(x(i), height - below);
    context.stroke();
    context.textAlign = part === 0 ? "left" : part === 1 ? "right" : "center";
    context.fillText(i, x(i), height - 6);
  }
  context.textAlign = "right";
  for (const level of [bottom, (bottom + reach) / 2, reach]) {
    context.beginPath();
    context.moveTo(left, y(level));
    context.lineTo(width - 6, y(level));
    context.stroke();
    context.fillText(level.toFixed(1).replace("-", "−"), left - 5, Math.min(Math.max(y(level) + 4, 10), height - below));
  }
  context.save();
  context.beginPath();
  context.rect(left, 0, width - left - 6, height - below);
  context.clip();
  context.lineJoin = "round";
  for (const line of lines) {
    context.strokeStyle = line.colour;
    context.lineWidth = line.width;
    context.setLineDash(line.dash ?? []);
    context.beginPath();
    for (let i = from; i < from + count; i++) context.lineTo(x(i), y(value(line.waveform, i)));
    context.stroke();
  }
  context.restore();
}
