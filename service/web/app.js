"use strict";

const form = document.querySelector("#form");
const figure = document.querySelector("figure");
const result = document.querySelector("#result");
const download = document.querySelector("#download");
const status = document.querySelector("#status");

async function answerOf(response) {
  if (response.ok) return response;
  const problem = await response.json();
  throw new Error(problem.detail);
}

async function listDirections() {
  const directions = await (await answerOf(await fetch("directions"))).json();
  form.direction.append(...directions.map(({ direction, source, target }) => new Option(`${source} to ${target}`, direction)));
  form.direction.value = directions.find(({ source }) => source === "photo")?.direction ?? directions[0]?.direction;
}

async function translate() {
  const query = new URLSearchParams({ direction: form.direction.value, size: form.size.value });
  const body = new FormData();
  body.append("image", form.image.files[0]);
  const response = await answerOf(await fetch(`translate?${query}`, { method: "POST", body, headers: { Accept: "*/*" } }));
  URL.revokeObjectURL(result.src);
  result.src = download.href = URL.createObjectURL(await response.blob());
  download.download = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition"))?.[1] ?? "translation";
  figure.hidden = false;
}

async function show(work, waiting) {
  status.textContent = waiting;
  form.querySelector("button").disabled = true;
  try {
    await work();
    status.textContent = "";
  } catch (error) {
    status.textContent = error.message;
  } finally {
    form.querySelector("button").disabled = false;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  show(translate, "Painting…");
});
show(listDirections, "Loading…");
