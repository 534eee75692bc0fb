// What the page does: tables by DataTables, charts by Vega-Lite. Numbers, ranks and marks come from the suite as they are;
// texts of the data enter the page as text only.
(async () => {
  "use strict";
  const DataTable = window.itables.default;
  const $ = (id) => document.getElementById(id);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }
  const { cells, charts, methods, domains, datasets, fragments } = await unpack($("data").textContent);

  // Dark mode: as the system has it, until the button is pressed.
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  let isDark = system.matches;
  function applyTheme() {
    root.classList.toggle("dark", isDark);
    root.classList.toggle("light", !isDark);
    $("theme").setAttribute("aria-pressed", isDark);
  }
  applyTheme();
  function setTheme(dark) {
    isDark = dark;
    applyTheme();
    drawCharts();
  }
  $("theme").addEventListener("click", () => setTheme(!isDark));
  system.addEventListener("change", (event) => setTheme(event.matches));

  // Tables. Sorting a grid of triples goes by the metric that is chosen; what is not a number stands last.
  let sortMetric = document.querySelector("[name=sort]").value;
  const numberIn = (cell) => {
    const values = all("[data-sort]", cell);
    const chosen = values.find((value) => value.dataset.metric === sortMetric) ?? (cell.children.length > 1 ? null : values[0]);
    return chosen ? Number(chosen.dataset.sort) : -1;
  };
  DataTable.ext.order.metric = function (settings, column) {
    return this.api().column(column, { order: "index" }).nodes().toArray().map(numberIn);
  };

  const range = (from, to) => Array.from({ length: to - from }, (_, place) => from + place);
  function enliven(table) {
    const stubs = all("thead .stub", table).length;
    const axis = table.dataset.axis;
    const rows = all("tbody tr", table);
    const groups = [];
    for (const row of rows) {
      // Rows are sorted within their domain or setting, and averages stand last in it.
      const group = axis === "class" ? "" : row.querySelector("[data-group]")?.textContent ?? "";
      if (!groups.includes(group)) groups.push(group);
      row.firstElementChild.dataset.order = groups.indexOf(group) * 2 + row.classList.contains("average");
      if (axis === "class") row.firstElementChild.dataset.order = Number(row.classList.contains("average")) + row.firstElementChild.textContent;
    }
    const grid = new DataTable(table, {
      paging: false, info: false, autoWidth: false, order: [],
      layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null },
      orderFixed: axis === "class" ? undefined : { pre: [[0, "asc"]] },
      columnDefs: [
        { targets: range(stubs, all("thead th", table).length), orderDataType: "metric", type: "num", orderSequence: ["desc", "asc", ""] },
        { targets: axis === "class" ? [0, 1] : range(1, stubs), type: "string", orderSequence: ["asc", "desc", ""] },
        { targets: axis === "class" ? [] : [0], type: "num", orderSequence: ["asc", ""] },
      ],
    });
    table.addEventListener("click", (event) => show(event.target.closest("td[data-where]")));
    // One stop for Tab in each table; arrows move from number to number.
    const reachable = () => {
      for (const cell of all("td", table)) cell.tabIndex = -1;
      const first = table.querySelector("tbody td");
      if (first) first.tabIndex = 0;
    };
    reachable();
    grid.on("draw", reachable);
    table.addEventListener("keydown", (event) => {
      const cell = event.target.closest("tbody td");
      if (!cell) return;
      const row = cell.parentElement, column = [...row.children].indexOf(cell);
      const next = { ArrowRight: cell.nextElementSibling, ArrowLeft: cell.previousElementSibling,
        ArrowDown: row.nextElementSibling?.children[column], ArrowUp: row.previousElementSibling?.children[column] }[event.key];
      if (event.key === "Enter") show(cell);
      else if (next?.matches("td")) next.focus();
      else return;
      event.preventDefault();
    });
    return grid;
  }

  function place(target, name) {
    const template = document.createElement("template");
    template.innerHTML = fragments[name]; // made and escaped by the suite
    target.replaceChildren(template.content);
    return all("table.grid", target).map(enliven);
  }

  // Results: filters.
  const grids = new Map();
  for (const level of all(".level")) {
    for (const holder of all("[data-rows]", level)) {
      if (holder.dataset.fragment) place(holder, holder.dataset.fragment).forEach((grid) => grids.set(holder, grid));
      else grids.set(holder, enliven(holder.querySelector("table")));
    }
  }
  const form = $("filters");
  const chosen = (name) => new Set(all(`[name=${name}]:checked`, form).map((box) => box.value));
  function filter() {
    const want = Object.fromEntries(["rows", "level", "metric", "method", "domain", "dataset"].map((name) => [name, chosen(name)]));
    const isWanted = (group, label) => want.domain.has(group) && (want.dataset.has(label) || !datasets.includes(label));
    for (const level of all(".level")) level.hidden = !want.level.has(level.dataset.level);
    for (const item of all("#results [data-metric]")) item.hidden = !want.metric.has(item.dataset.metric);
    for (const [holder, grid] of grids) {
      holder.hidden = !want.rows.has(holder.dataset.rows);
      const isByDataset = holder.dataset.rows === "dataset";
      grid.columns().every(function () {
        const head = this.header();
        if (head.classList.contains("stub")) return;
        const { span, name } = head.dataset;
        this.visible(isByDataset ? want.method.has(name) : isWanted(span, name), false);
      });
      grid.search.fixed("page", (_, __, index) => {
        const labels = all("th.stub", grid.row(index).node()).map((cell) => cell.textContent);
        return isByDataset ? isWanted(...labels) : want.method.has(labels[1]);
      });
      // Hidden columns are not in the document: their numbers are hidden when they come back.
      for (const value of all("[data-metric]", holder)) value.hidden = !want.metric.has(value.dataset.metric);
      grid.draw();
    }
  }
  form.addEventListener("change", (event) => {
    if (event.target.name === "sort") {
      sortMetric = event.target.value;
      for (const grid of grids.values()) grid.rows().invalidate("dom").draw();
    } else filter();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("click", (event) => {
    for (const [key, value] of [["all", true], ["none", false]]) {
      const name = event.target.dataset?.[key];
      if (!name) continue;
      for (const box of all(`[name=${name}]`, form)) box.checked = value;
      filter();
    }
  });
  document.addEventListener("click", (event) => {
    for (const menu of all(".menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") for (const menu of all(".menu[open]")) menu.open = false;
  });

  // Provenance.
  function behind(where) {
    const [method, domain, dataset, ...rest] = where.split("|");
    const name = rest.join("|");
    return cells.filter((cell) =>
      cell.methods.includes(Number(method)) && (name === "" || cell.class === name) &&
      (dataset === "" ? domain === "" || cell.domain === Number(domain) : cell.dataset === Number(dataset)));
  }
  const nameOf = (cell) => cell.class + (cell.seed ? `, seed ${cell.seed}` : "");
  function factsOf(cell) {
    const list = make("dl", { class: "facts" });
    for (const [name, text] of cell.facts) list.append(make("dt", {}, name), make("dd", {}, text));
    return list;
  }
  function show(node) {
    if (!node?.dataset.where) return;
    node.focus();
    const found = behind(node.dataset.where);
    const values = all(".v", node).filter((value) => !value.hidden);
    $("provenance-title").textContent = values[0]?.title.split(":")[0] ?? "";
    const said = make("ul", { class: "said" }, ...values.map((value) => {
      const [subject, ...rest] = value.title.split("\n");
      const number = make("strong", {}, value.textContent);
      return make("li", {}, `${subject.split(": ").pop()} `, number, rest.length ? ` (${rest.join("; ")})` : "");
    }));
    const list = found.map((cell) => {
      const item = make("details", {}, make("summary", {}, `${datasets[cell.dataset]}, ${nameOf(cell)}`));
      const open = make("button", { type: "button" }, "Curves and images of this class");
      open.addEventListener("click", () => { $("provenance").close(); openClass(cell); });
      item.addEventListener("toggle", () => { if (item.children.length === 1) item.append(open, factsOf(cell)); });
      return item;
    });
    if (list.length === 1) list[0].open = true;
    $("provenance-body").replaceChildren(said, make("h3", {}, found.length === 1 ? "Its cell" : `Its ${found.length} cells`), ...list);
    $("provenance").showModal();
  }

  // Classes of a dataset.
  let classesGrid;
  function showClasses() {
    [classesGrid] = place($("classes-table"), $("classes-dataset").value);
    classesGrid?.search($("classes-find").value).draw();
  }
  if ($("classes-dataset").value) showClasses();
  $("classes-dataset").addEventListener("change", showClasses);
  $("classes-find").addEventListener("input", () => classesGrid.search($("classes-find").value).draw());

  // Charts: Okabe and Ito's colours, then the same dashed.
  const hues = () => ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", isDark ? "#f0e442" : "#000000"];
  const dashes = [[1, 0], [6, 3], [2, 2]];
  const colour = (method) => hues()[method % 7];
  const dash = (method) => dashes[Math.floor(method / 7) % 3];
  const scales = (labels) => ({
    color: { field: "method", type: "nominal", scale: { domain: labels, range: labels.map((label) => colour(methods.indexOf(label))) }, legend: null },
    dash: { field: "method", type: "nominal", scale: { domain: labels, range: labels.map((label) => dash(methods.indexOf(label))) }, legend: null },
  });
  const waiting = new Map();
  async function draw(id, spec) {
    waiting.get(id)?.finalize();
    const ink = isDark ? "#e6e8eb" : "#1a1d21", line = isDark ? "#38404a" : "#d8dde3";
    const look = {
      background: "transparent", view: { stroke: line }, font: "system-ui, sans-serif",
      axis: { labelColor: ink, titleColor: ink, gridColor: line, domainColor: line, tickColor: line, titleFontWeight: "normal" },
      legend: { labelColor: ink, titleColor: ink, labelLimit: 300 }, header: { labelColor: ink, titleColor: ink, labelLimit: 200 },
    };
    const options = { ast: true, renderer: "svg", tooltip: { theme: isDark ? "dark" : "light" }, actions: false };
    waiting.set(id, await window.vegaEmbed(`#${id}`, { ...spec, config: look }, options));
  }
  const rate = (field, title, most = 1) => ({ field, type: "quantitative", title, scale: { domain: [0, most] } });
  function drawCurve(id, shown, x, y, { of = "curves", curve = id, at = null, most = 1 } = {}) {
    const lines = [], dots = [];
    for (const cell of shown) {
      const known = { method: methods[cell.methods[0]], name: nameOf(cell), seed: cell.seed };
      cell[of]?.[curve]?.[0].forEach((value, order) => lines.push({ ...known, order, x: value, y: cell[of][curve][1][order] }));
      if (at && cell.curves?.at) dots.push({ ...known, x: cell.curves.at[at[0]], y: cell.curves.at[at[1]], threshold: cell.curves.threshold });
    }
    const { color, dash: strokeDash } = scales([...new Set(shown.map((cell) => methods[cell.methods[0]]))]);
    const tooltip = [{ field: "method", title: "method" }, { field: "x", title: x, format: ".3f" }, { field: "y", title: y, format: ".3f" }];
    const width = Math.min(of === "pixel" ? 330 : 420, innerWidth - 100);
    return draw(id, { width, height: Math.min(320, width), layer: [
      { data: { values: lines }, mark: { type: "line", clip: true, strokeWidth: 1.6, interpolate: id === "pr" ? "step-before" : "linear" },
        encoding: { x: rate("x", x, most), y: rate("y", y), order: { field: "order" }, detail: { field: "seed" }, color, strokeDash, tooltip } },
      { data: { values: dots }, mark: { type: "point", filled: true, size: 60 },
        encoding: { x: rate("x", x, most), y: rate("y", y), color, tooltip: [...tooltip, { field: "threshold", title: "threshold", format: ".4f" }] } },
    ] });
  }
  function drawHistograms(shown) {
    const bars = [], rules = [];
    for (const cell of shown) {
      if (!cell.curves) continue;
      const panel = methods[cell.methods[0]] + (cell.seed ? `, seed ${cell.seed}` : "");
      for (const images of ["normal", "anomalous"]) {
        const counts = cell.curves[images], total = counts.reduce((sum, count) => sum + count, 0);
        counts.forEach((count, bin) => bars.push({ panel, images, count, share: total ? count / total : 0,
          from: cell.curves.edges[bin], to: cell.curves.edges[bin + 1], threshold: cell.curves.threshold }));
      }
    }
    const width = innerWidth < 640 ? Math.max(90, (innerWidth - 130) / 2) : 190;
    const columns = Math.max(2, Math.floor((Math.min(innerWidth, 1700) - 90) / (width + 36)));
    const x = { field: "from", type: "quantitative", title: null, scale: { zero: false }, axis: { tickCount: 4 } };
    return draw("histograms", { data: { values: bars }, columns,
      facet: { field: "panel", type: "nominal", title: null, sort: [...new Set(bars.map((bar) => bar.panel))] },
      resolve: { scale: { x: "independent" } },
      spec: { width, height: 110, layer: [
        { mark: { type: "bar", opacity: 0.6, binSpacing: 0 }, encoding: { x: { ...x, bin: "binned" }, x2: { field: "to" },
          y: { field: "share", type: "quantitative", stack: null, title: "share of images", axis: { format: "%", tickCount: 3 } },
          color: { field: "images", scale: { domain: ["normal", "anomalous"], range: [isDark ? "#56b4e9" : "#0072b2", "#e69f00"] }, title: null, legend: { orient: "top" } },
          tooltip: [{ field: "images" }, { field: "count" }, { field: "from", format: ".4g" }, { field: "to", format: ".4g" }] } },
        { mark: { type: "rule", strokeWidth: 2, color: isDark ? "#fff" : "#000" }, encoding: { x: { aggregate: "min", field: "threshold", type: "quantitative" } } },
      ] } });
  }

  // One class.
  const own = (row) => cells.filter((cell) => cell.dataset === row);
  const option = (value, text) => make("option", { value }, text);
  const withCells = datasets.map((title, row) => [title, row]).filter(([, row]) => own(row).length);
  $("class-dataset").append(...withCells.map(([title, row]) => option(row, title)));
  methods.forEach((label, place) => {
    const box = make("input", { type: "checkbox", value: place });
    box.checked = true;
    $("class-methods").append(make("label", {}, box, ` ${label}`));
  });
  function fillNames() {
    const names = new Set(own(Number($("class-dataset").value)).map((cell) => cell.class));
    $("class-name").replaceChildren(...[...names].map((name) => option(name, name)));
  }
  const telling = (cell, which) => {
    const row = cell.telling[which];
    if (!row) return make("td", {}, "-");
    const parts = [`${row.image} (${row.label ? "anomalous" : "normal"}, score ${row.score})`];
    const pictures = [[row.file, "image"], [row.heat, "heat map"]].filter(([address]) => address);
    if (pictures.length) parts.unshift(make("div", { class: "pair" }, ...pictures.map(([src, what]) => make("img", { src, alt: `${what} of ${row.image}`, loading: "lazy" }))));
    return make("td", {}, ...parts);
  };
  function sample(method) {
    const namespace = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(namespace, "svg"), line = document.createElementNS(namespace, "line");
    for (const [key, value] of [["width", 26], ["height", 8]]) svg.setAttribute(key, value);
    for (const [key, value] of [["x1", 0], ["x2", 26], ["y1", 4], ["y2", 4], ["stroke", colour(method)], ["stroke-width", 2.5], ["stroke-dasharray", dash(method).join(" ")]]) line.setAttribute(key, value);
    svg.append(line);
    return svg;
  }
  function drawClass() {
    const wanted = new Set(all("input:checked", $("class-methods")).map((box) => Number(box.value)));
    const shown = own(Number($("class-dataset").value)).filter((cell) => cell.class === $("class-name").value && wanted.has(cell.methods[0]));
    const labels = [...new Set(shown.map((cell) => cell.methods[0]))];
    $("class-legend").replaceChildren(...labels.map((method) => make("span", {}, sample(method), methods[method])));
    const head = make("tr", {}, ...["Method", "Best", "Median", "Worst"].map((text) => make("th", { scope: "col" }, text)));
    const rows = shown.map((cell) => make("tr", {}, make("th", { scope: "row" }, methods[cell.methods[0]] + (cell.seed ? `, seed ${cell.seed}` : "")),
      ...["best", "median", "worst"].map((which) => telling(cell, which))));
    $("telling").replaceChildren(make("table", { class: "shots" }, make("thead", {}, head), make("tbody", {}, ...rows)));
    const kept = shown.filter((cell) => cell.pixel);
    $("pixel-charts").hidden = !kept.length;
    $("pixel-note").textContent = kept.length === shown.length ? "Curves of the maps as the methods gave them."
      : `Stored with the maps of ${kept.length} of these ${shown.length} cells; run --save-maps keeps them.`;
    const rates = ["false positive rate", "true positive rate"];
    return Promise.all([
      drawCurve("roc", shown, ...rates, { at: [0, 1] }),
      drawCurve("pr", shown, "recall", "precision", { at: [2, 3] }),
      drawCurve("pixel-roc", kept, ...rates, { of: "pixel", curve: "roc" }),
      drawCurve("pixel-pr", kept, "recall", "precision", { of: "pixel", curve: "pr" }),
      drawCurve("pixel-pro", kept, "false positive rate", "mean overlap", { of: "pixel", curve: "pro", most: 0.3 }),
      drawHistograms(shown),
    ]);
  }
  function openClass(cell) {
    $("class-dataset").value = cell.dataset;
    fillNames();
    $("class-name").value = cell.class;
    drawClass();
    $("class").scrollIntoView();
    $("class-name").focus({ preventScroll: true });
  }
  $("class-dataset").addEventListener("change", () => { fillNames(); drawClass(); });
  $("class-name").addEventListener("change", drawClass);
  $("class-methods").addEventListener("change", drawClass);

  // Cross-dataset matrix and published numbers.
  if ($("cross-method")) {
    const showCross = () => {
      const name = `cross|${$("cross-method").value}|${$("cross-metric").value}`;
      if (name in fragments) place($("cross-table"), name);
      else $("cross-table").replaceChildren("Not there.");
    };
    for (const id of ["cross-method", "cross-metric"]) $(id).addEventListener("change", showCross);
    showCross();
  }
  const showPublished = () => place($("published-table"), $("published-name").value);
  $("published-name").addEventListener("change", showPublished);
  if ($("published-name").value) showPublished();

  // Speed and memory.
  const places = [...new Set(charts.points.map((point) => point.place))];
  $("speed-place").append(...places.map((name) => option(name, name)));
  function drawCost(id, field, title, scale, points) {
    const there = points.filter((point) => point[field] != null).map((point) => ({ ...point, method: methods[point.method] }));
    if (!there.length) {
      $(id).replaceChildren("Not measured in these cells.");
      return undefined;
    }
    const { color } = scales([...new Set(there.map((point) => point.method))]);
    const x = { field, type: "quantitative", title, scale: { type: scale, nice: true, ...(scale === "log" ? {} : { zero: false }) } };
    const y = { field: "value", type: "quantitative", title: "percent", scale: { zero: false, nice: true } };
    const tooltip = ["method", "text", field, "devices"].map((name) => ({ field: name }));
    const width = Math.min(480, innerWidth - 100);
    return draw(id, { width, height: 320, data: { values: there }, layer: [
      { mark: { type: "point", size: 90, strokeWidth: 2 }, encoding: { x, y, color, fill: { condition: { test: "datum.ranked", field: "method", scale: color.scale }, value: "transparent", legend: null }, tooltip } },
      { mark: { type: "text", align: "left", dx: 8, fontSize: 11, color: isDark ? "#e6e8eb" : "#1a1d21" }, encoding: { x, y, text: { field: "method" } } },
    ] });
  }
  function drawSpeed() {
    const points = charts.points.filter((point) => point.place === $("speed-place").value && point.metric === $("speed-metric").value);
    const by = new Map(points.map((point) => [point.method, point]));
    const head = ["Method", "Images/s", "Peak GPU memory, GiB", "Device", "Accuracy"].map((text) => make("th", { scope: "col" }, text));
    const rows = charts.methods.map((each) => make("tr", {}, make("th", { scope: "row" }, each.label),
      ...[each.images_per_s ?? "-", each.peak_gib ?? "-", each.devices, by.get(each.method)?.text ?? "-"].map((text) => make("td", {}, String(text)))));
    $("speed-table").replaceChildren(make("table", { class: "shots" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows)));
    return Promise.all([
      drawCost("speed-chart", "images_per_s", "images per second", "log", points),
      drawCost("memory-chart", "peak_gib", "GiB", "linear", points),
    ]);
  }
  for (const id of ["speed-place", "speed-metric"]) $(id).addEventListener("change", drawSpeed);

  function drawCharts() {
    return Promise.all([drawClass(), drawSpeed()]);
  }
  fillNames();
  await drawCharts();
  root.dataset.ready = "yes";
})();
