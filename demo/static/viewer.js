// Three linked 3D heads. Runs once when the viewer appears; Gradio provides `element`, `props`,
// `watch` and `trigger`.
//
// The plots are created once and only ever updated (Plotly.react on the same nodes). A plot that is made anew
// for each result keeps its WebGL context, and browsers drop the oldest context after a handful of them.

const plots = [...element.querySelectorAll(".of-plot")];
const notes = [...element.querySelectorAll(".of-note")];
const titles = [...element.querySelectorAll(".of-panel header b")].map((node) => ({ node, usual: node.textContent }));
const legend = element.querySelector(".of-legend");
const config = { displayModeBar: false, responsive: true, scrollZoom: true, doubleClick: false };
const state = { message: null, mode: "photo", view: "photo", moved: new Map(), camera: null, home: null };
Object.assign(state, { count: 0, added: [[], []] }); // vertices sent, and the parents of those that are not

const loadPlotly = () =>
  (window.occfacePlotly ??= new Promise((resolve, reject) => {
    if (window.Plotly) return resolve(window.Plotly);
    const root = (window.gradio_config?.root ?? "").replace(/\/$/, "");
    const prefix = window.gradio_config?.api_prefix ?? "/gradio_api";
    const script = document.createElement("script");
    script.src = `${root}${prefix}/file=${props.plotly_path}`;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => reject(new Error(`could not load ${script.src}`));
    document.head.appendChild(script);
  }));

const say = (text) => {
  element.dataset.state = text ? "message" : "ready";
  element.querySelector(".of-empty").textContent = text;
};

// --- vertices that lie between two others -----------------------------------------------------------------
const TYPES = { f4: Float32Array, u2: Uint16Array, u4: Uint32Array };

function unpack({ dtype, bdata }) {
  const bytes = Uint8Array.from(atob(bdata), (letter) => letter.charCodeAt(0));
  return new TYPES[dtype](bytes.buffer);
}

// Parents come before their children, so one pass fills in everything that is missing.
function extend(values, [first, second]) {
  const total = Math.max(values.length, state.count + first.length);
  const all = new Float32Array(total);
  all.set(values);
  for (let place = values.length; place < total; place += 1) {
    const parent = place - state.count;
    all[place] = (all[first[parent]] + all[second[parent]]) / 2;
  }
  return all;
}

const between = (verts) =>
  Object.fromEntries(Object.entries(verts).map(([axis, packed]) => [axis, extend(unpack(packed), state.added)]));

function splitColours(packed) {
  const channels = [0, 2, 4].map((start) => {
    const values = new Float32Array(packed.length / 6);
    for (let i = 0; i < values.length; i += 1) values[i] = parseInt(packed.substr(6 * i + start, 2), 16);
    return extend(values, state.added);
  });
  return Array.from(channels[0], (red, i) => {
    const rgb = (Math.round(red) << 16) | (Math.round(channels[1][i]) << 8) | Math.round(channels[2][i]);
    return "#" + rgb.toString(16).padStart(6, "0");
  });
}

function surface(panel) {
  const { message, mode, view } = state;
  let colours = panel.colours[mode];
  if (colours && typeof colours === "object") colours = colours[view];
  if (!colours) return { color: message.clay };
  panel.split ??= {};
  return { vertexcolor: (panel.split[`${mode}/${view}`] ??= splitColours(colours)) };
}

function drawPanel(index) {
  const { message, view, moved, camera } = state;
  const panel = message.panels[index];
  panel.placed ??= {};
  const verts = moved.get(index) ?? (panel.placed[view] ??= between(panel.verts[view]));
  const scene = { ...message.layout.scene, camera: camera ?? state.home };
  const trace = { ...message.style, ...verts, ...surface(panel) };
  return Plotly.react(plots[index], [trace], { ...message.layout, scene }, config);
}

async function draw() {
  const { message } = state;
  if (!message) return;
  try {
    await loadPlotly();
    for (let index = 0; index < plots.length; index += 1) {
      if (state.message !== message) return; // another result, or none, has come meanwhile
      notes[index].textContent = message.panels[index].note;
      await drawPanel(index);
    }
    if (state.message !== message) return;
    say(""); // only now, so that heads of the photo before are not seen again
    link();
    drawLegend();
    element.dataset.draws = String(Number(element.dataset.draws ?? 0) + 1);
  } catch (error) {
    console.error(error);
    say("The 3D view could not start. It needs WebGL: try another browser, or switch hardware acceleration on.");
  }
}

// --- linked cameras -------------------------------------------------------------------------------------
let leader = null;
let frame = 0;

function follow(source) {
  const camera = source._fullLayout?.scene?._scene?.getCamera?.() ?? state.camera;
  if (!camera) return;
  state.camera = camera;
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(async () => {
    leader = source;
    const others = plots.filter((plot) => plot !== source);
    await Promise.all(others.map((plot) => Plotly.relayout(plot, { "scene.camera": camera })));
    leader = null;
  });
}

