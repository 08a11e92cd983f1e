for (const figure of document.querySelectorAll(".compare")) {
  const input = figure.querySelector("input");
  input.addEventListener("input", () => {
    figure.querySelector(".top").style.clipPath = `inset(0 ${100 - input.value}% 0 0)`;
    figure.querySelector(".line").style.left = `${input.value}%`;
  });
}
