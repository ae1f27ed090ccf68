// Elements of text. Nothing that somebody has written becomes anything but a text node.

export const $ = (id) => document.getElementById(id);

/** Make an element with a class and with children, which are elements or text. */
export function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** The round picture of somebody: the first letter, in a color that the name decides. */
export function face(user) {
  let sum = 0;
  for (const letter of user.name) sum = (sum * 31 + letter.codePointAt(0)) % 997;
  const made = element("span", `face hue-${sum % 8}`, [...user.name][0].toUpperCase());
  made.setAttribute("aria-hidden", "true");
  return made;
}

/** A name, which may be written from right to left. */
export function nameOf(user, tag = "span") {
  const made = element(tag, "", user.name);
  made.dir = "auto";
  return made;
}

export function clock(seconds) {
  const at = new Date(seconds * 1000);
  const made = element("time", "", at.toLocaleTimeString([], { timeStyle: "short" }));
  made.dateTime = at.toISOString();
  made.title = at.toLocaleString();
  return made;
}
