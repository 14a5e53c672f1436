// What is convenient with a script. Everything also works without it.
(function () {
  "use strict";
  var queue = document.getElementById("queue");
  if (queue) {
    var all = queue.querySelector("input.all");
    var boxes = Array.prototype.slice.call(queue.querySelectorAll("input[name=pick]"));
    var chosen = queue.querySelector(".chosen");
    var count = function () {
      var number = boxes.filter(function (box) { return box.checked; }).length;
      all.checked = number > 0 && number === boxes.length;
      all.indeterminate = number > 0 && number < boxes.length;
      if (chosen) { chosen.textContent = number ? number + (number === 1 ? " change" : " changes") + " chosen" : "of the changes that you choose"; }
    };
    all.hidden = boxes.length === 0;
    all.addEventListener("change", function () {
      boxes.forEach(function (box) { box.checked = all.checked; });
      count();
    });
    queue.addEventListener("change", count);
    count();
  }
  var problems = document.getElementById("problems");
  if (problems) { problems.focus(); }
})();
