/** The page's texts in the browser's language. English texts are in index.html and texts/en.js. */

import english from "./texts/en.js";

const LANGUAGES = ["de", "fr", "ru"];
let texts = english;

/** Loads the first of the browser's languages that is available, and fills it into the page. */
export async function loadTexts() {
  for (const tag of navigator.languages ?? []) {
    const language = tag.slice(0, 2).toLowerCase();
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

/** Returns the text `key`, with each {name} replaced from `values`. */
export function t(key, values = {}) {
  return (texts[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** Returns a direction's title and sentence, translated if texts/ has them. */
export function about({ direction, title, source, target, about: sentence }) {
  return { title: texts[`${direction}.title`] ?? title ?? `${source} → ${target}`, sentence: texts[`${direction}.about`] ?? sentence ?? "" };
}
