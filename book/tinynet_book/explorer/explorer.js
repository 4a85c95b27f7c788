"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $$ = id => document.getElementById(id);
  const plot = $$("plot"), model = $$("model"), budget = $$("budget");
  const FORMULA = "#d55e00", DROP = -0.14, HOME = { turn: -0.9, lift: 1.15, away: plot.clientWidth < 560 ? 2.5 : 2.3 };
  const FACES = { rd: [-Math.PI / 2, 0.001], rw: [-Math.PI / 2, Math.PI / 2], dw: [0, Math.PI / 2] };
  const SIGNS = { circle: "●", square: "■", "circle-open": "○", "square-open": "□", diamond: "◆" };
  const off = new Set(); // what the legend hides
  let view = { ...HOME }, drawn = false, ringed = false;

  function element(tag, text, attributes = {}) {
    const made = document.createElement(tag);
    made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  function webgl() {
    const canvas = document.createElement("canvas");
    return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
  }

  function axes(points) {
    return { x: points.map(p => p[0]), y: points.map(p => p[1]), z: points.map(p => p[2]) };
  }

  function traces(ink) {
    const groups = Object.entries(data.markers).map(([name, [symbol, size]]) => {
      const members = data.models.filter(m => m.group === name);
      return {
        ...axes(members.map(m => m.at)), name, sign: SIGNS[symbol], mode: symbol === "circle-open" ? "lines+markers" : "markers", customdata: members.map(m => m.key),
        opacity: 0.7, text: members.map(m => m.hover), hovertemplate: "%{text}<extra></extra>", line: { color: ink, width: 2 },
        marker: { symbol, size, color: members.map(m => m.top1), coloraxis: "coloraxis", line: { color: ink, width: 1 } },
      };
    });
    const path = {
      ...axes(data.steps.map(s => s.at)), name: "tiny formula, all budgets", sign: "━", mode: "lines",
      line: { color: FORMULA, width: 5 }, hoverinfo: "skip",
    };
    const found = [...groups, path, ...data.steps.slice(budget.value).slice(0, 1).flatMap(budgetTraces)];
    return found.filter(trace => trace.x.length).map(trace => ({ ...trace, type: "scatter3d", visible: !off.has(trace.name) }));
  }

  function budgetTraces(step) {
    const { at: [r, d, w], low, high } = step;
    const band = [[low[0], d, w], [high[0], d, w], [null, null, null], [r, low[1], w], [r, high[1], w]];
    return [
      { ...axes(band), name: "its band", sign: "┼", mode: "lines", line: { color: FORMULA, width: 3 }, hoverinfo: "skip" },
      {
        ...axes([step.at]), name: "tiny formula, this budget", sign: "✚", mode: "markers",
        marker: { symbol: "cross", size: 12, color: FORMULA },
        hovertemplate: `tiny formula at c = ${step.c}<br>r: ${step.r}<br>d: ${step.d}<br>w: %{z:.3f}<extra></extra>`,
      },
    ];
  }

  function ringTrace(ink) {
    const chosen = ringed && data.models[model.value];
    return {
      ...axes(chosen ? [chosen.at] : []), type: "scatter3d", mode: "markers", hoverinfo: "skip",
      marker: { symbol: "circle-open", size: 18, color: ink, line: { color: ink, width: 3 } },
    };
  }

  function layout(ink, muted, back) {
    const places = [...data.models, ...data.steps].map(p => p.at);
    const axis = (title, i) => ({
      title: { text: title }, range: [0, 1.04 * Math.max(1, ...places.map(p => p[i]))],
      nticks: 6, color: ink, gridcolor: muted, zerolinecolor: muted, showbackground: false,
    });
    return {
      margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: back, font: { color: ink, size: 12 }, uirevision: "one", showlegend: false,
      scene: {
        xaxis: axis("resolution r", 0), yaxis: axis("depth d", 1), zaxis: axis("width w", 2), aspectmode: "cube",
        dragmode: "turntable", camera: camera(), domain: { x: [0, 1], y: [0, 0.88] },
      },
      coloraxis: {
        colorscale: "Viridis",
        colorbar: {
          orientation: "h", thickness: 12, len: 0.7, x: 0.5, y: 0.99, yanchor: "top", ticksuffix: "%",
          title: { text: `top-1 accuracy (${data.evidence})`, side: "top" },
        },
      },
      hoverlabel: { bgcolor: back, bordercolor: ink, font: { color: ink, size: 13 }, align: "left" },
    };
  }

  function draw() {
    if (!drawn) return;
    const style = getComputedStyle(document.body), muted = getComputedStyle($$("keys")).color;
    if (plot.layout) seen();
    Plotly.react(plot, [...traces(style.color), ringTrace(style.color)], layout(style.color, muted, style.backgroundColor), { displayModeBar: false, responsive: true });
  }

  function camera() {
    const { turn, lift, away } = view;
    const flat = away * Math.sin(lift);
    const eye = { x: flat * Math.cos(turn), y: flat * Math.sin(turn), z: away * Math.cos(lift) + DROP };
    return { eye, up: { x: 0, y: 0, z: 1 }, center: { x: 0, y: 0, z: DROP } };
  }

  function seen() { // a drag turns the cube as well
    const { x, y, z } = plot.layout.scene.camera.eye, away = Math.hypot(x, y, z - DROP);
    view = { turn: Math.atan2(y, x), lift: Math.acos((z - DROP) / away), away };
  }

  function turn(how) {
    if (!drawn) return;
    seen();
    if (how === "left") view.turn -= 0.15;
    if (how === "right") view.turn += 0.15;
    if (how === "up") view.lift = Math.max(0.001, view.lift - 0.12);
    if (how === "down") view.lift = Math.min(Math.PI - 0.001, view.lift + 0.12);
    if (how === "in") view.away = Math.max(0.6, view.away / 1.15);
    if (how === "out") view.away = Math.min(6, view.away * 1.15);
    if (how === "home") view = { ...HOME };
    if (how in FACES) [view.turn, view.lift] = FACES[how];
    Plotly.relayout(plot, { "scene.camera": camera() });
  }

  function legend() {
    $$("legend").append(...traces("").map(({ name, sign }) => {
      const label = document.createElement("label"), box = element("input", "", { type: "checkbox" });
      box.checked = true;
      box.addEventListener("change", () => { off[box.checked ? "delete" : "add"](name); draw(); });
      const mark = element("span", sign, { "aria-hidden": "true" });
      if (!(name in data.markers)) mark.style.color = FORMULA;
      label.append(box, mark, name);
      return label;
    }));
  }

  function choose(key) {
    const place = data.models.findIndex(m => m.key === key);
    if (place < 0) return;
    model.value = place;
    ringed = true;
    showModel();
  }

  function showModel() {
    const chosen = data.models[model.value];
    if (!chosen) return;
    const names = [...$$("models").tHead.rows[0].cells].map(cell => cell.textContent);
    $$("chosen").replaceChildren(...chosen.cells.map((text, i) => {
      const pair = document.createElement("div");
      pair.append(element("dt", names[i]), element("dd", text));
      return pair;
    }));
    model.setAttribute("aria-valuetext", `model ${Number(model.value) + 1} of ${data.models.length}`);
    for (const row of $$("models").tBodies[0].rows) row.classList.toggle("chosen", row.dataset.key === chosen.key);
    draw();
  }

  function showBudget() {
    const step = data.steps[budget.value];
    if (!step) return;
    $$("share").textContent = `${step.c} of the MACs`;
    for (const name of ["r", "d"]) {
      $$(name).textContent = step[name];
      $$(`${name}-band`).textContent = `band ${step[`${name}_band`]}`;
    }
    budget.setAttribute("aria-valuetext", `${step.c} of the MACs: r ${step.r}, d ${step.d}`);
    networkTable(step.networks);
    $$("commands").replaceChildren(...step.networks.map(command));
    draw();
  }

  function networkTable(networks) {
    const found = networks.filter(n => n.rows), body = document.createElement("tbody"), head = document.createElement("tr");
    head.append(element("td", ""), ...found[0].rows.map(([label]) => element("th", label, { scope: "col" })));
    for (const network of found) {
      const row = body.insertRow();
      row.append(element("th", network.size, { scope: "row" }), ...network.rows.map(([, text]) => element("td", text)));
    }
    const top = document.createElement("thead");
    top.append(head);
    $$("networks").replaceChildren(top, body);
  }

  function command(network) {
    const box = document.createElement("div"), bar = document.createElement("div");
    box.className = "command";
    if (!network.rows) {
      box.append(element("p", `${network.size}: ${network.reason}`, { class: "hint" }));
      return box;
    }
    const copy = element("button", "Copy", { type: "button", "aria-label": `Copy the command: ${network.size}` });
    const code = element("pre", network.command);
    copy.addEventListener("click", () => navigator.clipboard.writeText(network.command).then(
      () => { copy.textContent = "Copied"; $$("said").textContent = "Copied"; },
      () => { getSelection().selectAllChildren(code); $$("said").textContent = "Selected: copy it with the keyboard"; },
    ));
    bar.append(element("span", network.size), copy);
    box.append(bar, code);
    return box;
  }

  function sortable(table) {
    [...table.tHead.rows[0].cells].forEach((cell, column) => {
      const button = element("button", cell.textContent, { type: "button" });
      cell.replaceChildren(button);
      button.addEventListener("click", () => sort(table, column, cell));
    });
  }

  function sort(table, column, cell) {
    const down = cell.getAttribute("aria-sort") === "ascending", by = row => row.cells[column].dataset.by;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    cell.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows], numbers = rows.every(row => !Number.isNaN(Number(by(row))));
    rows.sort((a, b) => (numbers ? by(a) - by(b) : by(a).localeCompare(by(b))) * (down ? -1 : 1));
    table.tBodies[0].append(...rows);
  }

  function follow() { // the page around: its theme, and the height of its frame
    const frame = window.frameElement; // null where nothing may be seen of the page around
    if (!frame) return;
    const around = frame.ownerDocument.documentElement;
    const take = () => { document.documentElement.dataset.theme = around.dataset.theme || ""; draw(); };
    new MutationObserver(take).observe(around, { attributeFilter: ["data-theme"] });
    new ResizeObserver(() => { frame.style.height = `${document.body.scrollHeight + 4}px`; }).observe(document.body);
    document.documentElement.classList.add("framed");
    take();
  }

  const turns = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down", "+": "in", "-": "out", 0: "home" };
  plot.addEventListener("keydown", event => {
    if (event.key in turns) { event.preventDefault(); turn(turns[event.key]); }
  });
  for (const button of document.querySelectorAll("[data-turn]")) button.addEventListener("click", () => turn(button.dataset.turn));
  sortable($$("models"));
  $$("models").tBodies[0].addEventListener("click", event => choose(event.target.closest("tr").dataset.key));
  model.max = Math.max(0, data.models.length - 1);
  model.addEventListener("input", () => { ringed = true; showModel(); });
  budget.addEventListener("input", showBudget);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  follow();
  showModel();
  budget.value = data.start;
  showBudget();
  if (webgl()) {
    drawn = true;
    legend();
    draw();
    plot.on("plotly_click", event => choose(event.points[0].customdata));
  } else {
    plot.textContent = "This browser has no WebGL, so the cube cannot be drawn. The table below has every model.";
  }
})();
