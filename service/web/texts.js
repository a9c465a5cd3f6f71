/** The page's texts in the browser's language. English for what stands in index.html is there; the rest is in texts/en.js. */

import english from "./texts/en.js";

const LANGUAGES = ["de", "fr", "ru"];
let texts = english;

/** Loads the first of the browser's languages that there is, and puts it into the page. */
export async function loadTexts() {
  for (const wanted of navigator.languages ?? []) {
    const language = wanted.slice(0, 2).toLowerCase();
    if (language === "en") return;
    if (!LANGUAGES.includes(language)) continue;
    const loaded = await import(`./texts/${language}.js`).catch(() => null);
    if (!loaded) return;
    texts = { ...english, ...loaded.default };
    document.documentElement.lang = language;
    for (const element of document.querySelectorAll("[data-text]")) element.textContent = texts[element.dataset.text] ?? element.textContent;
    for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", texts[element.dataset.label] ?? element.getAttribute("aria-label"));
    return;
  }
}

/** The text `key`, with {name} filled in from `values`. */
export function t(key, values = {}) {
  return (texts[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** What a direction is called and said of, in this language where texts/ has it. */
export function about({ direction, title, source, target, about: sentence }) {
  return { title: texts[`${direction}.title`] ?? title ?? `${source} → ${target}`, sentence: texts[`${direction}.about`] ?? sentence ?? "" };
}
