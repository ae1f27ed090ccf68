// Runs before the first paint, so that a page in a chosen theme does not flash in the other one.
try {
  const theme = localStorage.getItem("vconnect.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // A browser without storage follows the system.
}
