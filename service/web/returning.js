/** Runs before the first paint: if there are stored photographs, the page leaves room for them, so that nothing moves when they load. */
document.documentElement.classList.toggle("returning", localStorage.getItem("photos") > 0);
