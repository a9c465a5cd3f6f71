/** Adds pictures that are chosen, taken, pasted, or dropped anywhere on the page. */

const over = document.querySelector("#over");

export function addDropping(add) {
  for (const input of document.querySelectorAll("input[type=file]")) {
    input.onchange = () => {
      const chosen = [...input.files];
      input.value = ""; // so that the same file can be chosen again
      add(chosen);
    };
  }
  addEventListener("paste", ({ clipboardData }) => add([...clipboardData.files]));
  addEventListener("dragover", (event) => {
    event.preventDefault();
    over.hidden = !event.dataTransfer.types.includes("Files");
  });
  addEventListener("dragleave", ({ relatedTarget }) => relatedTarget || (over.hidden = true));
  addEventListener("drop", (event) => {
    event.preventDefault();
    over.hidden = true;
    add([...event.dataTransfer.files]);
  });
}
