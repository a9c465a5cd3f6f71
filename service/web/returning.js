/** Before anything is seen: where photographs are kept, the page waits for them, so that nothing moves when they come. */
document.documentElement.classList.toggle("returning", localStorage.getItem("photos") > 0);