function link() {
  if (element.dataset.linked) return;
  element.dataset.linked = "yes";
  for (const plot of plots) {
    const moved = (change) => {
      const byUser = leader === null || leader === plot;
      if (byUser && Object.keys(change ?? {}).some((key) => key.startsWith("scene.camera"))) follow(plot);
    };
    plot.on("plotly_relayouting", moved);
    plot.on("plotly_relayout", moved);
  }
}

// --- fingers --------------------------------------------------------------------------------------------
// Plotly turns a head with any touch, so a page of heads could not be scrolled by hand, and it knows no pinch.
// Here a swipe up or down belongs to the page, one to the side turns the heads, two fingers zoom.
const UNDECIDED = 8; // pixels
const SETTLED = 200; // ms after a touch in which the head still moves
const NEAREST = 0.8; // of the camera from the head's middle, in the scene's unit; it starts at 1.35
const FARTHEST = 4;

const apart = ([a, b]) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);

function zoom(plot, camera, factor) {
  const offset = ["x", "y", "z"].map((axis) => camera.eye[axis] - camera.center[axis]);
  const length = Math.hypot(...offset);
  const scale = Math.min(FARTHEST, Math.max(NEAREST, length * factor)) / length;
  const [x, y, z] = ["x", "y", "z"].map((axis, i) => camera.center[axis] + scale * offset[i]);
  return Plotly.relayout(plot, { "scene.camera": { ...camera, eye: { x, y, z } } });
}

function listenToFingers(plot) {
  let start = null;
  let turning = false;
  let pinch = null;
  const begin = ({ touches }) => {
    [start] = touches;
    if (turning) setTimeout(() => follow(plot), SETTLED);
    turning = false;
    const camera = plot._fullLayout?.scene?._scene?.getCamera?.();
    pinch = touches.length === 2 && camera ? { camera, from: apart(touches) } : null;
  };
  const move = (event) => {
    const [now] = event.touches;
    if (pinch && event.touches.length === 2) {
      event.preventDefault();
      event.stopPropagation();
      zoom(plot, pinch.camera, pinch.from / apart(event.touches));
    } else if (!turning && start) {
      const [x, y] = [Math.abs(now.clientX - start.clientX), Math.abs(now.clientY - start.clientY)];
      turning = x > UNDECIDED && x > y;
      if (!turning) event.stopPropagation();
    }
    if (turning) follow(plot); // Plotly tells of turns by the mouse alone
  };
  plot.addEventListener("touchstart", begin, { capture: true, passive: true });
  plot.addEventListener("touchend", begin, { capture: true, passive: true });
  plot.addEventListener("touchmove", move, { capture: true, passive: false });
}
plots.forEach(listenToFingers);

function resetView() {
  state.camera = null;
  if (state.message) draw();
}

// --- colour legend --------------------------------------------------------------------------------------
function drawLegend() {
  const { message, mode, view } = state;
  const ramp = message.ramps[mode];
  legend.classList.toggle("of-shown", Boolean(ramp));
  if (!ramp) return;
  legend.querySelector(".of-ramp").style.background = `linear-gradient(to right, ${ramp.join(", ")})`;
  const top = message.scale_mm[view];
  const labels =
    mode === "difference"
      ? ["0 mm", `${top / 2} mm`, `${top} mm or more`]
      : ["hidden: guessed", "", "seen in the photo"];
  legend.querySelectorAll(".of-ticks span").forEach((tick, index) => (tick.textContent = labels[index]));
  legend.querySelector(".of-legend-title").textContent =
    mode === "difference" ? "Distance to the reference head" : "Which parts the photo shows";
}

// --- controls -------------------------------------------------------------------------------------------
function press(group, value) {
  state[group] = value;
  for (const button of element.querySelectorAll(`[data-group="${group}"] button`)) {
    button.setAttribute("aria-pressed", String(button.dataset.value === value));
  }
}

for (const group of element.querySelectorAll("[data-group]")) {
  group.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    press(group.dataset.group, button.dataset.value);
    if (group.dataset.group === "view" && state.moved.size) {
      state.moved.clear();
      trigger("clear"); // the server sets the sliders back, which say otherwise
    }
    draw();
  });
}
element.querySelector(".of-reset").addEventListener("click", resetView);

// --- messages from the server ---------------------------------------------------------------------------
function receive() {
  if (!props.value) {
    state.message = null;
    state.moved.clear();
    notes.forEach((note) => (note.textContent = ""));
    titles.forEach(({ node, usual }) => (node.textContent = usual));
    legend.classList.remove("of-shown");
    say(props.empty_text);
    return;
  }
  const message = JSON.parse(props.value);
  if (message.kind === "meshes") {
    state.message = message;
    state.count = unpack(message.panels[0].verts[state.view].x).length;
    state.added = message.added.map(unpack);
    state.home = message.layout.scene.camera;
    state.moved.clear();
    draw();
  } else if (message.kind === "animate" && state.message) {
    state.moved.set(message.panel, between(message.verts));
    drawPanel(message.panel);
  }
}

watch("value", receive);
receive();
// Fetched while the visitor still chooses a photo.
loadPlotly().catch((error) => console.error(error));
