// The page is complete without this: it only puts in this server's address, and adds buttons that copy.
for (const pre of document.querySelectorAll("pre.curl")) {
  const code = pre.firstElementChild;
  if (location.protocol.startsWith("http")) {
    code.textContent = code.textContent.replaceAll("http://localhost:4403", location.origin);
  }
  if (navigator.clipboard) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    pre.parentElement.append(button);
  }
}
