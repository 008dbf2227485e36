"use strict";
// Draws the charts and copies samples. All texts reach the page through textContent or Plotly's escaped labels.
(function () {
  const found = JSON.parse(document.getElementById("report-data").textContent);
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function layoutOf(chart) {
    const axis = { gridcolor: color("--line"), zerolinecolor: color("--line"), linecolor: color("--line") };
    const layout = {
      margin: { l: 55, r: 15, t: 10, b: 50 },
      height: 320,
      dragmode: false,
      font: { family: "system-ui, sans-serif", size: 13, color: color("--text") },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
      ...chart.layout,
    };
    layout.xaxis = { ...axis, ...layout.xaxis };
    layout.yaxis = { ...axis, ...layout.yaxis };
    return layout;
  }

  // Okabe and Ito's lighter blue and orange, in place of the dark ones, on a dark page that is not being printed.
  const LIGHTER = { "#0072B2": "#56B4E9", "#D55E00": "#E69F00" };
  function tracesOf(chart) {
    if (color("--back") !== "#14181f") return chart.data;
    return JSON.parse(JSON.stringify(chart.data), (key, value) => (key === "color" && LIGHTER[value]) || value);
  }

  function draw() {
    for (const chart of found.charts) {
      const place = document.getElementById("plot-" + chart.name);
      const options = { responsive: true, displayModeBar: false, displaylogo: false };
      Plotly.react(place, tracesOf(chart), layoutOf(chart), options);
    }
  }

  async function copy(text, button) {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "copied";
    } catch (error) {
      const area = document.createElement("textarea");
      area.value = text;
      area.rows = 10;
      area.style.width = "100%";
      area.setAttribute("aria-label", "JSON of this QA");
      button.replaceWith(area);
      area.select();
    }
  }

  for (const button of document.querySelectorAll("button[data-sample]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      copy(JSON.stringify(found.samples[Number(button.dataset.sample)], null, 1), button);
    });
  }
  if (found.charts.length > 0 && typeof Plotly !== "undefined") {
    draw();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    addEventListener("beforeprint", draw);
    addEventListener("afterprint", draw);
  }
})();
